// Any bytes as a batch of events: what is read is consistent, and the index that applies it holds its budget.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "routing/kv/events.h"
#include "routing/kv/index.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace tweendeck::routing::kv;
  const KvIndexConfig config{.max_bytes = kMinIndexBytes, .max_endpoints = 2};
  static KvIndex index(config);
  static const EndpointNumber endpoint = *index.add_endpoint();
  EventReader reader(std::string_view(reinterpret_cast<const char*>(data), size));
  Event event;
  while (reader.next(event)) {
    if (event.type == Event::Type::Stored && !event.tokens.empty() && event.group_kind != GroupKind::Other) {
      if (event.tokens.size() != event.hashes.size() * size_t{event.block_tokens}) std::abort();
    }
    for (size_t i = 0; i < event.extra_ends.size(); ++i) {
      for (const std::string_view extra : event.extras_of(i)) {
        if (extra.size() > size) std::abort();
      }
    }
    index.apply(endpoint, event);
  }
  if (index.stats().bytes > config.max_bytes) std::abort();
  index.clear(endpoint);
  index.tidy(1 << 20);
  return 0;
}
