// What Python's operators, subscripts and comparisons do.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "routing/template/evaluator.h"
#include "routing/template/python_names.h"
#include "routing/tokenizer/unicode.h"

namespace tweendeck::routing::chat_template {
namespace {

double as_double(const Value& value) {
  if (value.is(Kind::Float)) return value.number;
  return static_cast<double>(value.is(Kind::Bool) ? static_cast<int64_t>(value.boolean) : value.integer);
}
int64_t as_integer(const Value& value) {
  return value.is(Kind::Bool) ? static_cast<int64_t>(value.boolean) : value.integer;
}
bool is_integer(const Value& value) {
  return value.is(Kind::Integer) || value.is(Kind::Bool);
}

Value loop_attribute(const Loop& loop, std::string_view name) {
  const auto index = static_cast<int64_t>(loop.index0), length = static_cast<int64_t>(loop.length);
  if (name == "index") return Value::of(index + 1);
  if (name == "index0") return Value::of(index);
  if (name == "first") return Value::of(index == 0);
  if (name == "last") return Value::of(index + 1 == length);
  if (name == "length") return Value::of(length);
  if (name == "revindex") return Value::of(length - index);
  if (name == "revindex0") return Value::of(length - index - 1);
  if (name == "previtem") return index == 0 ? Value() : loop.items[index - 1];
  if (name == "nextitem") return index + 1 >= length ? Value() : loop.items[index + 1];
  if (name == "depth") return {};
  return {};
}

// Python's slice.indices: the first index, where to stop, and the step, for a sequence of `length`.
struct Indices {
  int64_t start;
  int64_t stop;
  int64_t step;
};
Indices indices(const Value& start, const Value& stop, int64_t step, int64_t length) {
  const auto bound = [&](const Value& value, int64_t fallback) {
    if (value.is(Kind::None)) return fallback;
    const int64_t lowest = step < 0 ? -1 : 0, highest = step < 0 ? length - 1 : length;
    const int64_t at =
        as_integer(value) < 0 ? std::max(as_integer(value), -length - 1) + length : as_integer(value);
    return std::clamp(at, lowest, std::max(lowest, highest));
  };
  return {bound(start, step < 0 ? length - 1 : 0), bound(stop, step < 0 ? -1 : length), step};
}

}  // namespace

Value Evaluator::attribute(const Value& from, std::string_view name) {
  switch (from.kind) {
    case Kind::Undefined:
      mistake(fmt::format("'{}' is undefined, and its {} is asked for",
                          from.bytes == nullptr ? "a value" : from.bytes, name));
      return {};
    case Kind::Dict: {
      if (is_python_attribute(kDictAttributes, name)) return arena_.method(from, name);
      charge(from.dict->size / 16);
      const Value* found = find_member(*from.dict, name);
      if (found != nullptr) return *found;
      break;
    }
    case Kind::Namespace:
      for (const Member& member : from.space->members) {
        if (member.key.is_string() && member.key.text() == name) return member.value;
      }
      break;
    case Kind::Loop:
      if (name == "cycle" || name == "changed" || name == "depth" || name == "depth0")
        unsupported(fmt::format("loop.{}", name));
      return loop_attribute(*from.loop, name);
    case Kind::String:
      if (is_python_attribute(kStringAttributes, name)) return arena_.method(from, name);
      break;
    case Kind::List:
    case Kind::Tuple:
      if (is_python_attribute(kListAttributes, name)) return arena_.method(from, name);
      break;
    default:
      break;
  }
  Value missing;
  missing.bytes = arena_.joined(name, std::string_view("\0", 1)).bytes;
  return missing;
}

Value Evaluator::item(const Value& from, const Value& key) {
  if (from.is(Kind::Undefined)) return attribute(from, key.is_string() ? key.text() : "item");
  if (from.is(Kind::Dict)) {
    charge(from.dict->size / 16);
    const Value* found = find_member(*from.dict, key);
    if (found != nullptr) return *found;
  }
  if (is_integer(key) && (from.is_sequence() || from.is_string())) {
    if (from.is_string()) {
      const std::vector<Value> characters = items_of(from);
      const auto length = static_cast<int64_t>(characters.size());
      const int64_t at = as_integer(key) < 0 ? as_integer(key) + length : as_integer(key);
      return at >= 0 && at < length ? characters[static_cast<size_t>(at)] : Value();
    }
    const auto length = static_cast<int64_t>(from.size());
    const int64_t at = as_integer(key) < 0 ? as_integer(key) + length : as_integer(key);
    return at >= 0 && at < length ? from.begin()[at] : Value();
  }
  return key.is_string() && !failed_ ? attribute(from, key.text()) : Value();
}

Value Evaluator::slice(const Value& from, const Value& start, const Value& stop, const Value& step) {
  for (const Value* part : {&start, &stop, &step}) {
    if (!is_integer(*part) && !part->is(Kind::None))
      mistake(fmt::format("a slice of a {}", type_name(*part)));
  }
  if (!from.is_sequence() && !from.is_string()) {
    mistake(fmt::format("a {} cannot be sliced", type_name(from)));
    return {};
  }
  const int64_t by = step.is(Kind::None) ? 1 : as_integer(step);
  if (by == 0) mistake("the step of a slice is 0");
  const std::vector<Value> items = failed_ ? std::vector<Value>() : items_of(from);
  if (failed_) return {};
  const Indices range = indices(start, stop, by, static_cast<int64_t>(items.size()));
  std::vector<Value> taken;
  for (int64_t at = range.start; by > 0 ? at < range.stop : at > range.stop;) {
    taken.push_back(items[static_cast<size_t>(at)]);
    if (__builtin_add_overflow(at, by, &at)) break;
  }
  if (!from.is_string()) return arena_.list(taken, from.kind);
  if (by == 1) {  // characters side by side are one part of the text
    if (taken.empty()) return Value::of(std::string_view("", 0));
    const char* begin = taken.front().bytes;
    return Value::of(
        std::string_view(begin, static_cast<size_t>(taken.back().bytes + taken.back().length - begin)));
  }
  std::string text;
  for (const Value& one : taken) text += one.text();
  return arena_.text(text);
}

Value Evaluator::add(const Value& left, const Value& right) {
  if (left.is_string() && right.is_string()) {
    charge((left.length + right.length) / 64);
    return arena_.joined(left.text(), right.text());
  }
  if (left.is_sequence() && left.kind == right.kind) {
    std::vector<Value> items(left.begin(), left.end());
    items.insert(items.end(), right.begin(), right.end());
    charge(items.size());
    return arena_.list(items, left.kind);
  }
  return failed_ ? Value() : arithmetic(Op::Sum, left, right);
}

Value Evaluator::arithmetic(Op op, const Value& left, const Value& right) {
  if (op == Op::Multiply && (left.is_string() || right.is_string()) &&
      (is_integer(left) || is_integer(right))) {
    const Value& text = left.is_string() ? left : right;
    const int64_t times = std::max<int64_t>(0, as_integer(left.is_string() ? right : left));
    if (text.length > 0 && static_cast<uint64_t>(times) > options_.most_bytes / text.length) {
      refuse(Reason::LimitExceeded, "a text is repeated too often");
      return {};
    }
    std::string repeated;
    for (int64_t count = 0; count < times && text.length > 0; ++count) repeated += text.text();
    charge(repeated.size() / 64);
    return arena_.text(repeated);
  }
  if (op == Op::Modulo && left.is_string()) {
    unsupported("formatting with %");
    return {};
  }
  if (!left.is_number() || !right.is_number()) {
    mistake(fmt::format("unsupported operand types: {} and {}", type_name(left), type_name(right)));
    return {};
  }
  const bool floats = left.is(Kind::Float) || right.is(Kind::Float);
  if (op == Op::Power) {
    unsupported("the operator **");
    return {};
  }
  const bool divides = op == Op::Divide || op == Op::FloorDivide || op == Op::Modulo;
  if (divides && as_double(right) == 0) {
    mistake("division by zero");
    return {};
  }
  if (floats || op == Op::Divide) {
    const double a = as_double(left), b = as_double(right);
    if (op == Op::Sum) return Value::of(a + b);
    if (op == Op::Subtract) return Value::of(a - b);
    if (op == Op::Multiply) return Value::of(a * b);
    if (op == Op::Divide) return Value::of(a / b);
    if (op == Op::FloorDivide) return Value::of(std::floor(a / b));
    const double rest = std::fmod(a, b);
    return Value::of(rest != 0 && (rest < 0) != (b < 0) ? rest + b : rest);
  }
  const int64_t a = as_integer(left), b = as_integer(right);
  int64_t result = 0;
  bool overflow = false;
  if (op == Op::Sum) overflow = __builtin_add_overflow(a, b, &result);
  if (op == Op::Subtract) overflow = __builtin_sub_overflow(a, b, &result);
  if (op == Op::Multiply) overflow = __builtin_mul_overflow(a, b, &result);
  if (divides) {
    overflow = a == INT64_MIN && b == -1;
    if (!overflow) {
      const bool round_down = a % b != 0 && (a % b < 0) != (b < 0);
      result = op == Op::FloorDivide ? a / b - (round_down ? 1 : 0) : a % b + (round_down ? b : 0);
    }
  }
  if (overflow) unsupported("a number of more than 64 bits");
  return Value::of(result);
}

Value Evaluator::negative(const Value& value) {
  if (value.is(Kind::Float)) return Value::of(-value.number);
  if (!value.is_number()) return {};
  return arithmetic(Op::Subtract, Value::of(int64_t{0}), value);
}

int Evaluator::order(const Value& left, const Value& right) {
  if (left.is_number() && right.is_number()) {
    if (is_integer(left) && is_integer(right)) {
      return as_integer(left) < as_integer(right) ? -1 : as_integer(left) > as_integer(right) ? 1 : 0;
    }
    return as_double(left) < as_double(right) ? -1 : as_double(left) > as_double(right) ? 1 : 0;
  }
  if (left.is_string() && right.is_string()) {
    charge(std::min(left.length, right.length) / 64);
    return left.text().compare(right.text());
  }
  if (left.is_sequence() && left.kind == right.kind) {
    for (size_t at = 0; at < std::min(left.size(), right.size()); ++at) {
      if (!equal(left.begin()[at], right.begin()[at])) return order(left.begin()[at], right.begin()[at]);
    }
    return left.size() < right.size() ? -1 : left.size() > right.size() ? 1 : 0;
  }
  mistake(fmt::format("a {} and a {} have no order", type_name(left), type_name(right)));
  return 0;
}

bool Evaluator::contains(const Value& in, const Value& what) {
  switch (in.kind) {
    case Kind::String:
      if (!wants_text(what, "'in' a str")) return false;
      charge(in.length / 64);
      return in.text().find(what.text()) != std::string_view::npos;
    case Kind::List:
    case Kind::Tuple:
      charge(in.size());
      return std::any_of(in.begin(), in.end(), [&](const Value& item) { return equal(item, what); });
    case Kind::Dict:
      charge(in.dict->size / 16);
      return find_member(*in.dict, what) != nullptr;
    case Kind::Undefined:
      return false;
    default:
      mistake(fmt::format("a {} has no members", type_name(in)));
      return false;
  }
}

bool Evaluator::holds(Comparison comparison, const Value& left, const Value& right) {
  switch (comparison) {
    case Comparison::Equal:
      return equal(left, right);
    case Comparison::NotEqual:
      return !equal(left, right);
    case Comparison::Less:
      return order(left, right) < 0;
    case Comparison::LessEqual:
      return order(left, right) <= 0;
    case Comparison::Greater:
      return order(left, right) > 0;
    case Comparison::GreaterEqual:
      return order(left, right) >= 0;
    case Comparison::In:
      return contains(right, left);
    case Comparison::NotIn:
      return !contains(right, left);
  }
  return false;
}

}  // namespace tweendeck::routing::chat_template
