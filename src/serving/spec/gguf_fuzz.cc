// Any input gives a value or an error, never a crash.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "serving/spec/model_ref.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  static_cast<void>(tweendeck::serving::check_gguf_head(text, size, "fuzz"));
  static_cast<void>(tweendeck::serving::check_gguf_head(text, size * 2 + 100, "fuzz"));
  return 0;
}
