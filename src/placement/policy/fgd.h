// Fragmentation Gradient Descent (Weng et al., "Beware of Fragmentation", USENIX ATC 2023) in integers.
//
// F of a node = over typical claims m, weighted by how often they come: what is free on its devices if m cannot run
// there, else what is free on devices too small for one slice of m. A claim goes where F grows least. The gain is
// quantised (40 milli-devices as in the published code), because ties that rounding noise decides scatter small
// claims over empty nodes; ties go to the node with least left, then to the lower index.
//
// What is free on a device is the scarcer of compute and memory, in permille. The typical mix is learned from what
// arrives, at growing intervals, or given.
#pragma once

#include <array>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "placement/policy/indexed_policy.h"

namespace tweendeck::placement {

inline constexpr int64_t kFgdQuantum = 40;          // milli-devices of expected fragment
inline constexpr uint64_t kFgdFirstLearning = 50;   // arrivals before which only fullness counts
inline constexpr uint32_t kFgdCoveredPercent = 95;  // of arrivals by the typical mix
inline constexpr size_t kFgdMaxTypical = 256;       // shapes in the mix
inline constexpr size_t kFgdMemo = 1u << 14;        // node states whose F is remembered

class FgdScorer {
 public:
  FgdScorer();
  std::string_view name() const { return "fgd"; }
  // The mix instead of learning: shapes and how often they come.
  void set_typical(std::span<const std::pair<ShapeId, uint64_t>> mix);
  void arrived(ShapeId shape);
  void departed(ShapeId) {}
  uint64_t epoch(const Cluster&);
  int32_t score(const Cluster& cluster, NodeIndex node, ShapeId shape);
  uint16_t pick(const Cluster& cluster, NodeIndex node, ShapeId shape);
  std::vector<ScoreTerm> terms(const Cluster& cluster, ShapeId shape, const Spot& spot);

 private:
  struct Typical {
    ShapeId shape = 0;
    uint64_t count = 0;
  };
  struct State {  // of a node: all that F depends on
    int32_t cpu_free_milli = 0;
    uint16_t type = 0;
    uint16_t usable = 0;
    std::array<uint16_t, kMaxDevicesPerNode> rests{};
    bool operator==(const State&) const = default;
  };
  struct Remembered {
    State state;
    int64_t fragment = -1;
  };
  struct Gain {
    int64_t quanta = 0;  // of fragment saved
    uint16_t devices = 0;
    int64_t fullness = 0;  // permille
  };

  void learn();
  std::optional<Gain> gain(const Cluster& cluster, NodeIndex node, ShapeId shape);
  State state_of(const Cluster& cluster, NodeIndex node) const;
  int64_t fragment(const Cluster& cluster, const State& state);
  int64_t fragment_now(const Cluster& cluster, const State& state) const;
  void take_out(const Cluster& cluster, State& state, ShapeId shape, uint16_t devices) const;
  uint32_t slice_permille(const Cluster& cluster, uint16_t type, ShapeId shape, uint32_t device) const;

  std::vector<uint64_t> arrivals_;  // by shape
  uint64_t arrived_ = 0;
  uint64_t next_learning_ = kFgdFirstLearning;
  bool given_ = false;
  std::vector<Typical> typical_;
  uint64_t total_ = 0;  // arrivals of the mix
  uint64_t epoch_ = 1;
  uint64_t memo_epoch_ = 0;
  std::vector<Remembered> memo_;
};

}  // namespace tweendeck::placement
