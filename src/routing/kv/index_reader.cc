#include <algorithm>
#include <utility>

#include "routing/kv/index.h"

namespace tweendeck::routing::kv {
namespace {

// So many blocks ahead are on their way from memory: all addresses are known before the first is needed.
constexpr size_t kPrefetchAhead = 24;

}  // namespace

std::optional<KvIndex::Reader> KvIndex::Reader::join(KvIndex& index) {
  const std::optional<size_t> place = index.readers_.join();
  if (!place) return std::nullopt;
  return Reader(index, *place);
}

KvIndex::Reader::Reader(KvIndex& index, size_t place)
    : index_(&index), place_(place), seen_(std::min(index.config_.max_endpoints, kMaxEndpoints)) {}

KvIndex::Reader::Reader(Reader&& other) noexcept
    : index_(std::exchange(other.index_, nullptr)),
      place_(other.place_),
      round_(other.round_),
      seen_(std::move(other.seen_)),
      members_(std::move(other.members_)) {}

KvIndex::Reader::~Reader() {
  if (index_ != nullptr) index_->readers_.part(place_);
}

void KvIndex::Reader::match(std::span<const Fingerprint> chain, std::vector<Match>& out) {
  out.clear();
  index_->readers_.enter(place_);
  walk(chain, out);
  index_->readers_.leave(place_);
  std::erase_if(out, [this](const Match& match) { return !index_->visible(match.endpoint); });
}

// Neighbouring blocks mostly have the same holders, and one set has one name: what a set means is worked out
// only where the name changes.
void KvIndex::Reader::walk(std::span<const Fingerprint> chain, std::vector<Match>& out) {
  const PrefixTable& table = index_->table_;
  for (size_t i = 0; i < std::min(chain.size(), kPrefetchAhead); ++i) table.prefetch(chain[i]);
  SetId last = 0;
  holding_ = 0;
  for (size_t i = 0; i < chain.size(); ++i) {
    if (i + kPrefetchAhead < chain.size()) table.prefetch(chain[i + kPrefetchAhead]);
    const SetId set = table.find(chain[i]);
    if (set != last) {
      look_at(set);
      if (i == 0) begin(out);
      drop_missing(static_cast<uint32_t>(i), out);
      last = set;
    }
    if (holding_ == 0) break;
  }
  look_at(0);
  drop_missing(static_cast<uint32_t>(chain.size()), out);
  std::erase_if(out, [](const Match& match) { return match.blocks == 0; });
}

void KvIndex::Reader::look_at(SetId set) {
  if (++round_ == 0) {
    std::ranges::fill(seen_, Seen{});
    round_ = 1;
  }
  members_.clear();
  Lane one = 0;
  for (const Lane lane : index_->sets_.view(set, one)) {
    const uint32_t owner = index_->owners_[lane].load(std::memory_order_acquire);
    if ((owner & kAlive) == 0) continue;
    const EndpointNumber endpoint = owner >> 8;
    Seen& seen = seen_[endpoint];
    if (seen.round != round_) {
      seen = {round_, 0, 0};
      members_.push_back(endpoint);
    }
    const uint32_t group = 1u << (owner >> 2 & 0x3F);
    seen.groups |= group;
    if ((owner & 2) == 0) seen.device_groups |= group;
  }
}

// `device_blocks` is UINT32_MAX as long as the device still holds everything.
void KvIndex::Reader::begin(std::vector<Match>& out) {
  for (const EndpointNumber endpoint : members_) out.push_back({endpoint, 0, UINT32_MAX});
  holding_ = out.size();
}

void KvIndex::Reader::drop_missing(uint32_t blocks, std::vector<Match>& out) {
  for (size_t i = 0; i < holding_;) {
    Match& match = out[i];
    const Seen& seen = seen_[match.endpoint];
    const uint32_t needed = index_->shared_[match.endpoint].groups.load(std::memory_order_acquire);
    const bool there = seen.round == round_;
    if (match.device_blocks == UINT32_MAX && !(there && seen.device_groups == needed))
      match.device_blocks = blocks;
    if (there && seen.groups == needed) {
      ++i;
      continue;
    }
    match.blocks = blocks;
    std::swap(match, out[--holding_]);
  }
}

}  // namespace tweendeck::routing::kv
