// Reads what routing needs from a JSON request body while it streams: the model's name and place, the
// prompt's place, the token limit. Strict about structure (RFC 8259), so that a broken body is refused here
// and not by a model server; bytes above 0x7f are passed on unchecked.
//
// Only keys of the outermost object count. A second `model` key is an error however it is spelled
// ("mod\u0065l"), because the gateway and the model server could choose different ones. Pure; memory is
// bounded by the constants below; the result does not depend on how the bytes were split.
#pragma once

#include <bitset>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"

namespace tweendeck::routing::dialect {

class BodyScanner {
 public:
  static constexpr size_t kMaxDepth = 256;
  static constexpr size_t kMaxModelBytes = 256;
  static constexpr size_t kMaxKeyBytes = 32;  // longer keys are none that matter here

  // Bytes [begin, end) of the body. end == 0: not seen.
  struct Range {
    uint64_t begin = 0;
    uint64_t end = 0;
    bool seen() const { return end != 0; }
  };

  // False when the body is malformed, now or before; error() tells. Bytes after the object must be white
  // space.
  bool update(std::string_view bytes);
  bool finish();  // the body ends here

  const Error& error() const { return error_; }  // MalformedRequest, DuplicateModelKey
  bool has_model() const { return model_range_.seen(); }
  const std::string& model() const { return model_; }
  Range model_range() const { return model_range_; }  // of the value with its quotes
  Range prompt_range() const;  // of `messages`, `prompt` or `input`; open values end at bytes()
  uint64_t max_output_tokens() const { return max_tokens_; }  // 0 = not given
  uint64_t bytes() const { return offset_; }

 private:
  enum class State : uint8_t {
    Start,
    Value,
    FirstKey,
    Key,
    Colon,
    FirstItem,
    AfterValue,
    String,
    Escape,
    Unicode,
    Minus,
    Zero,
    Integer,
    Dot,
    Fraction,
    Exponent,
    ExponentSign,
    ExponentDigits,
    Literal,
    Done,
    Broken
  };
  enum class Wanted : uint8_t { Nothing, Model, Prompt, MaxTokens };

  bool refuse(Reason reason, std::string message);
  bool refuse_byte(char c);
  bool step(char c);
  bool structure(char c);
  bool begin_value(char c);
  bool open(bool is_object);
  bool close(bool is_object);
  void end_value();
  bool end_string();
  bool end_key();
  bool number(char c);
  bool end_number(char c);
  bool escape(char c);
  bool unicode(char c);
  bool collect(std::string_view text);
  size_t skip_plain(std::string_view bytes) const;

  State state_ = State::Start;
  bool in_key_ = false;
  bool collecting_ = false;
  Wanted wanted_ = Wanted::Nothing;  // what the value of the current outermost key is
  uint16_t depth_ = 0;
  uint8_t unicode_left_ = 0;
  uint16_t unicode_value_ = 0;
  uint16_t high_surrogate_ = 0;
  std::bitset<kMaxDepth> is_object_;
  std::string_view literal_rest_;
  std::string text_;  // of the key or the model name that is being read
  uint64_t offset_ = 0;
  uint64_t value_begin_ = 0;
  bool prompt_open_ = false;

  std::string model_;
  Range model_range_, prompt_range_;
  uint64_t max_tokens_ = 0, number_ = 0;
  bool number_is_plain_ = false;
  Error error_;
};

}  // namespace tweendeck::routing::dialect
