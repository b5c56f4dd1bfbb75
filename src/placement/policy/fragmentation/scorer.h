// What it is worth to put a request on a node of a state. The policy's formula, and all of its weights.
//
//   score = floor((size - (V(n) - V(n'))) / 40)      what gets stranded less, in steps of 0.040 devices  (value)
//         - 200 (u(r) - u(r'))                       price of the device rest, slices only               (rest_price)
//         - 5 (cpu' / max cpu + devices' / max)      best fit, so that equals fill up one by one         (best_fit)
//         - 100 load above the least Δcapacity       scarcity of the pool of models                      (scarcity)
//         - 200 Δslots                               room kept for requests of several devices           (reservation)
//
// n' is the state after, r' the rest after; V, u, capacity and slots are those of rollouts.h, cutting_stock.h,
// scarcity.h and reservation.h. In thousandths, integers throughout. Before anything is learned the first two terms are
// replaced by the share of the node's free devices that goes with the CPU taken: what a node has of devices per CPU is
// the exchange rate there, so CPU is taken where it is plentiful.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "placement/policy/fragmentation/catalog.h"
#include "placement/policy/fragmentation/cutting_stock.h"
#include "placement/policy/fragmentation/demand.h"
#include "placement/policy/fragmentation/flat_table.h"
#include "placement/policy/fragmentation/grid.h"
#include "placement/policy/fragmentation/reservation.h"
#include "placement/policy/fragmentation/rollouts.h"
#include "placement/policy/fragmentation/scarcity.h"

namespace tweendeck::placement::fragmentation {

// What the dynamic prices need of a state.
struct Worth {
  int32_t value = 0;      // V
  uint32_t capacity = 0;  // permille of devices
  GroupSlots slots{};
};

// What is constant about putting a kind on a state until the next learning.
struct Score {
  static constexpr int32_t kNowhere = INT32_MIN;
  int32_t fixed = kNowhere;  // the first three terms, thousandths
  Rest want = 0;             // rest of the device to use, when the kind asks for one
  uint16_t capacity_lost = 0;
  GroupSlots slots_lost{};
};

struct FixedTerms {
  int64_t value = 0;
  int64_t rest_price = 0;
  int64_t best_fit = 0;
  int64_t sum() const { return value + rest_price + best_fit; }
};

class Scorer {
 public:
  explicit Scorer(const Catalog& catalog);

  // Learns mix, prices and grid from the demand and adapts to the types of nodes.
  void learn(const Cluster& cluster, const Demand& demand);
  // What another one learned, before `adapt`.
  void take_over(const Scorer& other);
  // Only the adapting. What is counted over all nodes (reservation, scarcity) is
  // counted anew by the caller.
  void adapt(const Cluster& cluster, const Demand& demand);

  Worth worth(const State& state);
  Score score(const State& state, const Worth& worth, KindId kind);
  // The fixed terms where a device with this rest is used.
  FixedTerms terms(const State& state, const Worth& worth, KindId kind, Rest rest);
  int32_t dynamic_price(const Score& score, uint16_t type, KindId kind, int64_t* scarcity,
                        int64_t* reserved) const;
  int32_t total(const Score& score, uint16_t type, KindId kind) const {
    return score.fixed - dynamic_price(score, type, kind, nullptr, nullptr);
  }

  uint32_t least_cpu(KindId kind) const { return catalog_.kinds()[kind].least_cpu_milli; }
  const Grid& grid() const { return grid_; }
  std::span<const KindCount> mix() const { return mix_; }
  bool learned() const { return !deck_.empty(); }
  Reservation& reservation() { return reservation_; }
  Scarcity& scarcity() { return scarcity_; }
  size_t values_known() const { return values_.size(); }

 private:
  template <typename Consider>
  void each_way(const State& state, const Worth& worth, KindId kind, const Consider& consider);
  bool after(State& state, KindId kind, uint32_t position) const;
  bool after_several(State& state, KindId kind) const;
  void take(State& state, uint32_t position, const Need& need) const;
  int32_t value_of(const State& state);
  FixedTerms compare(const State& before, const Worth& worth, const State& next, uint32_t size,
                     uint32_t rest_before, uint32_t rest_after);

  const Catalog& catalog_;
  Grid grid_;
  RestPrices prices_;
  std::vector<KindCount> mix_;
  std::vector<uint16_t> deck_;
  std::vector<std::unique_ptr<Rollouts>> rollouts_;
  std::vector<uint16_t> rollouts_of_type_;
  FlatTable<State, int32_t> values_;
  Reservation reservation_;
  Scarcity scarcity_;
};

}  // namespace tweendeck::placement::fragmentation
