#include "routing/tokenizer/part_cache.h"

#include <xxhash.h>

#include "routing/tokenizer/unicode.h"

namespace tweendeck::routing::tokenizer {

void PartCache::encode(Encoder& encoder, std::string_view text, EncodeOptions options,
                       std::vector<uint32_t>& ids) {
  if (!is_utf8(text)) {
    encoded_bytes_ += text.size();
    return encoder.encode(text, options, ids);
  }
  const Tokenizer& tokenizer = encoder.tokenizer();
  if (options.special) ids.insert(ids.end(), tokenizer.before.begin(), tokenizer.before.end());
  encoder.parts(text, parts_);
  for (const Part& part : parts_) encode_part(encoder, text, part, ids);
  if (options.special) ids.insert(ids.end(), tokenizer.after.begin(), tokenizer.after.end());
}

void PartCache::encode_part(Encoder& encoder, std::string_view text, const Part& part,
                            std::vector<uint32_t>& ids) {
  const size_t size = part.end - part.begin;
  if (part.token != Part::kText || size < kLeastBytes) {
    encoded_bytes_ += size;
    return encoder.encode_part(text, part, ids);
  }
  // The first part of a text may get a prefix that others do not.
  const XXH128_hash_t hash =
      XXH3_128bits_withSeed(text.data() + part.begin, size, secret_ ^ (part.begin == 0 ? 1 : 0));
  const Key key{hash.low64, hash.high64};
  if (const auto found = places_.find(key); found != places_.end()) {
    entries_.splice(entries_.begin(), entries_, found->second);
    ids.insert(ids.end(), found->second->ids.begin(), found->second->ids.end());
    found_bytes_ += size;
    return;
  }
  const size_t had = ids.size();
  encoder.encode_part(text, part, ids);
  encoded_bytes_ += size;
  Entry entry{key, std::vector<uint32_t>(ids.begin() + static_cast<ptrdiff_t>(had), ids.end())};
  if (cost(entry) > budget_) return;
  used_ += cost(entry);
  entries_.push_front(std::move(entry));
  places_.emplace(key, entries_.begin());
  while (used_ > budget_) {
    used_ -= cost(entries_.back());
    places_.erase(entries_.back().key);
    entries_.pop_back();
  }
}

}  // namespace tweendeck::routing::tokenizer
