#include "serving/spec/c_library.h"

#include <elf.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <sstream>

namespace tweendeck::serving {
namespace {

constexpr size_t kMaxHeaders = 64;       // of a program; the loader's name stands in one of the first
constexpr size_t kMaxLoaderName = 4096;  // PATH_MAX

bool read_at(std::ifstream& file, uint64_t offset, void* out, size_t size) {
  file.seekg(static_cast<std::streamoff>(offset));
  return file.good() && file.read(static_cast<char*>(out), static_cast<std::streamsize>(size)).good();
}

// The path itself, or where PATH has the name; empty = nowhere.
std::string find_program(const std::string& name) {
  if (name.find('/') != std::string::npos) return name;
  const char* path = std::getenv("PATH");
  std::istringstream folders(path ? path : "");
  for (std::string folder; std::getline(folders, folder, ':');) {
    const std::string candidate = folder + "/" + name;
    if (access(candidate.c_str(), X_OK) == 0) return candidate;
  }
  return "";
}

}  // namespace

bool uses_musl(const std::string& program) {
  std::ifstream file(program, std::ios::binary);
  Elf64_Ehdr header{};
  if (!read_at(file, 0, &header, sizeof(header)) || std::memcmp(header.e_ident, ELFMAG, SELFMAG) != 0 ||
      header.e_ident[EI_CLASS] != ELFCLASS64 || header.e_phentsize != sizeof(Elf64_Phdr)) {
    return false;
  }
  for (size_t i = 0; i < std::min<size_t>(header.e_phnum, kMaxHeaders); ++i) {
    Elf64_Phdr part{};
    if (!read_at(file, header.e_phoff + i * sizeof(part), &part, sizeof(part))) return false;
    if (part.p_type != PT_INTERP || part.p_filesz > kMaxLoaderName) continue;
    std::string loader(part.p_filesz, '\0');
    return read_at(file, part.p_offset, loader.data(), loader.size()) &&
           loader.find("/ld-musl-") != std::string::npos;
  }
  return false;
}

std::vector<std::string> programs_of_musl(const EngineSpec& engine, const std::string& python,
                                          const std::string& bin_dir) {
  std::vector<std::string> found;
  const bool on_gpus =
      std::ranges::any_of(engine.devices, [](const std::string& kind) { return kind != "cpu"; });
  if (!on_gpus || engine.command.empty()) return found;
  const Placeholders values{{"python", python}, {"engine", engine.folder}, {"bin", bin_dir}};
  std::vector<std::string> programs = engine.needs.programs;
  programs.push_back(engine.command.front());
  for (const std::string& program : programs) {
    const std::string path = find_program(expand(program, values));
    if (!path.empty() && uses_musl(path) && std::ranges::find(found, path) == found.end())
      found.push_back(path);
  }
  return found;
}

}  // namespace tweendeck::serving
