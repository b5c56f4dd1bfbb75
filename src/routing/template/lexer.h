// A template's text as tokens, with Jinja's rules on white space around tags.
//
// As engines set Jinja up for chat templates: trim_blocks and lstrip_blocks on, one line end at the very end dropped, line
// ends made \n. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace tweendeck::routing::chat_template {

struct Token {
  enum class Kind : uint8_t {
    Text,
    OpenExpression,
    CloseExpression,
    OpenTag,
    CloseTag,
    Name,
    String,
    Integer,
    Float,
    Operator,
    End
  };
  Kind kind = Kind::End;
  std::string text;  // Text: what is printed; String: its value; others: as spelled
  uint32_t line = 1;
};

inline constexpr size_t kMostTemplateBytes = size_t{4} << 20;

Result<std::vector<Token>> tokenize_template(std::string_view source);

}  // namespace tweendeck::routing::chat_template
