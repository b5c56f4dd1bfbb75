// FGD, fragmentation gradient descent: the node and GPU where fragmentation grows least (Weng et al., ATC'23).
#include <cmath>
#include <unordered_map>

#include "sim/replay/fragmentation.h"
#include "sim/replay/policy.h"
#include "sim/replay/state_hash.h"

namespace tweendeck::sim {

namespace {

constexpr double kSigmoidMilli = 1000;
constexpr size_t kMaxRemembered = 4'000'000;  // F values, about 40 bytes each

class Fgd final : public Policy {
 public:
  explicit Fgd(std::vector<TypicalPod> typical) : typical_(std::move(typical)) {}

  Score score(const NodeState& node, const Ask& ask) override {
    const double before = fragmented(node);
    if (!ask.is_share())
      return {sigmoid(before - fragmented(after(node, ask, gpus_taken(node, ask, -1)))), -1};
    Score best;
    for (int gpu = 0; gpu < node.gpus; ++gpu) {
      if (node.rest[gpu] < ask.gpu_milli || same_as_earlier(node, gpu)) continue;
      int16_t value = sigmoid(before - fragmented(after(node, ask, static_cast<uint8_t>(1u << gpu))));
      if (value > best.value) best = {value, static_cast<int8_t>(gpu)};
    }
    return best;
  }

 private:
  static int16_t sigmoid(double gain) {
    return static_cast<int16_t>(100 * (1 / (1 + std::exp(-gain / kSigmoidMilli))));
  }

  // An equal rest gives the equal F, and only a strictly better one would win.
  static bool same_as_earlier(const NodeState& node, int gpu) {
    return std::find(node.rest.begin(), node.rest.begin() + gpu, node.rest[gpu]) != node.rest.begin() + gpu;
  }

  // F does not depend on the order of the GPUs (its sums over them are of integers) nor on the pods' classes.
  double fragmented(NodeState node) {
    std::sort(node.rest.begin(), node.rest.begin() + node.gpus);
    node.classes = 0;
    auto known = remembered_.find(node);
    if (known != remembered_.end()) return known->second;
    if (remembered_.size() == kMaxRemembered) remembered_.clear();
    return remembered_[node] = fragmented_milli(node, typical_);
  }

  std::vector<TypicalPod> typical_;
  std::unordered_map<NodeState, double, StateHash> remembered_;
};

}  // namespace

std::unique_ptr<Policy> make_fgd(const std::vector<TypicalPod>& typical) {
  return std::make_unique<Fgd>(typical);
}

}  // namespace tweendeck::sim
