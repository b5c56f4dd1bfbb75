// The simulation's own account of a cluster: what each node has left and who holds what. Every decision of a policy is
// entered here and checked against what is really free, so that no policy, published or ours, can over-commit unseen.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"
#include "sim/replay/node_state.h"

namespace tweendeck::sim {

struct Placed {
  uint32_t node = 0;
  uint8_t gpus = 0;  // bit i = GPU i of the node
  bool operator==(const Placed&) const = default;
};

inline Ask ask_of(const TracePod& pod) {
  return {pod.cpu_milli, pod.gpus, pod.gpu_milli, pod.models};
}

// What bars a pod everywhere. A node is barred by the first of these that it lacks; a pod by what bars most of the nodes
// whose model it allows.
enum class Bar : uint8_t { None, Model, Gpu, Cpu, Memory };
inline constexpr std::array kBars = {Bar::Model, Bar::Gpu, Bar::Cpu, Bar::Memory};
std::string_view to_string(Bar bar);

class Book {
 public:
  explicit Book(const NodeList& nodes);

  size_t size() const { return nodes_.size(); }
  const NodeState& node(uint32_t at) const { return nodes_[at]; }
  int64_t memory_mib(uint32_t at) const { return memory_mib_[at]; }
  bool is_up(uint32_t at) const { return up_[at]; }
  bool has_room(uint32_t at, const TracePod& pod) const {
    return up_[at] && memory_mib_[at] >= pod.memory_mib && fits(nodes_[at], ask_of(pod));
  }
  Bar bar(const TracePod& pod) const;  // None: some node has room

  // Errors: Internal when the node has not what `placed` takes, in which case nothing changed.
  Status place(const TracePod& pod, Placed placed);
  void release(const TracePod& pod, Placed placed);  // of what was placed
  // A node that is down has no room; who was on it is the caller's to release, before or after.
  void set_up(uint32_t node, bool up);

  int64_t total_milli() const { return total_milli_; }  // GPU of all nodes, up or down
  int64_t allocated_milli() const { return allocated_milli_; }

 private:
  void count(uint32_t node, uint8_t pod_class, int by);

  std::vector<NodeState> nodes_;
  std::vector<int64_t> memory_mib_;
  std::vector<bool> up_;
  std::vector<std::array<uint16_t, 5>> pods_of_class_;  // by node; NodeState::classes follows from it
  int64_t total_milli_ = 0;
  int64_t allocated_milli_ = 0;
};

}  // namespace tweendeck::sim
