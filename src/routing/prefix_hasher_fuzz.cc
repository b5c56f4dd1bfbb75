// However the prompt's bytes are cut into pieces, the chain is the same, as long as the prompt allows, and a
// prefix's chain is the head of the whole one's.
#include <algorithm>
#include <cstdint>
#include <cstdlib>

#include "routing/router.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace tweendeck::routing;
  if (size < 4) return 0;
  RouterConfig config;
  config.chunk_bytes = data[0] % 80;  // 0 included: taken as 1
  config.max_chunks = data[1];
  const size_t cut = data[2];
  const std::string_view prompt(reinterpret_cast<const char*>(data) + 3, size - 3);

  PrefixHasher whole(config, "model");
  whole.update(prompt);
  const auto chain = whole.finish();

  PrefixHasher pieces(config, "model");
  for (size_t at = 0, step = cut; at < prompt.size(); at += step) {
    step = (step * 7 + 3) % 97;  // 0 included: an empty piece
    pieces.update(prompt.substr(at, step));
    if (step == 0) step = 1, pieces.update(prompt.substr(at, 1));
  }
  const size_t links =
      std::min<size_t>(prompt.size() / std::max<uint32_t>(config.chunk_bytes, 1), config.max_chunks);
  if (pieces.bytes() != prompt.size() || chain.size() != links || pieces.finish() != chain) std::abort();

  PrefixHasher prefix(config, "model");
  prefix.update(prompt.substr(0, prompt.size() / 2));
  const auto head = prefix.finish();
  for (size_t i = 0; i < head.size(); ++i) {
    if (head[i] != chain[i]) std::abort();
  }
  return 0;
}
