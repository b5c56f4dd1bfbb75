// JSON for control paths: a value tree to read and a small writer. (The gateway's hot path has its own
// scanner.)
//
// Reading is strict RFC 8259 by simdjson, refuses duplicate keys and trees deeper than kMaxJsonDepth. A
// JsonValue owns its strings. Looking up what is missing gives a null value, so that lookups chain:
// v["a"]["b"].text_or(""). Not safe for concurrent writes; safe for concurrent reads.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"

namespace tweendeck::net {

inline constexpr size_t kMaxJsonDepth = 64;

class JsonValue {
 public:
  enum class Kind : uint8_t { Null, Bool, Integer, Number, String, Array, Object };

  Kind kind() const { return kind_; }
  bool is_null() const { return kind_ == Kind::Null; }
  bool is_bool() const { return kind_ == Kind::Bool; }
  bool is_string() const { return kind_ == Kind::String; }
  bool is_integer() const { return kind_ == Kind::Integer; }
  bool is_number() const { return kind_ == Kind::Number || kind_ == Kind::Integer; }
  bool is_array() const { return kind_ == Kind::Array; }
  bool is_object() const { return kind_ == Kind::Object; }

  const JsonValue& operator[](std::string_view key) const;  // null when absent or no object
  bool has(std::string_view key) const { return !(*this)[key].is_null(); }
  const std::vector<JsonValue>& items() const { return items_; }  // empty unless an array
  const std::vector<std::pair<std::string, JsonValue>>& members() const { return members_; }

  std::string_view text_or(std::string_view fallback) const { return is_string() ? text_ : fallback; }
  int64_t integer_or(int64_t fallback) const { return is_integer() ? integer_ : fallback; }
  double number_or(double fallback) const;
  bool bool_or(bool fallback) const { return is_bool() ? integer_ != 0 : fallback; }

 private:
  friend struct JsonBuilder;
  Kind kind_ = Kind::Null;
  int64_t integer_ = 0;
  double number_ = 0;
  std::string text_;
  std::vector<JsonValue> items_;
  std::vector<std::pair<std::string, JsonValue>> members_;
};

// Error MalformedRequest with what is wrong.
Result<JsonValue> parse_json(std::string_view text);

// Appends JSON text; commas are its business, nesting is the caller's.
//
//   JsonWriter w;
//   w.object().field("name", "chat").array("ports").value(80).end().end();
//   w.text();  // {"name":"chat","ports":[80]}
class JsonWriter {
 public:
  JsonWriter& object() { return open('{', '}'); }
  JsonWriter& array() { return open('[', ']'); }
  JsonWriter& object(std::string_view key) { return name(key).object(); }
  JsonWriter& array(std::string_view key) { return name(key).array(); }
  JsonWriter& end();

  JsonWriter& name(std::string_view key);
  JsonWriter& value(std::string_view text);
  JsonWriter& value(const char* text) { return value(std::string_view(text)); }
  JsonWriter& value(const std::string& text) { return value(std::string_view(text)); }
  JsonWriter& value(bool flag);
  JsonWriter& value(double number);  // not finite -> null
  JsonWriter& value(int64_t number);
  JsonWriter& value(uint64_t number);
  JsonWriter& value(int number) { return value(static_cast<int64_t>(number)); }
  JsonWriter& value(uint32_t number) { return value(static_cast<uint64_t>(number)); }
  JsonWriter& value(const JsonValue& tree);
  JsonWriter& null();
  JsonWriter& raw(std::string_view json);  // a value that is JSON text already

  template <class T>
  JsonWriter& field(std::string_view key, const T& v) {
    return name(key).value(v);
  }

  const std::string& text() const { return text_; }
  std::string take() { return std::move(text_); }

 private:
  JsonWriter& open(char opening, char closing);
  void separate();

  std::string text_;
  std::string closers_;
  bool need_comma_ = false;
};

// {"error":{"reason":"...","message":"...","hint":"..."}}: how the local API tells errors, and back.
std::string error_json(const Error& error);
Error error_from_json(std::string_view body, int http_status);

}  // namespace tweendeck::net
