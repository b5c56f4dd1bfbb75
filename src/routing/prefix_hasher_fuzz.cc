// However the prompt's bytes are cut into pieces, the chain is the same, its links end where a plain reading
// of the prompt says, and a prefix's chain is the head of the whole one's.
#include <algorithm>
#include <cstdint>
#include <cstdlib>

#include "routing/router.h"

namespace {

using namespace tweendeck::routing;

std::vector<uint64_t> plain_ends(const RouterConfig& config, std::string_view prompt) {
  std::vector<uint64_t> ends;
  uint64_t begin = 0;
  for (uint64_t at = 0; at < prompt.size() && ends.size() < config.max_chunks; ++at) {
    const uint64_t most = std::max<uint64_t>(config.chunk_bytes, 1);
    const uint64_t bytes = begin < kFinePromptBytes ? std::min<uint64_t>(most, kFineChunkBytes) : most;
    const bool message =
        at > 0 && prompt[at] == '}' && prompt[at - 1] == '"' && (at == 1 || prompt[at - 2] != '\\');
    if (message || at + 1 - begin == bytes) ends.push_back(begin = at + 1);
  }
  return ends;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 4) return 0;
  RouterConfig config;
  config.chunk_bytes = data[0] % 80;  // 0 included: taken as 1
  config.max_chunks = data[1];
  const size_t cut = data[2];
  const std::string_view prompt(reinterpret_cast<const char*>(data) + 3, size - 3);

  PrefixHasher whole(config, "model");
  whole.update(prompt);
  const Prefix chain = whole.finish();

  PrefixHasher pieces(config, "model");
  for (size_t at = 0, step = cut; at < prompt.size(); at += step) {
    step = (step * 7 + 3) % 97;  // 0 included: an empty piece
    pieces.update(prompt.substr(at, step));
    if (step == 0) step = 1, pieces.update(prompt.substr(at, 1));
  }
  if (pieces.bytes() != prompt.size() || pieces.finish() != chain) std::abort();
  if (chain.ends != plain_ends(config, prompt) || chain.links.size() != chain.ends.size()) std::abort();

  PrefixHasher prefix(config, "model");
  prefix.update(prompt.substr(0, prompt.size() / 2));
  const Prefix head = prefix.finish();
  for (size_t i = 0; i < head.links.size(); ++i) {
    if (head.links[i] != chain.links[i] || head.ends[i] != chain.ends[i]) std::abort();
  }
  return 0;
}
