// The words of a line of an event log: writing them, and reading them with every mistake named. Private to
// event_log.cc and event_parse.cc.
#pragma once

#include <charconv>
#include <concepts>
#include <limits>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "base/types.h"
#include "placement/cluster/facts.h"

namespace tweendeck::placement {

std::string escape_word(std::string_view text);
bool unescape_word(std::string_view text, std::string& out);

// A verb or nested word with the key=value words after it.
struct Section {
  std::string_view name;
  std::vector<std::pair<std::string_view, std::string>> fields;
};
Result<std::vector<Section>> sections_of(std::string_view line);

// Writes what differs from the default.
class WordWriter {
 public:
  void section(std::string_view name) {
    if (!line_.empty()) line_ += ' ';
    line_ += name;
  }
  void number(std::string_view key, std::integral auto value,
              std::type_identity_t<decltype(value)> standard) {
    if (value != standard) put(key, std::to_string(value));
  }
  void text(std::string_view key, const std::string& value) {
    if (!value.empty()) put(key, value);
  }
  void flag(std::string_view key, bool value, bool standard) {
    if (value != standard) put(key, value ? "yes" : "no");
  }
  template <class E, size_t N>
  void choice(std::string_view key, E value, E standard, const std::string_view (&names)[N]) {
    if (value != standard) put(key, std::string(names[static_cast<size_t>(value)]));
  }
  void list(std::string_view key, const std::vector<std::string>& values) {
    for (const std::string& value : values) put(key, value);
  }
  void attributes(const std::vector<Attribute>& attributes) {
    for (const auto& [name, value] : attributes) {
      put("attribute", name);
      put("is", value);
    }
  }
  std::string take() { return std::move(line_); }

 private:
  void put(std::string_view key, const std::string& value) {
    line_ += ' ';
    line_ += key;
    line_ += '=';
    line_ += escape_word(value);
  }
  std::string line_;
};

// Reads the fields of one section. The first mistake stays.
class WordReader {
 public:
  explicit WordReader(const Section& section) : section_(section), used_(section.fields.size(), false) {}

  template <std::integral T>
  void number(std::string_view key, T& value, std::type_identity_t<T> standard) {
    value = standard;
    const std::string* text = one(key);
    if (text == nullptr) return;
    const auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), value);
    if (error != std::errc() || end != text->data() + text->size())
      wrong(key, *text, "is no number that fits");
  }
  void text(std::string_view key, std::string& value) {
    if (const std::string* text = one(key); text != nullptr) value = *text;
  }
  void flag(std::string_view key, bool& value, bool standard) {
    value = standard;
    const std::string* text = one(key);
    if (text == nullptr) return;
    value = *text == "yes";
    if (*text != "yes" && *text != "no") wrong(key, *text, "is neither yes nor no");
  }
  template <class E, size_t N>
  void choice(std::string_view key, E& value, E standard, const std::string_view (&names)[N]) {
    value = standard;
    const std::string* text = one(key);
    if (text == nullptr) return;
    for (size_t i = 0; i < N; ++i) {
      if (names[i] == *text) {
        value = static_cast<E>(i);
        return;
      }
    }
    wrong(key, *text, "is none of what there is");
  }
  void list(std::string_view key, std::vector<std::string>& values) {
    for (size_t i = 0; i < section_.fields.size(); ++i) {
      if (section_.fields[i].first != key) continue;
      used_[i] = true;
      values.push_back(section_.fields[i].second);
    }
  }
  void attributes(std::vector<Attribute>& attributes) {
    for (size_t i = 0; i + 1 < section_.fields.size(); ++i) {
      if (section_.fields[i].first != "attribute" || section_.fields[i + 1].first != "is") continue;
      used_[i] = used_[i + 1] = true;
      attributes.emplace_back(section_.fields[i].second, section_.fields[i + 1].second);
    }
  }
  // After all fields: words that nobody asked for.
  Status done() {
    for (size_t i = 0; i < used_.size() && status_; ++i) {
      if (!used_[i])
        wrong(section_.fields[i].first, section_.fields[i].second, "is not a field here, or twice");
    }
    return status_;
  }

 private:
  const std::string* one(std::string_view key) {
    for (size_t i = 0; i < section_.fields.size(); ++i) {
      if (section_.fields[i].first != key) continue;
      used_[i] = true;
      return &section_.fields[i].second;
    }
    return nullptr;
  }
  void wrong(std::string_view key, const std::string& value, const char* what) {
    if (!status_) return;
    status_ =
        fail(Reason::InvalidArgument,
             std::string(section_.name) + ": " + std::string(key) + "=" + escape_word(value) + " " + what,
             "docs/guides/simulate.md lists the words of a line");
  }

  const Section& section_;
  std::vector<bool> used_;
  Status status_;
};

}  // namespace tweendeck::placement
