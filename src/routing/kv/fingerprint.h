// Our own names of KV blocks: a chain of hashes over token ids.
//
// A block's fingerprint covers its tokens, everything before it, the adapter (LoRA) and what the engine's hash
// covers besides (cache salt, images). Events bring the token ids, so that no engine's hash, seed or block
// numbering matters: the same prompt has the same fingerprints wherever it is cached in blocks of that size.
//
// The scheme is llm-d's `xxh64`: h = XXH64(LE64 parent | LE32 tokens... | for each extra LE64 length, bytes),
// started from XXH64(LE64 XXH64("") | LE64 length of the adapter's name | name).
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "routing/kv/events.h"

namespace tweendeck::routing::kv {

using Fingerprint = uint64_t;  // never 0

class Fingerprinter {
 public:
  // Where a chain begins. `name`: of the adapter, or of the model; "" = the engine's base model.
  static Fingerprint root(std::string_view name);

  // One block. `extras` in the order of the engine's.
  Fingerprint next(Fingerprint parent, std::span<const uint32_t> tokens,
                   std::span<const std::string_view> extras = {});

  // The full blocks of a request; what is left of it is no block. `cache_salt` belongs to the first block.
  void chain(Fingerprint root, std::span<const uint32_t> tokens, uint32_t block_tokens,
             std::string_view cache_salt, std::vector<Fingerprint>& out);

 private:
  std::vector<char> bytes_;
};

// Where an event's chain begins when it has no parent.
Fingerprint root_of(const Event& event);

}  // namespace tweendeck::routing::kv
