// Values as text, the way Python writes them: str(), repr() and json.dumps(). Pure.
#pragma once

#include <string>

#include "base/result.h"
#include "routing/template/value.h"

namespace tweendeck::routing::chat_template {

struct JsonStyle {
  int indent = -1;  // -1: on one line
  bool sort_keys = false;
  bool ascii = false;
  std::string item_separator = ", ";
  std::string key_separator = ": ";
};

// Errors: TemplateUnsupported for what prints as an address in Python.
Status append_str(const Value& value, std::string& to);
Status append_repr(const Value& value, std::string& to);
Status append_json(const Value& value, const JsonStyle& style, std::string& to);
void append_float(double number, std::string& to);

}  // namespace tweendeck::routing::chat_template
