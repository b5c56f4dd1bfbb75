// Strict reading of YAML maps: every error names file and line; unknown and repeated keys are errors with the
// key that was probably meant. Reads keep the first error; after it, further reads do nothing.
#pragma once

#include <yaml-cpp/yaml.h>

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace tweendeck::serving {

// Parses one document of at most `max_bytes`. `reason` is that of every error.
Result<YAML::Node> load_yaml(std::string_view text, size_t max_bytes, const std::string& file, Reason reason);

class YamlMap {
 public:
  // `what` names the map in messages: "deployment", "ready".
  YamlMap(const YAML::Node& node, std::string what, std::string file, Reason reason);

  bool has(const char* key);
  // Each leaves `out` as it is when the key is absent.
  void text(const char* key, std::string& out);
  void flag(const char* key, bool& out);
  void count(const char* key, uint64_t max, uint64_t& out);
  void texts(const char* key, std::vector<std::string>& out, bool one_is_a_list = false);
  std::vector<std::pair<std::string, std::string>> pairs(const char* key);
  std::optional<YAML::Node> child(const char* key);
  void require(
      const char* key);  // checked by finish(), after unknown keys: a misspelt one is the better message

  void error(const YAML::Node& at, const std::string& message, std::string hint = {});
  void error_at(const char* key, const std::string& message, std::string hint = {});
  void absorb(const Status& status);  // another map's outcome

  // Complains about keys that nobody asked for.
  Status finish();

 private:
  YAML::Node find(const char* key);
  bool scalar(const char* key, std::string& out, const char* expected);

  YAML::Node node_;
  std::string what_;
  std::string file_;
  Reason reason_;
  std::set<std::string, std::less<>> known_;
  std::vector<const char*> required_;
  std::optional<Error> error_;
};

}  // namespace tweendeck::serving
