// The published policies of the FGD experiment as pure functions of a node and a pod: references to compare with.
//
// They use doubles and truncate as published; the engine's own policies are in placement/ and use integers only.
// The highest score wins, ties go to the lowest node rank. Every policy here scores a state that can be interned, so
// that ScoreCache computes each (state, pod shape) once.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "sim/replay/typical.h"

namespace tweendeck::sim {

struct Score {
  int16_t value = -1;  // -1: the pod does not fit
  int8_t gpu = -1;     // the GPU that a share gets; -1 for whole GPUs and CPU-only pods
  bool operator==(const Score&) const = default;
};

class Policy {
 public:
  virtual ~Policy() = default;
  // `node` has room for `ask` (fits()).
  virtual Score score(const NodeState& node, const Ask& ask) = 0;
};

// Names as the command line takes them, in the order of the published table.
const std::vector<std::string_view>& published_policies();
// The name in the published result file: "fgd" -> "FGD".
std::string_view published_name(std::string_view policy);

// Errors: NotFound with the near miss.
Result<std::unique_ptr<Policy>> make_policy(std::string_view name, const std::vector<TypicalPod>& typical);

// One maker per policy; they are in the file of their name.
std::unique_ptr<Policy> make_dot_product();
std::unique_ptr<Policy> make_clustering();
std::unique_ptr<Policy> make_packing();
std::unique_ptr<Policy> make_best_fit();
std::unique_ptr<Policy> make_fgd(const std::vector<TypicalPod>& typical);

// The scales that DotProd, BestFit and Clustering measure with: the largest node of the published cluster.
inline constexpr double kScaleCpuMilli = 128'000;
inline constexpr int32_t kScaleGpuMilli = 8'000;

}  // namespace tweendeck::sim
