// Policies by name and weights, as configuration and the command line give them.
//
//   fragmentation                    the default; it has no weights to set
//   binpack, spread                  weights: compute, memory, cpu
//   fgd
//   hami, hami:<node>/<devices>      HAMi's two levels, "hami:binpack/mutex,binpack,numa"; plain "hami" is its default
//                                    binpack/spread. Weights: slot, core, memory
//
// A claim that says how it wants to be put (Prefer::Pack, Prefer::Spread) is placed by binpack or spread whatever
// the policy.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/result.h"
#include "placement/policy/policy.h"

namespace tweendeck::placement {

inline constexpr int64_t kMaxPolicyWeight = 100'000;  // 100 times; keeps scores in 32 bits

struct PolicySettings {
  std::string name = "fragmentation";
  std::vector<std::pair<std::string, int64_t>> weights;  // 1000 = 1; what is not named is 1
};

// InvalidArgument names the policy, part or weight that is not known, and what there is.
Result<std::unique_ptr<Policy>> make_policy(const PolicySettings& settings);

}  // namespace tweendeck::placement
