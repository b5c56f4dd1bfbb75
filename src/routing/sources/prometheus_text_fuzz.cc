// Any bytes as a metrics page: the load stays in its range.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "routing/sources/prometheus_text.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace tweendeck::routing::sources;
  std::string_view text(reinterpret_cast<const char*>(data), size);
  auto load = read_load(text, {"r", "w", "k"});
  if (load && (load->running < -1 || load->waiting < -1 || load->kv_cache_usage > 1)) std::abort();
  return 0;
}
