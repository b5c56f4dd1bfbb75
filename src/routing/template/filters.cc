// Jinja's filters and tests, as engines' templates use them.
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdlib>

#include "routing/template/evaluator.h"
#include "routing/template/python_text.h"
#include "routing/tokenizer/unicode.h"

namespace tweendeck::routing::chat_template {
namespace {

bool missing(const Value& value) {
  return value.is(Kind::Undefined);
}
bool is_integer(const Value& value) {
  return value.is(Kind::Integer) || value.is(Kind::Bool);
}

}  // namespace

// a.b.0 of the filters that take an attribute.
Value Evaluator::path(const Value& from, const Value& dotted) {
  if (dotted.is(Kind::Integer)) return item(from, dotted);
  if (!wants_text(dotted, "an attribute")) return {};
  Value value = from;
  for (std::string_view rest = dotted.text(); !rest.empty() && !failed_;) {
    const size_t dot = std::min(rest.find('.'), rest.size());
    const std::string_view name = rest.substr(0, dot);
    rest = rest.substr(std::min(dot + 1, rest.size()));
    int64_t index = 0;
    const auto parsed = std::from_chars(name.data(), name.data() + name.size(), index);
    const bool is_index = parsed.ec == std::errc() && parsed.ptr == name.data() + name.size();
    value = item(value, is_index ? Value::of(index) : Value::of(name));
  }
  return value;
}

size_t Evaluator::length_of(const Value& value) {
  switch (value.kind) {
    case Kind::Undefined:
      return 0;
    case Kind::Dict:
      return value.dict->size;
    case Kind::List:
    case Kind::Tuple:
      return value.size();
    case Kind::String:
      charge(value.length / 64);
      return static_cast<size_t>(std::ranges::count_if(
          value.text(), [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }));
    default:
      mistake(fmt::format("a {} has no length", type_name(value)));
      return 0;
  }
}

Value Evaluator::filter(std::string_view name, const Value& in, Arguments& arguments) {
  if (!charge(1)) return {};
  Value result;
  bool known = true;
  const auto text = [&] { return text_value(in).text(); };
  if (name == "trim") {
    result = stripped(text(), arguments.take(0, "chars"), true, true);
  } else if (name == "tojson") {
    result = to_json(in, arguments);
  } else if (name == "length" || name == "count") {
    result = Value::of(static_cast<int64_t>(length_of(in)));
  } else if (name == "default" || name == "d") {
    const Value fallback = arguments.take(0, "default_value"), boolean = arguments.take(1, "boolean");
    const bool takes = missing(in) || (is_true(boolean) && !is_true(in));
    result = !takes ? in : missing(fallback) ? Value::of(std::string_view("", 0)) : fallback;
  } else if (name == "join") {
    result = join(in, arguments);
  } else if (name == "list") {
    result = arena_.list(items_of(in));
  } else if (name == "string") {
    result = text_value(in);
  } else if (name == "safe") {
    result = in;
  } else if (name == "upper" || name == "lower" || name == "title" || name == "capitalize") {
    if (name == "title") unsupported("the filter title");  // its words are not those of str.title()
    result = cased(text(), name);
  } else if (name == "replace") {
    const Value find = text_value(arguments.take(0, "old")), with = text_value(arguments.take(1, "new"));
    result = replaced(text(), find, with, arguments.take(2, "count"));
  } else if (name == "first" || name == "last") {
    const std::vector<Value> items = items_of(in);
    result = items.empty() ? Value() : name == "first" ? items.front() : items.back();
  } else if (name == "reverse") {
    std::vector<Value> items = items_of(in);
    std::reverse(items.begin(), items.end());
    std::string reversed;
    for (const Value& one : items) reversed += in.is_string() ? one.text() : std::string_view();
    result = in.is_string() ? arena_.text(reversed) : arena_.list(items);
  } else if (name == "items") {
    if (!missing(in) && !in.is(Kind::Dict)) mistake("items of what is no dict");
    std::vector<Value> items;
    for (size_t at = 0; in.is(Kind::Dict) && at < in.dict->size; ++at) {
      items.push_back(arena_.list({in.dict->members[at].key, in.dict->members[at].value}, Kind::Tuple));
    }
    result = arena_.list(items);
  } else if (name == "map") {
    result = map(in, arguments);
  } else if (name == "select" || name == "reject" || name == "selectattr" || name == "rejectattr") {
    result = select(in, arguments, name.ends_with("attr"), name.starts_with("select"));
  } else if (name == "sort") {
    result = sort(in, arguments);
  } else if (name == "dictsort") {
    result = dict_sort(in, arguments);
  } else if (name == "indent") {
    result = indent(in, arguments);
  } else if (name == "int") {
    result = to_integer(in, arguments);
  } else if (name == "float" && in.is_number()) {
    result = arithmetic(Op::Divide, in, Value::of(int64_t{1}));
  } else if (name == "abs" && in.is_number()) {
    result = order(in, Value::of(int64_t{0})) < 0 ? negative(in) : in;
  } else if (name == "min" || name == "max") {
    const std::vector<Value> items = items_of(in);
    for (const Value& one : items) {
      if (one.is_string()) unsupported(fmt::format("the filter {} of str", name));
      const int compared = missing(result) ? 0 : order(one, result);
      if (missing(result) || (name == "min" ? compared < 0 : compared > 0)) result = one;
    }
  } else if (name == "sum") {
    result = Value::of(int64_t{0});
    for (const Value& one : items_of(in)) result = arithmetic(Op::Sum, result, one);
  } else if (name == "unique") {
    std::vector<Value> kept;
    for (const Value& one : items_of(in)) {
      if (one.is_string()) unsupported("the filter unique of str");
      charge(kept.size());
      if (std::ranges::none_of(kept, [&](const Value& other) { return equal(one, other); }))
        kept.push_back(one);
    }
    result = arena_.list(kept);
  } else {
    known = false;
  }
  if (!known) unsupported(fmt::format("the filter {} of a {} is not known", name, type_name(in)));
  if (arguments.has_more())
    unsupported(fmt::format("the filter {} with more arguments than are known", name));
  return failed_ ? Value() : result;
}

Value Evaluator::join(const Value& in, Arguments& arguments) {
  const Value by = arguments.take(0, "d"), attribute_name = arguments.take(1, "attribute");
  std::string joined;
  bool first = true;
  for (const Value& one : items_of(in)) {
    if (!first && !missing(by)) keep(append_str(by, joined));
    first = false;
    const Value part = missing(attribute_name) ? one : path(one, attribute_name);
    if (failed_) return {};
    keep(append_str(part, joined));
  }
  return arena_.text(joined);
}

Value Evaluator::map(const Value& in, Arguments& arguments) {
  std::vector<Value> made;
  const std::vector<Value> items = items_of(in);
  const bool by_attribute =
      std::ranges::any_of(arguments.named, [](const auto& one) { return one.first == "attribute"; });
  if (by_attribute) {
    const Value name = arguments.take(SIZE_MAX - 1, "attribute"),
                fallback = arguments.take(SIZE_MAX - 1, "default");
    for (const Value& one : items) {
      const Value value = path(one, name);
      made.push_back(missing(value) && !missing(fallback) ? fallback : value);
    }
  } else {
    const Value name = arguments.take(0, "filter");
    if (!wants_text(name, "map")) return {};
    Arguments rest;
    if (!arguments.positional.empty())
      rest.positional.assign(arguments.positional.begin() + 1, arguments.positional.end());
    rest.named = std::exchange(arguments.named, {});
    arguments.positional.resize(1);
    for (const Value& one : items) {
      Arguments each = rest;
      made.push_back(filter(name.text(), one, each));
      if (failed_) return {};
    }
  }
  return arena_.list(made);
}

Value Evaluator::select(const Value& in, Arguments& arguments, bool by_attribute, bool wanted) {
  const size_t at = by_attribute ? 1 : 0;
  const Value attribute_name = by_attribute ? arguments.take(0, "attribute") : Value();
  const Value test_name = arguments.take(at, "test");
  if (!missing(test_name) && !wants_text(test_name, "select")) return {};
  Arguments rest;
  if (arguments.positional.size() > at + 1) {
    rest.positional.assign(arguments.positional.begin() + static_cast<ptrdiff_t>(at) + 1,
                           arguments.positional.end());
    arguments.positional.resize(at + 1);
  }
  std::vector<Value> kept;
  for (const Value& one : items_of(in)) {
    const Value value = by_attribute ? path(one, attribute_name) : one;
    Arguments each = rest;
    const bool holds = missing(test_name) ? is_true(value) : test(test_name.text(), value, each);
    if (failed_) return {};
    if (holds == wanted) kept.push_back(one);
  }
  return arena_.list(kept);
}

Value Evaluator::sort(const Value& in, Arguments& arguments) {
  const Value reverse = arguments.take(0, "reverse"), exact = arguments.take(1, "case_sensitive");
  const Value name = arguments.take(2, "attribute");
  std::vector<std::pair<Value, Value>> keyed;
  for (const Value& one : items_of(in)) {
    Value key = missing(name) || name.is(Kind::None) ? one : path(one, name);
    if (key.is_string() && !is_true(exact)) key = cased(key.text(), "lower");
    if (failed_) return {};
    keyed.emplace_back(key, one);
  }
  charge(keyed.size() * 16);
  // Merging by hand: a comparison that fails must not reach std::sort's requirements.
  for (size_t width = 1; width < keyed.size() && !failed_; width *= 2) {
    std::vector<std::pair<Value, Value>> merged;
    for (size_t from = 0; from < keyed.size(); from += 2 * width) {
      size_t left = from, right = std::min(from + width, keyed.size());
      const size_t middle = right, end = std::min(from + 2 * width, keyed.size());
      while (left < middle || right < end) {
        bool takes_right = left == middle;
        if (left < middle && right < end) {
          const int compared = order(keyed[right].first, keyed[left].first);
          takes_right = is_true(reverse) ? compared > 0 : compared < 0;
        }
        merged.push_back(keyed[takes_right ? right++ : left++]);
      }
    }
    keyed = std::move(merged);
  }
  std::vector<Value> sorted;
  for (const auto& [key, value] : keyed) sorted.push_back(value);
  return arena_.list(sorted);
}

Value Evaluator::dict_sort(const Value& in, Arguments& arguments) {
  const Value exact = arguments.take(0, "case_sensitive"), by = arguments.take(1, "by"),
              reverse = arguments.take(2, "reverse");
  if (!in.is(Kind::Dict)) {
    mistake("dictsort of what is no dict");
    return {};
  }
  std::vector<Value> pairs;
  for (size_t at = 0; at < in.dict->size; ++at) {
    pairs.push_back(arena_.list({in.dict->members[at].key, in.dict->members[at].value}, Kind::Tuple));
  }
  Arguments sorting;
  const bool by_value = by.is_string() && by.text() == "value";
  sorting.positional = {reverse, exact, Value::of(static_cast<int64_t>(by_value ? 1 : 0))};
  return sort(arena_.list(pairs), sorting);
}

Value Evaluator::to_json(const Value& in, Arguments& arguments) {
  JsonStyle style;
  // The order of transformers' own tojson.
  const Value ascii = arguments.take(0, "ensure_ascii"), spaces = arguments.take(1, "indent");
  const Value separators = arguments.take(2, "separators"), sorted = arguments.take(3, "sort_keys");
  style.ascii = is_true(ascii);
  style.sort_keys = is_true(sorted);
  if (is_integer(spaces)) {
    style.indent = static_cast<int>(std::clamp<int64_t>(spaces.is(Kind::Bool) ? 1 : spaces.integer, 0, 64));
    style.item_separator = ",";
  } else if (!missing(spaces) && !spaces.is(Kind::None)) {
    unsupported("tojson with such an indent");
  }
  if (separators.is_sequence() && separators.size() == 2 && separators.begin()[0].is_string() &&
      separators.begin()[1].is_string()) {
    style.item_separator = separators.begin()[0].text();
    style.key_separator = separators.begin()[1].text();
  } else if (!missing(separators) && !separators.is(Kind::None)) {
    unsupported("tojson with such separators");
  }
  std::string text;
  keep(append_json(in, style, text));
  charge(text.size() / 64);
  return arena_.text(text);
}

Value Evaluator::indent(const Value& in, Arguments& arguments) {
  const Value width = arguments.take(0, "width"), first = arguments.take(1, "first"),
              blank = arguments.take(2, "blank");
  const std::string by =
      width.is_string()
          ? std::string(width.text())
          : std::string(
                static_cast<size_t>(width.is(Kind::Integer) ? std::clamp<int64_t>(width.integer, 0, 64) : 4),
                ' ');
  const Value whole = text_value(in);
  std::string_view rest = whole.text();
  std::string out;
  for (bool is_first = true;; is_first = false) {
    const size_t end = std::min(rest.find('\n'), rest.size());
    const std::string_view line = rest.substr(0, end);
    const bool indented = is_first ? is_true(first) : is_true(blank) || !line.empty();
    if (indented) out += by;
    out += line;
    if (end == rest.size()) break;
    out += '\n';
    rest = rest.substr(end + 1);
    if (!charge(1)) break;
  }
  return arena_.text(out);
}

Value Evaluator::to_integer(const Value& in, Arguments& arguments) {
  const Value given = arguments.take(0, "default");
  const Value fallback = missing(given) ? Value::of(int64_t{0}) : given;
  if (in.is(Kind::Bool)) return Value::of(static_cast<int64_t>(in.boolean));
  if (in.is(Kind::Integer)) return in;
  if (in.is(Kind::Float) && std::fabs(in.number) < 9e18) return Value::of(static_cast<int64_t>(in.number));
  if (in.is(Kind::Float)) unsupported("int of so large a number");
  if (!in.is_string()) return fallback;
  const std::string_view text = stripped(in.text(), Value(), true, true).text();
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (!text.empty() && error == std::errc() && end == text.data() + text.size()) return Value::of(value);
  if (text.find_first_of("0123456789") != std::string_view::npos)
    unsupported("int of a str that is no plain number");
  return fallback;
}

bool Evaluator::test(std::string_view name, const Value& in, Arguments& arguments) {
  if (!charge(1)) return false;
  const Value other = arguments.take(0, "other");
  if (name == "defined") return !missing(in);
  if (name == "undefined") return missing(in);
  if (name == "none") return in.is(Kind::None);
  if (name == "string") return in.is_string();
  if (name == "mapping") return in.is(Kind::Dict);
  if (name == "number") return in.is_number();
  if (name == "integer") return in.is(Kind::Integer);
  if (name == "float") return in.is(Kind::Float);
  if (name == "boolean") return in.is(Kind::Bool);
  if (name == "true") return in.is(Kind::Bool) && in.boolean;
  if (name == "false") return in.is(Kind::Bool) && !in.boolean;
  // An undefined value has a length and can be gone through, which is all that these two ask.
  if (name == "sequence" || name == "iterable")
    return in.is_string() || in.is_sequence() || in.is(Kind::Dict) || missing(in);
  if (name == "callable") return in.is(Kind::Macro) || in.is(Kind::Function) || in.is(Kind::Method);
  if (name == "equalto" || name == "eq" || name == "==") return equal(in, other);
  if (name == "ne" || name == "!=") return !equal(in, other);
  if (name == "lt" || name == "<" || name == "lessthan") return order(in, other) < 0;
  if (name == "le" || name == "<=") return order(in, other) <= 0;
  if (name == "gt" || name == ">" || name == "greaterthan") return order(in, other) > 0;
  if (name == "ge" || name == ">=") return order(in, other) >= 0;
  if (name == "in") return contains(other, in);
  if ((name == "even" || name == "odd") && is_integer(in)) {
    return is_true(arithmetic(Op::Modulo, in, Value::of(int64_t{2}))) == (name == "odd");
  }
  if (name == "divisibleby" && is_integer(in) && is_integer(other))
    return !is_true(arithmetic(Op::Modulo, in, other));
  if (name == "sameas" && (in.is(Kind::None) || in.is(Kind::Bool)))
    return in.kind == other.kind && equal(in, other);
  unsupported(fmt::format("the test {} of a {} is not known", name, type_name(in)));
  return false;
}

}  // namespace tweendeck::routing::chat_template
