// Any input gives a value or an error, never a crash.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "serving/spec/engine_spec.h"
#include "serving/spec/model_ref.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  static_cast<void>(tweendeck::serving::parse_engine(text, "/engines/demo"));
  static_cast<void>(tweendeck::serving::parse_aliases(text, "models.yaml"));
  static_cast<void>(tweendeck::serving::expand(text, {{"port", "80"}}));
  return 0;
}
