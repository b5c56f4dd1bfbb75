// The size parser against any bytes: it ends, and what it accepts is what its digits say.
#include <stdlib.h>

#include <cstddef>
#include <string>

#include "vgpu/hami.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  uint64_t bytes = 0;
  if (tweendeck::vgpu::parse_hami_size(text.c_str(), bytes)) {
    const uint64_t digits = strtoull(text.c_str(), nullptr, 10);
    if (bytes % (digits ? digits : 1) != 0 || bytes < digits) abort();
  }
  return 0;
}
