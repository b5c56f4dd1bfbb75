// For tests: runs the scenario files of test/scenarios (their format is told in the README.md there).
//
//   std::string run(const scenario::Line& line);        // what a line says back; "" when it only sets things up
//   scenario::run_file(path, run);                      // compares with the lines "= ..." that follow
//
// One thread, inside a gtest test.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <sstream>
#include <string>
#include <vector>

#include "base/text.h"

namespace tweendeck::scenario {

// "device cpu0 memory=4Gi unhealthy" -> words {device, cpu0, unhealthy}, values {memory: 4Gi}. '_' stands for
// a space.
struct Line {
  std::vector<std::string> words;
  std::map<std::string, std::string> values;

  explicit Line(const std::string& text) {
    std::istringstream in(text);
    for (std::string word; in >> word;) {
      std::ranges::replace(word, '_', ' ');
      const size_t equals = word.find('=');
      if (equals == std::string::npos) {
        words.push_back(word);
      } else {
        values[word.substr(0, equals)] = word.substr(equals + 1);
      }
    }
  }
  bool has(const std::string& word) const { return std::ranges::find(words, word) != words.end(); }
  std::string word(size_t index) const { return index < words.size() ? words[index] : ""; }
  std::string text(const std::string& key, std::string otherwise = "") const {
    const auto found = values.find(key);
    return found == values.end() ? otherwise : found->second;
  }
  uint64_t number(const std::string& key, uint64_t otherwise = 0) const {
    return values.contains(key) ? std::stoull(text(key)) : otherwise;
  }
};

// The files of test/scenarios/<folder>, in order; none where the source folder is not the current one and
// TWEENDECK_SOURCE_DIR does not name it.
inline std::vector<std::filesystem::path> files_of(const std::string& folder) {
  const char* root = std::getenv("TWEENDECK_SOURCE_DIR");
  std::vector<std::filesystem::path> files;
  std::error_code missing;
  for (const auto& entry : std::filesystem::directory_iterator(
           std::filesystem::path(root != nullptr ? root : ".") / "test/scenarios" / folder, missing)) {
    if (entry.path().extension() == ".txt") files.push_back(entry.path());
  }
  std::ranges::sort(files);
  return files;
}

// "07-states.txt" -> "07_states": the file as the name of a test.
inline std::string test_name(const testing::TestParamInfo<std::filesystem::path>& file) {
  std::string name = file.param.stem().string();
  std::ranges::replace(name, '-', '_');
  return name;
}

inline void run_file(const std::filesystem::path& path, const std::function<std::string(const Line&)>& run) {
  std::ifstream file(path);
  std::string text, answer;
  for (int number = 1; std::getline(file, text); ++number) {
    SCOPED_TRACE(path.filename().string() + ":" + std::to_string(number));
    const std::string_view line = trim(text);
    if (line.empty() || line.front() == '#') continue;
    if (line.starts_with("= ")) {
      EXPECT_EQ(line.substr(2), answer);
      answer.clear();
      continue;
    }
    EXPECT_EQ(answer, "") << "the scenario does not say what it expects";
    answer = run(Line(std::string(line)));
  }
  EXPECT_EQ(answer, "") << "the scenario ends before it says what it expects";
}

}  // namespace tweendeck::scenario
