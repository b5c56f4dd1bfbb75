#include "routing/dialect/body_scanner.h"

#include <fmt/format.h>

#include <cstring>

namespace tweendeck::routing::dialect {
namespace {

constexpr uint64_t kMaxTokens = 1ULL << 40;  // larger limits mean the same

bool is_space(char c) {
  return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}
bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

void append_utf8(std::string& out, uint32_t c) {
  if (c < 0x80) {
    out += static_cast<char>(c);
  } else if (c < 0x800) {
    out += static_cast<char>(0xc0 | (c >> 6));
    out += static_cast<char>(0x80 | (c & 0x3f));
  } else if (c < 0x10000) {
    out += static_cast<char>(0xe0 | (c >> 12));
    out += static_cast<char>(0x80 | ((c >> 6) & 0x3f));
    out += static_cast<char>(0x80 | (c & 0x3f));
  } else {
    out += static_cast<char>(0xf0 | (c >> 18));
    out += static_cast<char>(0x80 | ((c >> 12) & 0x3f));
    out += static_cast<char>(0x80 | ((c >> 6) & 0x3f));
    out += static_cast<char>(0x80 | (c & 0x3f));
  }
}

// True when one of eight bytes is a quote, a backslash or below 0x20 (may also be true for a byte after such
// a one).
bool any_special(uint64_t word) {
  constexpr uint64_t kOnes = 0x0101010101010101, kHighs = 0x8080808080808080;
  auto has_zero = [](uint64_t w) { return (w - kOnes) & ~w & kHighs; };
  uint64_t controls = (word - kOnes * 0x20) & ~word & kHighs;
  return (has_zero(word ^ (kOnes * '"')) | has_zero(word ^ (kOnes * '\\')) | controls) != 0;
}

}  // namespace

BodyScanner::Range BodyScanner::prompt_range() const {
  return prompt_open_ ? Range{value_begin_, offset_} : prompt_range_;
}

bool BodyScanner::refuse(Reason reason, std::string message) {
  state_ = State::Broken;
  error_ = {reason, std::move(message), "send one JSON object as the request body"};
  return false;
}

bool BodyScanner::refuse_byte(char c) {
  return refuse(Reason::MalformedRequest, fmt::format("the body is no JSON: byte 0x{:02x} at offset {}",
                                                      static_cast<uint8_t>(c), offset_));
}

// How many bytes at the front of a string's text need no look: no quote, backslash or control byte.
size_t BodyScanner::skip_plain(std::string_view bytes) const {
  size_t i = 0;
  for (; i + sizeof(uint64_t) <= bytes.size(); i += sizeof(uint64_t)) {
    uint64_t word;
    std::memcpy(&word, bytes.data() + i, sizeof(word));
    if (any_special(word)) break;
  }
  while (i < bytes.size() && bytes[i] != '"' && bytes[i] != '\\' && static_cast<uint8_t>(bytes[i]) >= 0x20)
    ++i;
  return i;
}

bool BodyScanner::update(std::string_view bytes) {
  if (state_ == State::Broken) return false;
  while (!bytes.empty()) {
    if (state_ == State::String) {
      size_t plain = skip_plain(bytes);
      if (collecting_ && plain > 0 && !collect(bytes.substr(0, plain))) return false;
      offset_ += plain;
      bytes.remove_prefix(plain);
      if (bytes.empty()) break;
    }
    if (!step(bytes.front())) return false;
    ++offset_;
    bytes.remove_prefix(1);
  }
  return true;
}

bool BodyScanner::finish() {
  if (state_ == State::Broken) return false;
  if (state_ == State::Done) return true;
  if (state_ == State::Start) return refuse(Reason::MalformedRequest, "the body is empty");
  return refuse(Reason::MalformedRequest,
                fmt::format("the JSON body ends too early, after {} bytes", offset_));
}

bool BodyScanner::step(char c) {
  switch (state_) {
    case State::String:
      if (c == '"') return end_string();
      if (c == '\\') {
        state_ = State::Escape;
        return true;
      }
      return refuse_byte(c);
    case State::Escape:
      return escape(c);
    case State::Unicode:
      return unicode(c);
    case State::Literal:
      if (c != literal_rest_.front()) return refuse_byte(c);
      literal_rest_.remove_prefix(1);
      if (literal_rest_.empty()) end_value();
      return true;
    case State::Minus:
    case State::Zero:
    case State::Integer:
    case State::Dot:
    case State::Fraction:
    case State::Exponent:
    case State::ExponentSign:
    case State::ExponentDigits:
      return number(c);
    default:
      return is_space(c) || structure(c);
  }
}

// A byte between values.
bool BodyScanner::structure(char c) {
  switch (state_) {
    case State::Start:
      if (c == '{') return open(true);
      return refuse(Reason::MalformedRequest, "the body is no JSON object");
    case State::FirstKey:
      if (c == '}') return close(true);
      [[fallthrough]];
    case State::Key:
      if (c != '"') return refuse_byte(c);
      in_key_ = true;
      collecting_ = depth_ == 1;
      text_.clear();
      state_ = State::String;
      return true;
    case State::Colon:
      if (c != ':') return refuse_byte(c);
      state_ = State::Value;
      return true;
    case State::FirstItem:
      if (c == ']') return close(false);
      [[fallthrough]];
    case State::Value:
      return begin_value(c);
    case State::AfterValue:
      if (c == ',') {
        state_ = is_object_[depth_ - 1] ? State::Key : State::Value;
        return true;
      }
      if (c == '}' || c == ']') return close(c == '}');
      return refuse_byte(c);
    default:
      return refuse_byte(c);
  }
}

bool BodyScanner::begin_value(char c) {
  if (depth_ == 1) {
    value_begin_ = offset_;
    prompt_open_ = wanted_ == Wanted::Prompt;
    if (wanted_ == Wanted::Model && c != '"') {
      return refuse(Reason::MalformedRequest, "the value of \"model\" is no string");
    }
  }
  switch (c) {
    case '{':
      return open(true);
    case '[':
      return open(false);
    case '"':
      in_key_ = false;
      collecting_ = depth_ == 1 && wanted_ == Wanted::Model;
      text_.clear();
      state_ = State::String;
      return true;
    case 't':
    case 'f':
    case 'n':
      literal_rest_ = c == 't' ? "rue" : c == 'f' ? "alse" : "ull";
      state_ = State::Literal;
      return true;
    default:
      break;
  }
  if (c != '-' && !is_digit(c)) return refuse_byte(c);
  number_is_plain_ = c != '-';
  number_ = c == '-' ? 0 : static_cast<uint64_t>(c - '0');
  state_ = c == '-' ? State::Minus : c == '0' ? State::Zero : State::Integer;
  return true;
}

bool BodyScanner::open(bool is_object) {
  if (depth_ == kMaxDepth) {
    return refuse(Reason::MalformedRequest,
                  fmt::format("the JSON is nested deeper than {} levels", kMaxDepth));
  }
  is_object_[depth_++] = is_object;
  state_ = is_object ? State::FirstKey : State::FirstItem;
  return true;
}

bool BodyScanner::close(bool is_object) {
  if (is_object_[depth_ - 1] != is_object) return refuse_byte(is_object ? '}' : ']');
  --depth_;
  end_value();
  return true;
}

// The byte at offset_ is the value's last one.
void BodyScanner::end_value() {
  if (depth_ == 0) {
    state_ = State::Done;
    return;
  }
  state_ = State::AfterValue;
  if (depth_ == 1 && prompt_open_) {
    prompt_range_ = {value_begin_, offset_ + 1};
    prompt_open_ = false;
  }
}

bool BodyScanner::end_string() {
  if (in_key_) return end_key();
  if (collecting_) {
    model_ = text_;
    model_range_ = {value_begin_, offset_ + 1};
  }
  collecting_ = false;
  end_value();
  return true;
}

bool BodyScanner::end_key() {
  in_key_ = false;
  state_ = State::Colon;
  if (!collecting_) return true;
  collecting_ = false;
  wanted_ = Wanted::Nothing;
  if (text_ == "model") {
    if (has_model()) return refuse(Reason::DuplicateModelKey, "the request body names \"model\" twice");
    wanted_ = Wanted::Model;
  } else if (text_ == "messages" || text_ == "prompt" || text_ == "input") {
    wanted_ = Wanted::Prompt;
  } else if (text_ == "max_tokens" || text_ == "max_completion_tokens") {
    wanted_ = Wanted::MaxTokens;
  }
  return true;
}

bool BodyScanner::number(char c) {
  switch (state_) {
    case State::Minus:
      if (!is_digit(c)) return refuse_byte(c);
      state_ = c == '0' ? State::Zero : State::Integer;
      return true;
    case State::Integer:
      if (is_digit(c)) {
        if (number_ < kMaxTokens) number_ = number_ * 10 + static_cast<uint64_t>(c - '0');
        return true;
      }
      [[fallthrough]];
    case State::Zero:
      if (c == '.') {
        number_is_plain_ = false;
        state_ = State::Dot;
        return true;
      }
      [[fallthrough]];
    case State::Fraction:
      if (state_ == State::Fraction && is_digit(c)) return true;
      if (c == 'e' || c == 'E') {
        number_is_plain_ = false;
        state_ = State::Exponent;
        return true;
      }
      return end_number(c);
    case State::Dot:
      if (!is_digit(c)) return refuse_byte(c);
      state_ = State::Fraction;
      return true;
    case State::Exponent:
      if (c == '+' || c == '-') {
        state_ = State::ExponentSign;
        return true;
      }
      [[fallthrough]];
    case State::ExponentSign:
      if (!is_digit(c)) return refuse_byte(c);
      state_ = State::ExponentDigits;
      return true;
    default:
      return is_digit(c) || end_number(c);
  }
}

// A number ends at the byte after it, which is looked at again as structure.
bool BodyScanner::end_number(char c) {
  if (depth_ == 1 && wanted_ == Wanted::MaxTokens && number_is_plain_) max_tokens_ = number_;
  --offset_;
  end_value();
  ++offset_;
  return is_space(c) || structure(c);
}

bool BodyScanner::escape(char c) {
  if (c == 'u') {
    unicode_left_ = 4;
    unicode_value_ = 0;
    state_ = State::Unicode;
    return true;
  }
  constexpr std::string_view kNames = "\"\\/bfnrt", kBytes = "\"\\/\b\f\n\r\t";
  size_t at = kNames.find(c);
  if (at == std::string_view::npos) return refuse_byte(c);
  state_ = State::String;
  return !collecting_ || collect(kBytes.substr(at, 1));
}

bool BodyScanner::unicode(char c) {
  int digit = is_digit(c)            ? c - '0'
              : c >= 'a' && c <= 'f' ? c - 'a' + 10
              : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                     : -1;
  if (digit < 0) return refuse_byte(c);
  unicode_value_ = static_cast<uint16_t>(unicode_value_ * 16 + digit);
  if (--unicode_left_ > 0) return true;
  state_ = State::String;
  if (!collecting_) return true;
  if (unicode_value_ >= 0xd800 && unicode_value_ < 0xdc00) {
    high_surrogate_ = unicode_value_;
    return true;
  }
  uint32_t point = unicode_value_;
  if (point >= 0xdc00 && point < 0xe000 && high_surrogate_ != 0) {
    point = 0x10000 + ((high_surrogate_ - 0xd800U) << 10) + (point - 0xdc00U);
  }
  high_surrogate_ = 0;
  std::string text;
  append_utf8(text, point);
  return collect(text);
}

// Adds to the key or the model name. A key that grows too long is none of ours; a model name that does is an
// error.
bool BodyScanner::collect(std::string_view text) {
  if (in_key_) {
    if (text_.size() <= kMaxKeyBytes) text_ += text.substr(0, kMaxKeyBytes + 1);
    return true;
  }
  if (text_.size() + text.size() > kMaxModelBytes) {
    return refuse(Reason::MalformedRequest,
                  fmt::format("the model's name is longer than {} bytes", kMaxModelBytes));
  }
  text_ += text;
  return true;
}

}  // namespace tweendeck::routing::dialect
