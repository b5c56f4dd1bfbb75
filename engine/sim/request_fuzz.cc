// Bodies of requests, as any client may send them.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "engine/sim/api.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace tweendeck::sim;
  const std::string_view body(reinterpret_cast<const char*>(data), size);
  for (const auto& parsed : {parse_chat(body), parse_completion(body)}) {
    if (parsed) foresee(*parsed, hash_tokens(parsed->prompt), 64);
  }
  if (const auto parsed = parse_embed(body)) render_embeddings(*parsed, 0);
  (void)parse_lora(body);
  return 0;
}
