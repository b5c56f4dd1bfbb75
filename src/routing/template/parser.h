// Tokens of a template to its tree. What the subset lacks is TemplateUnsupported, what is no Jinja TemplateInvalid.
#pragma once

#include "base/result.h"
#include "routing/template/syntax.h"

namespace tweendeck::routing::chat_template {

inline constexpr size_t kMostTemplateDepth = 300;  // of the tree, and of the parser in itself

Result<Syntax> parse_template(std::string_view source);

}  // namespace tweendeck::routing::chat_template
