#include "routing/tokenizer/normalize.h"

#include <algorithm>
#include <cstring>
#include <iterator>
#include <optional>

#include "routing/tokenizer/unicode.h"

namespace tweendeck::routing::tokenizer {
namespace {

struct Combining {
  uint32_t first;
  uint32_t last;
  uint8_t combining_class;
};
struct Decomposition {
  uint32_t point;
  uint32_t first;
  uint32_t second;  // 0: a singleton
  bool composes;
};

constexpr Combining kCombining[] = {
#define TW_COMBINING(first, last, combining_class) {first, last, combining_class},
#define TW_DECOMPOSES(point, first, second, composes)
#include "routing/tokenizer/unicode_nfc.def"
#undef TW_COMBINING
#undef TW_DECOMPOSES
};
constexpr Decomposition kDecompositions[] = {
#define TW_COMBINING(first, last, combining_class)
#define TW_DECOMPOSES(point, first, second, composes) {point, first, second, composes},
#include "routing/tokenizer/unicode_nfc.def"
#undef TW_COMBINING
#undef TW_DECOMPOSES
};

// Hangul syllables are computed (Unicode, section 3.12).
constexpr uint32_t kSBase = 0xAC00, kLBase = 0x1100, kVBase = 0x1161, kTBase = 0x11A7;
constexpr uint32_t kLCount = 19, kVCount = 21, kTCount = 28, kSCount = kLCount * kVCount * kTCount;

uint8_t combining_class(uint32_t point) {
  const auto* found =
      std::upper_bound(std::begin(kCombining), std::end(kCombining), point,
                       [](uint32_t value, const Combining& row) { return value < row.first; });
  if (found == std::begin(kCombining)) return 0;
  --found;
  return point <= found->last ? found->combining_class : 0;
}

const Decomposition* decomposition(uint32_t point) {
  const auto* found =
      std::lower_bound(std::begin(kDecompositions), std::end(kDecompositions), point,
                       [](const Decomposition& row, uint32_t value) { return row.point < value; });
  return found != std::end(kDecompositions) && found->point == point ? found : nullptr;
}

// Pairs that compose, by the pair.
const std::vector<std::pair<uint64_t, uint32_t>>& compositions() {
  static const auto table = [] {
    std::vector<std::pair<uint64_t, uint32_t>> pairs;
    for (const Decomposition& row : kDecompositions) {
      if (row.composes) pairs.emplace_back(uint64_t{row.first} << 32 | row.second, row.point);
    }
    std::sort(pairs.begin(), pairs.end());
    return pairs;
  }();
  return table;
}

std::optional<uint32_t> compose(uint32_t first, uint32_t second) {
  if (first - kLBase < kLCount && second - kVBase < kVCount) {
    return kSBase + ((first - kLBase) * kVCount + (second - kVBase)) * kTCount;
  }
  if (first - kSBase < kSCount && (first - kSBase) % kTCount == 0 && second - kTBase - 1 < kTCount - 1) {
    return first + (second - kTBase);
  }
  const uint64_t pair = uint64_t{first} << 32 | second;
  const auto& table = compositions();
  const auto found = std::lower_bound(table.begin(), table.end(), pair,
                                      [](const auto& row, uint64_t value) { return row.first < value; });
  if (found == table.end() || found->first != pair) return std::nullopt;
  return found->second;
}

// One bit per code point that starts a character cluster anew: NFC never changes it nor joins it to what is before it.
const std::vector<bool>& inert() {
  static const auto table = [] {
    std::vector<bool> bits(kCodePoints, true);
    for (const Combining& row : kCombining) {
      for (uint32_t point = row.first; point <= row.last; ++point) bits[point] = false;
    }
    for (const Decomposition& row : kDecompositions) {
      if (!row.composes) bits[row.point] = false;
      if (row.composes) bits[row.second] = false;
    }
    for (uint32_t point = kVBase; point < kVBase + kVCount; ++point) bits[point] = false;
    for (uint32_t point = kTBase + 1; point < kTBase + kTCount; ++point) bits[point] = false;
    return bits;
  }();
  return table;
}

struct Mark {
  uint32_t point;
  uint8_t order;          // canonical combining class
  uint32_t position = 0;  // keeps sorting stable
};

void decompose(uint32_t point, std::vector<Mark>& to) {
  if (point - kSBase < kSCount) {
    const uint32_t index = point - kSBase;
    to.push_back({kLBase + index / (kVCount * kTCount), 0});
    to.push_back({kVBase + index % (kVCount * kTCount) / kTCount, 0});
    if (index % kTCount != 0) to.push_back({kTBase + index % kTCount, 0});
    return;
  }
  const Decomposition* row = decomposition(point);
  if (row == nullptr) {
    to.push_back({point, combining_class(point)});
    return;
  }
  decompose(row->first, to);
  if (row->second != 0) decompose(row->second, to);
}

// Unicode, section 3.11: full decomposition, canonical order, composition with the last starter that is not blocked.
void normalize_cluster(std::string_view cluster, std::vector<Mark>& marks, std::string& out) {
  marks.clear();
  for (size_t at = 0; at < cluster.size();) {
    const Decoded next = decode(cluster.data() + at);
    decompose(next.point, marks);
    at += next.length;
  }
  for (auto from = marks.begin(); from != marks.end();) {
    if (from->order == 0) {
      ++from;
      continue;
    }
    const auto to = std::find_if(from, marks.end(), [](const Mark& mark) { return mark.order == 0; });
    for (auto mark = from; mark != to; ++mark) mark->position = static_cast<uint32_t>(mark - from);
    std::sort(from, to, [](const Mark& a, const Mark& b) {
      return a.order != b.order ? a.order < b.order : a.position < b.position;
    });
    from = to;
  }
  constexpr size_t kNone = SIZE_MAX;
  size_t starter = kNone, kept = 0;
  for (const Mark mark : marks) {
    // Between starter and mark stand only marks that were kept; a starter that was kept there is the starter itself.
    const bool adjacent = starter != kNone && kept == starter + 1;
    const bool blocked = starter == kNone || (!adjacent && marks[kept - 1].order >= mark.order);
    if (!blocked) {
      if (const auto composed = compose(marks[starter].point, mark.point)) {
        marks[starter].point = *composed;
        continue;
      }
    }
    if (mark.order == 0) starter = kept;
    marks[kept++] = mark;
  }
  for (size_t index = 0; index < kept; ++index) append_utf8(marks[index].point, out);
}

}  // namespace

bool is_surely_nfc(std::string_view text) {
  // Up to U+02FF, bytes below 0xCC, everything is inert. Signed bytes: 0xCC to 0xFF are -52 to -1.
  const char* data = text.data();
  size_t at = 0;
  for (; at + 64 <= text.size(); at += 64) {
    unsigned found = 0;
    for (size_t index = 0; index < 64; ++index) found |= static_cast<unsigned char>(data[at + index]) >= 0xCC;
    if (found != 0) break;
  }
  const std::vector<bool>& inert_bits = inert();
  while (at < text.size() && (static_cast<unsigned char>(data[at]) & 0xC0) == 0x80) --at;
  while (at < text.size()) {
    if (static_cast<unsigned char>(data[at]) < 0xCC) {
      ++at;
      continue;
    }
    const Decoded next = decode(data + at);
    if (!inert_bits[next.point]) return false;
    at += next.length;
  }
  return true;
}

std::string to_nfc(std::string_view text) {
  const std::vector<bool>& inert_bits = inert();
  std::string out;
  out.reserve(text.size());
  std::vector<Mark> marks;
  size_t copied = 0, previous = 0;  // `previous`: the inert character that following ones may join
  for (size_t at = 0; at < text.size();) {
    Decoded next = decode(text.data() + at);
    if (inert_bits[next.point]) {
      previous = at;
      at += next.length;
      continue;
    }
    size_t end = at;
    while (end < text.size()) {
      next = decode(text.data() + end);
      if (inert_bits[next.point]) break;
      end += next.length;
    }
    previous = std::max(previous, copied);
    out.append(text, copied, previous - copied);
    normalize_cluster(text.substr(previous, end - previous), marks, out);
    copied = previous = at = end;
  }
  out.append(text, copied);
  return out;
}

std::string replace_all(std::string_view text, std::string_view find, std::string_view content) {
  std::string out;
  out.reserve(text.size() + text.size() / 4);
  size_t from = 0;
  for (size_t at; (at = text.find(find, from)) != std::string_view::npos; from = at + find.size()) {
    out.append(text, from, at - from).append(content);
  }
  return out.append(text, from);
}

std::string_view normalize(const std::vector<NormalizeStep>& steps, std::string_view text,
                           std::string& scratch) {
  for (const NormalizeStep& step : steps) {
    switch (step.kind) {
      case NormalizeStep::Kind::Nfc:
        if (is_surely_nfc(text)) continue;
        scratch = to_nfc(text);
        break;
      case NormalizeStep::Kind::Prepend:
        if (text.empty()) continue;
        scratch = std::string(step.content).append(text);
        break;
      case NormalizeStep::Kind::Replace:
        if (text.find(step.find) == std::string_view::npos) continue;
        scratch = replace_all(text, step.find, step.content);
        break;
    }
    text = scratch;
  }
  return text;
}

}  // namespace tweendeck::routing::tokenizer
