#include "serving/spec/c_library.h"

#include <elf.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <fstream>

namespace tweendeck::serving {
namespace {

class CLibrary : public testing::Test {
 protected:
  void SetUp() override { std::filesystem::create_directories(dir_); }
  void TearDown() override { std::filesystem::remove_all(dir_); }

  std::string write(const std::string& name, const std::string& bytes) {
    std::ofstream(dir_ + "/" + name, std::ios::binary) << bytes;
    return dir_ + "/" + name;
  }

  // A program with that loader, as far as its headers go.
  std::string program(const std::string& name, const std::string& loader) {
    Elf64_Ehdr header{};
    std::memcpy(header.e_ident, ELFMAG, SELFMAG);
    header.e_ident[EI_CLASS] = ELFCLASS64;
    header.e_phoff = sizeof(header);
    header.e_phentsize = sizeof(Elf64_Phdr);
    header.e_phnum = 2;
    Elf64_Phdr parts[2]{};
    parts[0].p_type = PT_LOAD;
    parts[1].p_type = PT_INTERP;
    parts[1].p_offset = sizeof(header) + sizeof(parts);
    parts[1].p_filesz = loader.size() + 1;
    return write(name, std::string(reinterpret_cast<char*>(&header), sizeof(header)) +
                           std::string(reinterpret_cast<char*>(parts), sizeof(parts)) + loader + '\0');
  }

  std::string dir_ = testing::TempDir() + "c_library_" + std::to_string(getpid());
};

TEST_F(CLibrary, IsReadFromTheLoadersName) {
  EXPECT_TRUE(uses_musl(program("alpine", "/lib/ld-musl-x86_64.so.1")));
  EXPECT_FALSE(uses_musl(program("debian", "/lib64/ld-linux-x86-64.so.2")));
  EXPECT_FALSE(uses_musl("/proc/self/exe"));
}

TEST_F(CLibrary, WhatIsNoProgramIsNotOfMusl) {
  EXPECT_FALSE(uses_musl(dir_ + "/nowhere"));
  EXPECT_FALSE(uses_musl(write("script", "#!/bin/sh\n# /ld-musl-\n")));
  EXPECT_FALSE(uses_musl(write("cut", "\177ELF")));
}

TEST_F(CLibrary, OnlyEnginesWithGpusAreLookedAt) {
  const std::string python = program("python", "/lib/ld-musl-x86_64.so.1");
  EngineSpec engine;
  engine.command = {"{python}", "-m", "server"};
  engine.devices = {"cpu"};
  EXPECT_THAT(programs_of_musl(engine, python, ""), testing::IsEmpty());
  engine.devices = {"cpu", "nvidia"};
  engine.needs.programs = {python, "{bin}/missing"};
  EXPECT_THAT(programs_of_musl(engine, python, dir_), testing::ElementsAre(python));
}

}  // namespace
}  // namespace tweendeck::serving
