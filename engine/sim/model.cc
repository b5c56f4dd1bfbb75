#include "engine/sim/model.h"

#include <fmt/core.h>

#include <cmath>

#include "base/text.h"
#include "base/units.h"

namespace tweendeck::sim {
namespace {

constexpr double kParameters8b = 8.03e9;
constexpr double kParameters3b = 3.21e9;
// Reading weights (alpha), and multiplying with them (delta), scales with the parameters; reading the KV
// cache (gamma) with its bytes per token: 28 layers instead of 32.
constexpr double kSize3b = kParameters3b / kParameters8b;
constexpr double kKvSize3b = 28.0 / 32.0;

Model measured_8b() {
  return {.name = "sim-8b",
          .weight_bytes = static_cast<uint64_t>(2 * kParameters8b),
          .activation_bytes = 2'000'000'000,
          .kv_bytes_per_token = 128 * kKiB,
          .max_context_tokens = 131072,
          .alpha_ms = 6.42,
          .beta_ms = 0,
          .gamma_ms = 0.0499,
          .delta_ms = 0.0196};
}

Model scaled_3b() {
  Model m = measured_8b();
  m.name = "sim-3b";
  m.weight_bytes = static_cast<uint64_t>(2 * kParameters3b);
  m.activation_bytes = 1'000'000'000;
  m.kv_bytes_per_token = 112 * kKiB;
  m.alpha_ms *= kSize3b;
  m.beta_ms *= kSize3b;
  m.gamma_ms *= kKvSize3b;
  m.delta_ms *= kSize3b;
  return m;
}

}  // namespace

const std::vector<Model>& models() {
  static const std::vector<Model> all = {measured_8b(), scaled_3b()};
  return all;
}

Result<Model> find_model(std::string_view name) {
  std::vector<std::string_view> names;
  std::vector<std::string> listed;
  for (const Model& model : models()) {
    if (model.name == name) return model;
    names.push_back(model.name);
    listed.emplace_back(model.name);
  }
  const std::string_view near = nearest(name, names);
  return fail(Reason::ModelNotFound, fmt::format("no simulated model is called \"{}\"", name),
              near.empty() ? "there are " + join(listed, ", ") : fmt::format("did you mean {}?", near));
}

Nanos step_duration(const Model& m, const StepLoad& load) {
  const double ms = m.alpha_ms + m.beta_ms * load.requests +
                    m.gamma_ms * static_cast<double>(load.context_tokens) / 1000 +
                    m.delta_ms * static_cast<double>(load.prefill_tokens);
  return static_cast<Nanos>(std::llround(ms * kMillisecond));
}

Result<uint64_t> kv_blocks(const Model& model, uint64_t memory_bytes) {
  const uint64_t block_bytes = model.kv_bytes_per_token * kBlockTokens;
  const uint64_t fixed = model.weight_bytes + model.activation_bytes;
  const uint64_t usable = memory_bytes / 100 * kUsablePercent;
  if (usable < fixed + kMinBlocks * block_bytes) {
    const uint64_t needed = (fixed + kMinBlocks * block_bytes) / kUsablePercent * 100 + 100;
    const uint64_t needed_gib = (needed + kGiB - 1) / kGiB;
    return fail(
        Reason::SliceTooSmall,
        fmt::format(
            "{} needs {} ({} weights, {} activations, {} for the smallest KV cache, and 10% to spare); "
            "the slice has {}",
            model.name, format_bytes(needed), format_bytes(model.weight_bytes),
            format_bytes(model.activation_bytes), format_bytes(kMinBlocks * block_bytes),
            format_bytes(memory_bytes)),
        fmt::format("give it at least --memory {}Gi", needed_gib));
  }
  return (usable - fixed) / block_bytes;
}

}  // namespace tweendeck::sim
