// JSON text as values, for the variables that a template is rendered with. Strings stay where the parser put them.
#pragma once

#include <simdjson.h>

#include <memory>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "routing/template/value.h"

namespace tweendeck::routing::chat_template {

inline constexpr size_t kMostJsonDepth = 64;

class JsonReader {
 public:
  // The values live in `arena`; their strings until the next clear().
  Result<Value> read(std::string_view json, Arena& arena);
  void clear() { used_ = 0; }

 private:
  Status build(simdjson::dom::element from, size_t depth, Arena& arena, Value& to);

  std::vector<std::unique_ptr<simdjson::dom::parser>> parsers_;  // one per variable: each owns its strings
  size_t used_ = 0;
};

}  // namespace tweendeck::routing::chat_template
