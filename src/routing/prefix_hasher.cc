#include <xxhash.h>

#include <algorithm>
#include <utility>

#include "routing/router.h"

namespace tweendeck::routing {

// The seed holds the model and the chunk size: chains of other models or settings never meet.
PrefixHasher::PrefixHasher(const RouterConfig& config, std::string_view model)
    : seed_(XXH3_64bits_withSeed(model.data(), model.size(), config.chunk_bytes)),
      chunk_bytes_(std::max<uint32_t>(config.chunk_bytes, 1)),
      max_chunks_(config.max_chunks) {}

void PrefixHasher::link(std::string_view chunk) {
  const uint64_t previous = links_.empty() ? seed_ : links_.back();
  links_.push_back(XXH3_64bits_withSeed(chunk.data(), chunk.size(), previous));
}

void PrefixHasher::update(std::string_view prompt_bytes) {
  bytes_ += prompt_bytes.size();
  if (!partial_.empty()) {
    const size_t missing = std::min(chunk_bytes_ - partial_.size(), prompt_bytes.size());
    partial_.append(prompt_bytes.substr(0, missing));
    prompt_bytes.remove_prefix(missing);
    if (partial_.size() < chunk_bytes_) return;
    if (links_.size() < max_chunks_) link(partial_);
    partial_.clear();
  }
  while (links_.size() < max_chunks_ && prompt_bytes.size() >= chunk_bytes_) {
    link(prompt_bytes.substr(0, chunk_bytes_));
    prompt_bytes.remove_prefix(chunk_bytes_);
  }
  if (links_.size() < max_chunks_) partial_.assign(prompt_bytes);
}

std::vector<uint64_t> PrefixHasher::finish() {
  return std::exchange(links_, {});
}

}  // namespace tweendeck::routing
