#include "serving/spec/yaml_reader.h"

#include <fmt/format.h>

#include "base/text.h"
#include "base/units.h"

namespace tweendeck::serving {
namespace {

constexpr size_t kMaxShownBytes = 60;

std::string shown(const std::string& text) {
  return text.size() <= kMaxShownBytes ? text : text.substr(0, kMaxShownBytes) + "...";
}

std::string at_line(const std::string& file, const YAML::Mark& mark) {
  return mark.line < 0 ? file : fmt::format("{}:{}", file, mark.line + 1);
}

}  // namespace

Result<YAML::Node> load_yaml(std::string_view text, size_t max_bytes, const std::string& file,
                             Reason reason) {
  if (text.size() > max_bytes) {
    return fail(reason, fmt::format("{} has {} bytes, the most is {}", file, text.size(), max_bytes));
  }
  try {
    return YAML::Load(std::string(text));
  } catch (const YAML::Exception& error) {
    return fail(reason, fmt::format("{}: {}", at_line(file, error.mark), error.msg));
  } catch (const std::exception& error) {
    return fail(reason, fmt::format("{}: {}", file, error.what()));
  }
}

YamlMap::YamlMap(const YAML::Node& node, std::string what, std::string file, Reason reason)
    : node_(node), what_(std::move(what)), file_(std::move(file)), reason_(reason) {
  if (!node_.IsMap()) error(node_, fmt::format("{} must be a map of keys and values", what_));
}

YAML::Node YamlMap::find(const char* key) {
  known_.insert(key);
  if (error_) return YAML::Node(YAML::NodeType::Undefined);
  for (const auto& item : node_) {
    if (item.first.IsScalar() && item.first.Scalar() == key) return item.second;
  }
  return YAML::Node(YAML::NodeType::Undefined);
}

bool YamlMap::has(const char* key) {
  return find(key).IsDefined();
}

bool YamlMap::scalar(const char* key, std::string& out, const char* expected) {
  const YAML::Node value = find(key);
  if (!value.IsDefined()) return false;
  if (!value.IsScalar()) {
    error(value, fmt::format("'{}' must be {}", key, expected));
    return false;
  }
  out = value.Scalar();
  return true;
}

void YamlMap::text(const char* key, std::string& out) {
  scalar(key, out, "a text");
}

void YamlMap::flag(const char* key, bool& out) {
  std::string word;
  if (!scalar(key, word, "true or false")) return;
  if (word != "true" && word != "false") return error_at(key, fmt::format("'{}' must be true or false", key));
  out = word == "true";
}

void YamlMap::count(const char* key, uint64_t max, uint64_t& out) {
  std::string word;
  if (!scalar(key, word, "a whole number")) return;
  auto number = parse_count(word, max, key);
  if (!number) return error_at(key, number.error().message, number.error().hint);
  out = *number;
}

void YamlMap::texts(const char* key, std::vector<std::string>& out, bool one_is_a_list) {
  const YAML::Node value = find(key);
  if (!value.IsDefined()) return;
  out.clear();
  if (one_is_a_list && value.IsScalar()) {
    out.push_back(value.Scalar());
    return;
  }
  if (!value.IsSequence()) return error(value, fmt::format("'{}' must be a list of texts", key));
  for (const YAML::Node& item : value) {
    if (!item.IsScalar()) return error(item, fmt::format("'{}' must be a list of texts", key));
    out.push_back(item.Scalar());
  }
}

std::vector<std::pair<std::string, std::string>> YamlMap::pairs(const char* key) {
  std::vector<std::pair<std::string, std::string>> result;
  const YAML::Node value = find(key);
  if (!value.IsDefined()) return result;
  if (!value.IsMap()) {
    error(value, fmt::format("'{}' must be a map of texts", key));
    return result;
  }
  for (const auto& item : value) {
    if (!item.first.IsScalar() || !item.second.IsScalar()) {
      error(item.first, fmt::format("'{}' must be a map of texts", key));
      return result;
    }
    result.emplace_back(item.first.Scalar(), item.second.Scalar());
  }
  return result;
}

std::optional<YAML::Node> YamlMap::child(const char* key) {
  const YAML::Node value = find(key);
  if (!value.IsDefined()) return std::nullopt;
  return value;
}

void YamlMap::require(const char* key) {
  required_.emplace_back(key);
}

void YamlMap::error(const YAML::Node& at, const std::string& message, std::string hint) {
  if (!error_)
    error_ = Error{reason_, fmt::format("{}: {}", at_line(file_, at.Mark()), message), std::move(hint)};
}

void YamlMap::error_at(const char* key, const std::string& message, std::string hint) {
  if (!error_) error(find(key), message, std::move(hint));
}

void YamlMap::absorb(const Status& status) {
  if (!status && !error_) error_ = status.error();
}

Status YamlMap::finish() {
  std::set<std::string> seen;
  if (!error_) {
    for (const auto& item : node_) {
      const std::string key = item.first.IsScalar() ? item.first.Scalar() : "";
      if (!known_.contains(key)) {
        const std::string_view near = nearest(key, {known_.begin(), known_.end()});
        error(item.first, fmt::format("{} has no key '{}'", what_, shown(key)),
              near.empty() ? "keys: " + join({known_.begin(), known_.end()}, ", ")
                           : fmt::format("did you mean '{}'?", near));
      } else if (!seen.insert(key).second) {
        error(item.first, fmt::format("{} has '{}' twice", what_, key));
      }
    }
  }
  for (const char* key : required_) {
    if (!error_ && !seen.contains(key)) error(node_, fmt::format("{} lacks '{}'", what_, key));
  }
  if (error_) return fail(*error_);
  return {};
}

}  // namespace tweendeck::serving
