// Whatever a line holds: it is refused with a reason, or read as an event that is written and read again as the same.
#include <cstdint>
#include <cstdlib>

#include "placement/event_log.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace tweendeck::placement;
  const auto event = parse_event({reinterpret_cast<const char*>(data), size});
  if (!event) return 0;
  const auto again = parse_event(to_line(*event));
  if (!again || *again != *event) std::abort();
  return 0;
}
