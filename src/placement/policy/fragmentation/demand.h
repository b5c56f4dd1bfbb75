// What has arrived, by kind of request, and what of it stands: all that the policy learns from.
//
// Arrivals are forgotten slowly: once as many claims have left as kLifetimes times those that stand, every count is
// halved. Without departures nothing is forgotten.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "placement/policy/fragmentation/catalog.h"

namespace tweendeck::placement::fragmentation {

inline constexpr uint64_t kLifetimes = 4;
inline constexpr uint32_t kTypicalPermille =
    950;  // rare kinds beyond this share of arrivals are left out of the mix
inline constexpr size_t kMaxTypical = 200;

struct KindCount {
  KindId kind = 0;
  uint64_t count = 0;
};

class Demand {
 public:
  void arrived(KindId kind);
  void departed(KindId kind);
  void forget_if_due();

  uint64_t arrivals() const { return arrivals_; }  // ever
  uint64_t count(KindId kind) const { return kind < counts_.size() ? counts_[kind].arrived : 0; }
  // Claims that arrived and did not leave: what free capacity fills up with, net of departures. A kind of long-lived
  // claims weighs by its lifetime here, as Little's law has it.
  uint64_t standing(KindId kind) const { return kind < counts_.size() ? counts_[kind].standing : 0; }

  // The most frequent kinds, most frequent first, until they make up kTypicalPermille of the arrivals.
  std::vector<KindCount> typical(std::span<const Kind> kinds) const;
  // Half the sum of the differences between the shares of this mix and of what has arrived by now, in permille.
  uint32_t drift(std::span<const KindCount> mix) const;

 private:
  struct Counts {
    uint64_t arrived = 0;
    uint64_t standing = 0;
  };
  Counts& at(KindId kind);

  std::vector<Counts> counts_;
  uint64_t arrivals_ = 0;
  uint64_t total_ = 0;  // sum of counts
  uint64_t standing_ = 0;
  uint64_t left_ = 0;  // since counts were halved
};

}  // namespace tweendeck::placement::fragmentation
