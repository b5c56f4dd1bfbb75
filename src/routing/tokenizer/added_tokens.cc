#include "routing/tokenizer/added_tokens.h"

#include <algorithm>
#include <cstring>

#include "routing/tokenizer/unicode.h"

namespace tweendeck::routing::tokenizer {
namespace {

// Up to so many different first bytes are looked for with memchr, which is many bytes at a time.
constexpr size_t kFewFirstBytes = 1;

size_t spaces_before(std::string_view text, size_t end, size_t floor) {
  while (end > floor) {
    const char* start = before(text.data() + end);
    if ((class_table()[decode(start).point] & kSpace) == 0) break;
    end = static_cast<size_t>(start - text.data());
  }
  return std::max(end, floor);
}

size_t spaces_after(std::string_view text, size_t from) {
  while (from < text.size()) {
    const Decoded next = decode(text.data() + from);
    if ((class_table()[next.point] & kSpace) == 0) break;
    from += next.length;
  }
  return from;
}

}  // namespace

void AddedTokens::add(std::string_view content, const AddedToken& token) {
  const auto byte = [&](size_t index) { return static_cast<unsigned char>(content[index]); };
  if (!first_[byte(0)]) {
    first_[byte(0)] = true;
    few_ += content[0];
  }
  for (unsigned second = 0; second < 256; ++second) {
    if (content.size() == 1 || second == byte(1)) starts_[byte(0) << 8 | second] = true;
  }
  uint32_t node = 0;
  for (size_t index = 0; index < content.size(); ++index) {
    const auto [found, added] =
        next_.try_emplace(uint64_t{node} << 8 | byte(index), static_cast<uint32_t>(ends_.size()));
    if (added) ends_.push_back(kNone);
    node = found->second;
  }
  ends_[node] = static_cast<uint32_t>(tokens_.size());
  tokens_.push_back({token.id, token.lstrip, token.rstrip});
}

size_t AddedTokens::candidate(std::string_view text, size_t from) const {
  const auto* bytes = reinterpret_cast<const unsigned char*>(text.data());
  const size_t last = text.size() - 1;
  for (size_t at = from; at <= last; ++at) {
    if (few_.size() <= kFewFirstBytes) {
      const void* found = std::memchr(bytes + at, few_[0], text.size() - at);
      if (found == nullptr) return text.size();
      at = static_cast<size_t>(static_cast<const unsigned char*>(found) - bytes);
    } else {
      while (at <= last && !first_[bytes[at]]) ++at;
      if (at > last) return text.size();
    }
    // At the very end a token of one byte may still be there.
    if (at == last || starts_[static_cast<size_t>(bytes[at]) << 8 | bytes[at + 1]]) return at;
  }
  return text.size();
}

const AddedTokens::Entry* AddedTokens::longest(std::string_view text, size_t at, size_t& length) const {
  const Entry* best = nullptr;
  uint32_t node = 0;
  for (size_t index = at; index < text.size(); ++index) {
    const auto found = next_.find(uint64_t{node} << 8 | static_cast<unsigned char>(text[index]));
    if (found == next_.end()) break;
    node = found->second;
    if (ends_[node] != kNone) {
      best = &tokens_[ends_[node]];
      length = index + 1 - at;
    }
  }
  return best;
}

bool AddedTokens::find(std::string_view text, size_t from, size_t floor, Part& part) const {
  if (tokens_.empty() || text.empty()) return false;
  for (size_t at = candidate(text, from); at < text.size(); at = candidate(text, at + 1)) {
    size_t length = 0;
    const Entry* entry = longest(text, at, length);
    if (entry == nullptr) continue;
    part.begin = entry->lstrip ? spaces_before(text, at, floor) : at;
    part.end = entry->rstrip ? spaces_after(text, at + length) : at + length;
    part.token = entry->id;
    return true;
  }
  return false;
}

}  // namespace tweendeck::routing::tokenizer
