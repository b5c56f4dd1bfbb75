// A price per pool of equal models, for claims that could go elsewhere.
//
// Usable capacity of a node is what its rests are worth, but no more than its CPU can serve at kCpuMargin times the
// average need: a node with whole devices and no CPU has none. Demand that may use several pools is poured over them
// like water (each mask in turn, until levels settle); the level of a pool is its load. A claim pays for the capacity it
// uses by how much its pool's load lies above the least loaded pool it may use. Equal loads cost nothing, so the
// price acts as a controller that keeps the pools that some claims need from being filled by those that need none.
#pragma once

#include <cstdint>
#include <vector>

#include "placement/policy/fragmentation/catalog.h"
#include "placement/policy/fragmentation/cutting_stock.h"
#include "placement/policy/fragmentation/demand.h"
#include "placement/policy/fragmentation/state.h"

namespace tweendeck::placement::fragmentation {

inline constexpr uint32_t kLoadSteps = 20;  // loads are rounded to 1/20
inline constexpr uint32_t kMaxLoad = 1u << 20;

class Scarcity {
 public:
  // Capacity is counted anew by the caller: `add` for every node.
  void learn(const Catalog& catalog, const Demand& demand, const RestPrices& prices);
  uint32_t capacity_of(const State& state) const;  // permille of devices
  void add(uint16_t pool, int64_t capacity) { capacity_[pool] += capacity; }
  // True when the load of a pool changed.
  bool refresh(const Catalog& catalog, const Demand& demand);
  // Load of the pool above the least loaded one that the kind may use, in 1/kLoadSteps, at most kLoadSteps.
  uint32_t above(uint16_t pool, KindId kind) const;
  bool level() const { return level_; }  // all loads are equal: nobody pays

 private:
  struct Mask {
    std::vector<uint8_t> pools;
    double demand = 0;
    double square = 0;
  };
  std::vector<Mask> masks(const Catalog& catalog, const Demand& demand) const;
  void pour(const std::vector<Mask>& masks, std::vector<double>& load) const;
  uint32_t effective(const Kind& kind) const;

  RestPrices prices_;
  uint64_t cpu_per_device_ = 0;    // milli; 0 = CPU bounds nothing
  std::vector<int64_t> capacity_;  // by pool
  std::vector<uint32_t> load_;     // by pool, in 1/kLoadSteps
  std::vector<uint32_t> least_;    // by kind
  bool level_ = true;
};

}  // namespace tweendeck::placement::fragmentation
