// Any line either is refused with a reason or reads as what the format promises.
#include <cstdint>
#include <cstdlib>

#include "app/bench/trace.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  auto request = tweendeck::bench::parse_trace_line({reinterpret_cast<const char*>(data), size});
  if (request) {
    size_t blocks = (request->input_tokens + tweendeck::bench::kTraceBlockTokens - 1) /
                    tweendeck::bench::kTraceBlockTokens;
    if (request->at < 0 || request->hash_ids.size() != blocks) std::abort();
  } else if (request.error().message.empty()) {
    std::abort();
  }
  return 0;
}
