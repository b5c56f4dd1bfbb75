#include <xxhash.h>

#include <algorithm>
#include <utility>

#include "routing/router.h"

namespace tweendeck::routing {
namespace {

// How many bytes of `bytes` there are up to the end of the first message in it; 0 = none ends here. The two
// bytes in front of `bytes` are given.
size_t message_end(std::string_view bytes, char before_last, char last) {
  for (size_t at = bytes.find('}'); at != std::string_view::npos; at = bytes.find('}', at + 1)) {
    const char quote = at > 0 ? bytes[at - 1] : last;
    const char escape = at > 1 ? bytes[at - 2] : at == 1 ? last : before_last;
    if (quote == '"' && escape != '\\') return at + 1;
  }
  return 0;
}

}  // namespace

// The seed holds the model and the chunk size: chains of other models or settings never meet.
PrefixHasher::PrefixHasher(const RouterConfig& config, std::string_view model)
    : seed_(XXH3_64bits_withSeed(model.data(), model.size(), config.chunk_bytes)),
      chunk_bytes_(std::max<uint32_t>(config.chunk_bytes, 1)),
      max_chunks_(config.max_chunks) {}

size_t PrefixHasher::link_bytes() const {
  return covered_ < kFinePromptBytes ? std::min(chunk_bytes_, kFineChunkBytes) : chunk_bytes_;
}

void PrefixHasher::link(std::string_view chunk) {
  const uint64_t previous = prefix_.links.empty() ? seed_ : prefix_.links.back();
  prefix_.links.push_back(XXH3_64bits_withSeed(chunk.data(), chunk.size(), previous));
  prefix_.ends.push_back(covered_ += chunk.size());
}

void PrefixHasher::update(std::string_view prompt_bytes) {
  bytes_ += prompt_bytes.size();
  while (!prompt_bytes.empty() && prefix_.links.size() < max_chunks_) {
    const size_t wanted = link_bytes() - partial_.size();
    std::string_view piece = prompt_bytes.substr(0, wanted);
    const size_t end = message_end(piece, before_last_, last_);
    if (end > 0) piece = piece.substr(0, end);
    before_last_ = piece.size() > 1 ? piece[piece.size() - 2] : last_;
    last_ = piece.back();
    const bool whole = end > 0 || piece.size() == wanted;
    if (whole && partial_.empty()) {
      link(piece);
    } else {
      partial_.append(piece);
      if (whole) {
        link(partial_);
        partial_.clear();
      }
    }
    prompt_bytes.remove_prefix(piece.size());
  }
}

Prefix PrefixHasher::finish() {
  return std::exchange(prefix_, {});
}

}  // namespace tweendeck::routing
