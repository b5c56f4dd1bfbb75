// The simulated models: how large they are and how long one engine step takes on the card they were measured
// on.
//
// T_step = alpha + beta * B + gamma * (context tokens / 1000) + delta * (prefill tokens), in milliseconds,
// with the constants fitted to Llama-3.1-8B on an H100 (TensorRT-LLM 1.0rc3, TP1). Pure; safe from any
// thread.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/result.h"

namespace tweendeck::sim {

inline constexpr uint32_t kBlockTokens = 16;

// What one engine step works on.
struct StepLoad {
  uint32_t requests = 0;        // B
  uint64_t context_tokens = 0;  // of all requests together, after the step
  uint64_t prefill_tokens = 0;  // computed in this step, decode tokens not included
  bool operator==(const StepLoad&) const = default;
};

struct Model {
  std::string_view name;
  uint64_t weight_bytes = 0;
  uint64_t activation_bytes = 0;    // working memory that an engine sets aside
  uint64_t kv_bytes_per_token = 0;  // keys and values of all layers, 16 bit
  uint32_t max_context_tokens = 0;
  double alpha_ms = 0;
  double beta_ms = 0;
  double gamma_ms = 0;
  double delta_ms = 0;
};

const std::vector<Model>& models();
Result<Model> find_model(std::string_view name);

Nanos step_duration(const Model& model, const StepLoad& load);

// How many KV blocks fit into device memory beside weights and activations; at most `usable_percent` of it is
// used. Errors: SliceTooSmall, naming the size that would do.
inline constexpr uint32_t kUsablePercent = 90;
inline constexpr uint32_t kMinBlocks = 64;
Result<uint64_t> kv_blocks(const Model& model, uint64_t memory_bytes);

}  // namespace tweendeck::sim
