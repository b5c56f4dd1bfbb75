// Any input gives a value or an error, never a crash.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include <cstdlib>

#include "serving/spec/deployment_spec.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  static_cast<void>(tweendeck::serving::parse_apply_file(text, "fuzz"));
  if (const auto spec = tweendeck::serving::parse_deployment_json(text)) {
    // What was accepted is kept as it is by the state.
    const auto again = tweendeck::serving::parse_deployment_json(tweendeck::serving::to_json(*spec));
    if (!again || *again != *spec) std::abort();
  }
  return 0;
}
