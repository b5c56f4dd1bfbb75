// Methods of Python's str, dict and list.
#include <fmt/format.h>

#include <algorithm>

#include "routing/template/evaluator.h"
#include "routing/tokenizer/unicode.h"

namespace tweendeck::routing::chat_template {
namespace {

// What str.strip() takes and str.split() splits at; \s and four separators of ASCII.
bool is_python_space(uint32_t point) {
  return (tokenizer::class_table()[point] & tokenizer::kSpace) != 0 || (point >= 0x1C && point <= 0x1F);
}

bool is_ascii(std::string_view text) {
  return std::ranges::all_of(text, [](char c) { return static_cast<unsigned char>(c) < 0x80; });
}
char lower(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c | 0x20) : c;
}
char upper(char c) {
  return c >= 'a' && c <= 'z' ? static_cast<char>(c & ~0x20) : c;
}

}  // namespace

Value Evaluator::call_method(const MethodData& method, Arguments& arguments) {
  const Value& self = method.self;
  if (self.is_string()) return string_method(self.text(), method.name, arguments);
  if (self.is(Kind::Dict)) {
    std::vector<Value> items;
    if (method.name == "get") {
      const Value key = arguments.take(0, "key");
      const bool has_fallback = arguments.positional.size() > 1;
      const Value fallback = has_fallback ? arguments.take(1, "default") : Value::none();
      charge(self.dict->size / 16);
      const Value* found = find_member(*self.dict, key);
      return found != nullptr ? *found : fallback;
    }
    for (size_t at = 0; at < self.dict->size; ++at) {
      const Member& member = self.dict->members[at];
      if (method.name == "keys") items.push_back(member.key);
      if (method.name == "values") items.push_back(member.value);
      if (method.name == "items") items.push_back(arena_.list({member.key, member.value}, Kind::Tuple));
    }
    charge(self.dict->size);
    if (method.name == "keys" || method.name == "values" || method.name == "items") return arena_.list(items);
    if (method.name == "copy") return self;
  }
  if (self.is_sequence() && method.name == "count") {
    const Value what = arguments.take(0, "value");
    charge(self.size());
    return Value::of(static_cast<int64_t>(
        std::count_if(self.begin(), self.end(), [&](const Value& one) { return equal(one, what); })));
  }
  // What changes its object the sandbox of engines forbids; the rest is not known here.
  unsupported(fmt::format("the method {} of a {}", method.name, type_name(self)));
  return {};
}

Value Evaluator::string_method(std::string_view self, std::string_view name, Arguments& arguments) {
  charge(self.size() / 64);
  const auto text = [](std::string_view view) { return Value::of(view); };
  if (name == "strip" || name == "lstrip" || name == "rstrip") {
    return stripped(self, arguments.take(0, "chars"), name != "rstrip", name != "lstrip");
  }
  if (name == "split" || name == "rsplit") return split(self, arguments, name == "rsplit");
  if (name == "startswith" || name == "endswith") {
    const Value part = arguments.take(0, "prefix");
    const auto holds = [&](const Value& one) {
      if (!wants_text(one, name)) return false;
      return name == "startswith" ? self.starts_with(one.text()) : self.ends_with(one.text());
    };
    if (arguments.has_more()) unsupported(fmt::format("{} of a part", name));
    if (part.is(Kind::Tuple)) return Value::of(std::any_of(part.begin(), part.end(), holds));
    return Value::of(holds(part));
  }
  if (name == "upper" || name == "lower" || name == "title" || name == "capitalize") return cased(self, name);
  if (name == "replace") {
    const Value find = arguments.take(0, "old"), with = arguments.take(1, "new");
    return replaced(self, find, with, arguments.take(2, "count"));
  }
  if (name == "join") {
    std::string joined;
    const std::vector<Value> items = items_of(arguments.take(0, "iterable"));
    for (size_t at = 0; at < items.size(); ++at) {
      if (!wants_text(items[at], "join")) return {};
      if (at > 0) joined += self;
      joined += items[at].text();
    }
    return arena_.text(joined);
  }
  if (name == "find" || name == "count" || name == "removeprefix" || name == "removesuffix") {
    const Value part = arguments.take(0, "sub");
    if (arguments.has_more()) unsupported(fmt::format("{} of a part", name));
    if (!wants_text(part, name)) return {};
    if (name == "removeprefix") return text(self.starts_with(part.text()) ? self.substr(part.length) : self);
    if (name == "removesuffix") {
      const bool ends = part.length > 0 && self.ends_with(part.text());
      return text(ends ? self.substr(0, self.size() - part.length) : self);
    }
    if (name == "find") {
      const size_t at = self.find(part.text());
      if (at == std::string_view::npos) return Value::of(int64_t{-1});
      return Value::of(static_cast<int64_t>(items_of(text(self.substr(0, at))).size()));
    }
    if (part.length == 0) return Value::of(static_cast<int64_t>(items_of(text(self)).size() + 1));
    int64_t count = 0;
    for (size_t at = 0; (at = self.find(part.text(), at)) != std::string_view::npos; at += part.length)
      ++count;
    return Value::of(count);
  }
  if (name == "splitlines" && is_ascii(self) &&
      self.find_first_of("\v\f\x1c\x1d\x1e") == std::string_view::npos && arguments.positional.empty() &&
      arguments.named.empty()) {
    std::vector<Value> lines;
    for (size_t at = 0; at < self.size();) {
      const size_t end = std::min(self.find_first_of("\r\n", at), self.size());
      lines.push_back(text(self.substr(at, end - at)));
      at = end + (self.substr(end).starts_with("\r\n") ? 2 : 1);
    }
    return arena_.list(lines);
  }
  if (name == "isdigit" && is_ascii(self)) {
    return Value::of(!self.empty() && std::ranges::all_of(self, [](char c) { return c >= '0' && c <= '9'; }));
  }
  unsupported(fmt::format("the method {} of a str", name));
  return {};
}

Value Evaluator::stripped(std::string_view self, const Value& characters, bool left, bool right) {
  const bool spaces = characters.is(Kind::Undefined) || characters.is(Kind::None);
  if (!spaces && !wants_text(characters, "strip")) return {};
  const auto goes = [&](const char* at, size_t length) {
    if (spaces) return is_python_space(tokenizer::decode(at).point);
    // Of valid UTF-8, a character's bytes are found only where the character is.
    return characters.text().find(std::string_view(at, length)) != std::string_view::npos;
  };
  while (left && !self.empty()) {
    const size_t length = tokenizer::decode(self.data()).length;
    if (!goes(self.data(), length)) break;
    self.remove_prefix(length);
  }
  while (right && !self.empty()) {
    const char* last = tokenizer::before(self.data() + self.size());
    const auto length = static_cast<size_t>(self.data() + self.size() - last);
    if (!goes(last, length)) break;
    self.remove_suffix(length);
  }
  return Value::of(self);
}

Value Evaluator::split(std::string_view self, Arguments& arguments, bool from_right) {
  const Value separator = arguments.take(0, "sep"), most_value = arguments.take(1, "maxsplit");
  int64_t most = most_value.is(Kind::Integer) && most_value.integer >= 0 ? most_value.integer : INT64_MAX;
  std::vector<Value> parts;
  if (separator.is(Kind::Undefined) || separator.is(Kind::None)) {
    if (most != INT64_MAX) unsupported("split at white space so many times");
    size_t start = std::string_view::npos;
    for (size_t at = 0; at < self.size();) {
      const tokenizer::Decoded next = tokenizer::decode(self.data() + at);
      const bool space = is_python_space(next.point);
      if (space && start != std::string_view::npos) {
        parts.push_back(Value::of(self.substr(start, at - start)));
        start = std::string_view::npos;
      } else if (!space && start == std::string_view::npos) {
        start = at;
      }
      at += next.length;
    }
    if (start != std::string_view::npos) parts.push_back(Value::of(self.substr(start)));
    charge(parts.size());
    return arena_.list(parts);
  }
  if (!wants_text(separator, "split")) return {};
  const std::string_view by = separator.text();
  if (by.empty()) {
    mistake("split at an empty str");
    return {};
  }
  for (; most > 0; --most) {
    const size_t at = from_right ? self.rfind(by) : self.find(by);
    if (at == std::string_view::npos || !charge(1)) break;
    parts.push_back(Value::of(from_right ? self.substr(at + by.size()) : self.substr(0, at)));
    self = from_right ? self.substr(0, at) : self.substr(at + by.size());
  }
  parts.push_back(Value::of(self));
  if (from_right) std::reverse(parts.begin(), parts.end());
  return arena_.list(parts);
}

Value Evaluator::cased(std::string_view self, std::string_view how) {
  if (!is_ascii(self)) {
    unsupported(fmt::format("{} of text that is not ASCII", how));
    return {};
  }
  std::string out(self);
  bool inside = false;  // of a word
  for (char& c : out) {
    const bool up = how == "upper" || (how != "lower" && !inside);
    const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
    c = up ? upper(c) : lower(c);
    inside = how == "capitalize" || letter;
  }
  return arena_.text(out);
}

Value Evaluator::replaced(std::string_view self, const Value& find, const Value& with, const Value& count) {
  if (!wants_text(find, "replace") || !wants_text(with, "replace")) return {};
  int64_t left = count.is(Kind::Integer) && count.integer >= 0 ? count.integer : INT64_MAX;
  if (find.length == 0) {
    unsupported("replace of an empty str");
    return {};
  }
  std::string out;
  for (; left > 0; --left) {
    const size_t at = self.find(find.text());
    if (at == std::string_view::npos || !charge(1) || out.size() > options_.most_bytes) break;
    out.append(self.substr(0, at)).append(with.text());
    self.remove_prefix(at + find.length);
  }
  return arena_.text(out.append(self));
}

}  // namespace tweendeck::routing::chat_template
