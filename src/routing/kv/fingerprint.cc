#include "routing/kv/fingerprint.h"

#include <xxhash.h>

#include <bit>
#include <cstring>
#include <string>

namespace tweendeck::routing::kv {
namespace {

static_assert(std::endian::native == std::endian::little, "the scheme is little-endian");

Fingerprint nonzero(uint64_t hash) {
  return hash == 0 ? 1 : hash;
}

char* put64(char* at, uint64_t number) {
  memcpy(at, &number, sizeof number);
  return at + sizeof number;
}

}  // namespace

Fingerprint Fingerprinter::root(std::string_view name) {
  std::string bytes(2 * sizeof(uint64_t) + name.size(), '\0');
  char* at = put64(bytes.data(), XXH64("", 0, 0));
  at = put64(at, name.size());
  if (!name.empty()) memcpy(at, name.data(), name.size());
  return nonzero(XXH64(bytes.data(), bytes.size(), 0));
}

Fingerprint Fingerprinter::next(Fingerprint parent, std::span<const uint32_t> tokens,
                                std::span<const std::string_view> extras) {
  size_t size = sizeof parent + tokens.size_bytes();
  for (const std::string_view extra : extras) size += sizeof(uint64_t) + extra.size();
  if (bytes_.size() < size) bytes_.resize(size);
  char* at = put64(bytes_.data(), parent);
  if (!tokens.empty()) memcpy(at, tokens.data(), tokens.size_bytes());
  at += tokens.size_bytes();
  for (const std::string_view extra : extras) {
    at = put64(at, extra.size());
    if (!extra.empty()) memcpy(at, extra.data(), extra.size());
    at += extra.size();
  }
  return nonzero(XXH64(bytes_.data(), size, 0));
}

void Fingerprinter::chain(Fingerprint root, std::span<const uint32_t> tokens, uint32_t block_tokens,
                          std::string_view cache_salt, std::vector<Fingerprint>& out) {
  out.clear();
  if (block_tokens == 0) return;
  const std::span<const std::string_view> salt(&cache_salt, cache_salt.empty() ? 0 : 1);
  Fingerprint parent = root;
  for (size_t at = 0; at + block_tokens <= tokens.size(); at += block_tokens) {
    parent =
        next(parent, tokens.subspan(at, block_tokens), at == 0 ? salt : std::span<const std::string_view>{});
    out.push_back(parent);
  }
}

Fingerprint root_of(const Event& event) {
  if (!event.lora_name.empty() || !event.has_lora) return Fingerprinter::root(event.lora_name);
  // Known by number only: nobody's request matches it.
  const std::string number = std::string(1, 0) + "lora:" + std::to_string(event.lora_id);
  return Fingerprinter::root(number);
}

}  // namespace tweendeck::routing::kv
