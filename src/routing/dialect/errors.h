// Error bodies as clients of the OpenAI API expect them. Pure.
#pragma once

#include <string>

#include "base/result.h"

namespace tweendeck::routing::dialect {

// {"error": {message, type, param, code, hint}}; `code` is the reason.
std::string openai_error(const Error& error);

}  // namespace tweendeck::routing::dialect
