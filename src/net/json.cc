#include "net/json.h"

#include <fmt/format.h>
#include <simdjson.h>

#include <cmath>
#include <limits>
#include <unordered_set>

#include "base/text.h"

namespace tweendeck::net {
namespace {

const JsonValue kNull;

}  // namespace

struct JsonBuilder {
  using Element = simdjson::dom::element;

  static Status build(const Element& from, size_t depth, JsonValue& to) {
    if (depth > kMaxJsonDepth) {
      return fail(Reason::MalformedRequest,
                  fmt::format("the JSON is nested deeper than {} levels", kMaxJsonDepth));
    }
    switch (from.type()) {
      case simdjson::dom::element_type::NULL_VALUE:
        break;
      case simdjson::dom::element_type::BOOL:
        to.kind_ = JsonValue::Kind::Bool;
        to.integer_ = from.get_bool().value_unsafe() ? 1 : 0;
        break;
      case simdjson::dom::element_type::INT64:
        to.kind_ = JsonValue::Kind::Integer;
        to.integer_ = from.get_int64().value_unsafe();
        break;
      case simdjson::dom::element_type::UINT64:  // only above INT64_MAX
        to.kind_ = JsonValue::Kind::Number;
        to.number_ = static_cast<double>(from.get_uint64().value_unsafe());
        break;
      case simdjson::dom::element_type::DOUBLE:
        to.kind_ = JsonValue::Kind::Number;
        to.number_ = from.get_double().value_unsafe();
        break;
      case simdjson::dom::element_type::STRING:
        to.kind_ = JsonValue::Kind::String;
        to.text_ = from.get_string().value_unsafe();
        break;
      case simdjson::dom::element_type::ARRAY:
        return build_array(from, depth, to);
      case simdjson::dom::element_type::OBJECT:
        return build_object(from, depth, to);
    }
    return {};
  }

  static Status build_array(const Element& from, size_t depth, JsonValue& to) {
    to.kind_ = JsonValue::Kind::Array;
    for (Element item : from.get_array().value_unsafe()) {
      if (auto ok = build(item, depth + 1, to.items_.emplace_back()); !ok) return ok;
    }
    return {};
  }

  static Status build_object(const Element& from, size_t depth, JsonValue& to) {
    to.kind_ = JsonValue::Kind::Object;
    std::unordered_set<std::string_view> seen;
    for (auto [key, value] : from.get_object().value_unsafe()) {
      if (!seen.insert(key).second) {
        return fail(Reason::MalformedRequest, fmt::format("the JSON names key {} twice", json_quote(key)));
      }
      auto& member = to.members_.emplace_back(std::string(key), JsonValue());
      if (auto ok = build(value, depth + 1, member.second); !ok) return ok;
    }
    return {};
  }
};

const JsonValue& JsonValue::operator[](std::string_view key) const {
  for (const auto& [name, value] : members_) {
    if (name == key) return value;
  }
  return kNull;
}

double JsonValue::number_or(double fallback) const {
  if (kind_ == Kind::Integer) return static_cast<double>(integer_);
  return kind_ == Kind::Number ? number_ : fallback;
}

Result<JsonValue> parse_json(std::string_view text) {
  simdjson::dom::parser parser;
  simdjson::dom::element root;
  if (auto error = parser.parse(text.data(), text.size(), true).get(root)) {
    return fail(Reason::MalformedRequest, fmt::format("not JSON: {}", simdjson::error_message(error)));
  }
  JsonValue value;
  if (auto ok = JsonBuilder::build(root, 0, value); !ok) return fail(ok.error());
  return value;
}

JsonWriter& JsonWriter::open(char opening, char closing) {
  separate();
  text_ += opening;
  closers_ += closing;
  need_comma_ = false;
  return *this;
}

JsonWriter& JsonWriter::end() {
  text_ += closers_.back();
  closers_.pop_back();
  need_comma_ = true;
  return *this;
}

void JsonWriter::separate() {
  if (need_comma_) text_ += ',';
  need_comma_ = true;
}

JsonWriter& JsonWriter::name(std::string_view key) {
  separate();
  text_ += json_quote(key);
  text_ += ':';
  need_comma_ = false;
  return *this;
}

JsonWriter& JsonWriter::value(std::string_view text) {
  return raw(json_quote(text));
}
JsonWriter& JsonWriter::value(bool flag) {
  return raw(flag ? "true" : "false");
}
JsonWriter& JsonWriter::value(int64_t number) {
  return raw(fmt::format("{}", number));
}
JsonWriter& JsonWriter::value(uint64_t number) {
  return raw(fmt::format("{}", number));
}
JsonWriter& JsonWriter::null() {
  return raw("null");
}

JsonWriter& JsonWriter::value(double number) {
  return std::isfinite(number) ? raw(fmt::format("{}", number)) : null();
}

JsonWriter& JsonWriter::value(const JsonValue& tree) {
  switch (tree.kind()) {
    case JsonValue::Kind::Null:
      return null();
    case JsonValue::Kind::Bool:
      return value(tree.bool_or(false));
    case JsonValue::Kind::Integer:
      return value(tree.integer_or(0));
    case JsonValue::Kind::Number:
      return value(tree.number_or(0));
    case JsonValue::Kind::String:
      return value(tree.text_or(""));
    case JsonValue::Kind::Array:
      array();
      for (const JsonValue& item : tree.items()) value(item);
      return end();
    case JsonValue::Kind::Object:
      object();
      for (const auto& [key, member] : tree.members()) name(key).value(member);
      return end();
  }
  return *this;
}

JsonWriter& JsonWriter::raw(std::string_view json) {
  separate();
  text_ += json;
  return *this;
}

std::string error_json(const Error& error) {
  JsonWriter w;
  w.object().object("error").field("reason", to_string(error.reason)).field("message", error.message);
  w.field("hint", error.hint).end().end();
  return w.take();
}

Error error_from_json(std::string_view body, int http_status) {
  auto parsed = parse_json(body);
  if (parsed && (*parsed)["error"].is_object()) {
    const JsonValue& error = (*parsed)["error"];
    // The gateway's OpenAI errors carry the reason as `code`.
    auto reason = parse_reason(error["reason"].text_or(error["code"].text_or("")));
    return Error{reason.value_or(Reason::Internal), std::string(error["message"].text_or("")),
                 std::string(error["hint"].text_or(""))};
  }
  return Error{Reason::Internal, fmt::format("answer with status {} and no error object", http_status), ""};
}

}  // namespace tweendeck::net
