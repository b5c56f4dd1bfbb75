// vLLM's own block hashes, for those schemes that are the same in every process.
//
// h(i) = sha256(serialize((h(i-1) or NONE, tuple of token ids, None))), NONE = sha256(serialize(seed)), where serialize is Python's pickle for `sha256` (vLLM's default) and canonical CBOR
// for `sha256_cbor`. The `xxhash` schemes draw a seed per process and cannot be known; nor do we reproduce blocks with
// extra keys (adapters, salts, images). Checked against vLLM 0.32.
//
// The index does not need them: it names blocks by their tokens. They tell whether an engine's events mean what
// we take them to mean, since who finds the engine's hash of an event's tokens has read all of it right.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "routing/kv/events.h"

namespace tweendeck::routing::kv {

enum class HashScheme : uint8_t { Unknown, Sha256, Sha256Cbor };
std::string_view to_string(HashScheme scheme);  // "unknown", "sha256", "sha256_cbor"

using BlockHash = std::array<uint8_t, 32>;
uint64_t on_the_wire(const BlockHash& hash);  // its last 8 bytes, as events carry it

// What vLLM takes without PYTHONHASHSEED, since 0.24.
inline constexpr std::string_view kDefaultHashSeed = "vllm-none-hash";

class VllmHasher {
 public:
  explicit VllmHasher(HashScheme scheme, std::string_view seed = kDefaultHashSeed);
  const BlockHash& none() const { return none_; }
  // nullopt: a block of more than 2^16 bytes, which Python's pickle cuts into pieces.
  std::optional<BlockHash> next(const BlockHash& parent, std::span<const uint32_t> tokens);

 private:
  std::string serialized(std::string_view content) const;

  HashScheme scheme_;
  BlockHash none_{};
  std::string buffer_;
};

BlockHash sha256(std::string_view bytes);

// The scheme by which the event's first block has the hash that it has. Unknown where it has a parent, no
// tokens, an adapter or extra keys.
HashScheme recognize(const Event& event);

}  // namespace tweendeck::routing::kv
