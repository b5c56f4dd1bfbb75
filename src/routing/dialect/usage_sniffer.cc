#include "routing/dialect/usage_sniffer.h"

#include <algorithm>
#include <cstring>

namespace tweendeck::routing::dialect {
namespace {

// The number after `"key":` in `text`, 0 when there is none.
uint64_t number_of(std::string_view text, std::string_view quoted_key) {
  size_t at = text.find(quoted_key);
  if (at == std::string_view::npos) return 0;
  at += quoted_key.size();
  while (at < text.size() && (text[at] == ' ' || text[at] == ':')) ++at;
  uint64_t number = 0;
  for (int digits = 0; at < text.size() && text[at] >= '0' && text[at] <= '9' && digits < 15;
       ++at, ++digits) {
    number = number * 10 + static_cast<uint64_t>(text[at] - '0');
  }
  return number;
}

}  // namespace

void UsageSniffer::update(std::string_view content) {
  if (content.empty()) return;
  if (content.size() > kTailBytes) {
    size_ += content.size() - kTailBytes;
    content.remove_prefix(content.size() - kTailBytes);
  }
  size_t at = static_cast<size_t>(size_ % kTailBytes);
  size_t first = std::min(content.size(), kTailBytes - at);
  std::memcpy(ring_.data() + at, content.data(), first);
  std::memcpy(ring_.data(), content.data() + first, content.size() - first);
  size_ += content.size();
}

Usage UsageSniffer::find() const {
  std::string tail;
  size_t at = static_cast<size_t>(size_ % kTailBytes);
  if (size_ >= kTailBytes) tail.append(ring_.data() + at, kTailBytes - at);
  tail.append(ring_.data(), at);
  // The model's own words cannot be taken for it: inside a JSON string its quotes would be escaped.
  size_t found = tail.rfind("\"usage\"");
  if (found == std::string::npos) return {};
  std::string_view text = std::string_view(tail).substr(found);
  return {number_of(text, "\"prompt_tokens\""), number_of(text, "\"completion_tokens\""),
          number_of(text, "\"cached_tokens\"")};
}

}  // namespace tweendeck::routing::dialect
