#include "routing/picker/metrics.h"

namespace tweendeck::routing::picker {
namespace {

// Flow control is not here yet: every request is of the one flow and of priority 0.
constexpr char kFlow[] = "default-flow";
constexpr char kPriority[] = "0";
constexpr char kOthers[] = "other";

std::vector<double> powers_of_two(double first, int count) {
  std::vector<double> out;
  for (int i = 0; i < count; ++i) out.push_back(first), first *= 2;
  return out;
}

std::vector<double> long_seconds() {
  return {0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1,   1.25, 1.5, 2,   3,   4,    5,    6,    8,   10,
          15,    20,    30,   45,  60,  120, 180, 240, 300, 360,  480, 600, 900, 1200, 1800, 2700, 3600};
}

std::vector<double> first_token_seconds() {
  return {0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1,  1.25, 1.5, 2,
          3,     4,     5,    6,   8,   10,  15,  20,  30, 45,   60,  120};
}

std::vector<double> token_counts() {
  std::vector<double> out = powers_of_two(8, 18);  // to 1,048,576
  out.insert(out.begin(), 1);
  return out;
}

Labels with(Labels labels, std::string name, std::string value) {
  labels.emplace_back(std::move(name), std::move(value));
  return labels;
}

ModelSeries make_series(Registry& registry, const std::string& asked, const std::string& target) {
  const Labels old = {{"model_name", asked}, {"target_model_name", target}};
  const Labels labels = with(with(old, "fairness_id", kFlow), "priority", kPriority);
  ModelSeries made{};
  made.registry = &registry;
  made.labels = labels;
  made.requests = {
      &registry.counter("llm_d_epp_request_total", "Requests for which an endpoint was chosen.", labels),
      &registry.counter("inference_objective_request_total", "Older name of llm_d_epp_request_total.",
                        with(old, "priority", kPriority))};
  made.duration = {
      &registry.histogram("llm_d_epp_request_duration_seconds",
                          "From a request's headers to the end of its answer.", long_seconds(), labels),
      &registry.histogram("inference_objective_request_duration_seconds",
                          "Older name of llm_d_epp_request_duration_seconds.", long_seconds(), old)};
  auto first_token = [&](const char* streaming) {
    return &registry.histogram("llm_d_epp_request_ttft_seconds",
                               "From a request's headers to the first bytes of its answer.",
                               first_token_seconds(), with(labels, "streaming", streaming));
  };
  made.first_token = first_token("false");
  made.first_token_streamed = first_token("true");
  made.request_bytes = &registry.histogram("llm_d_epp_request_size_bytes", "Bytes of request bodies.",
                                           powers_of_two(64, 25), labels);
  made.response_bytes = &registry.histogram("llm_d_epp_response_size_bytes", "Bytes of answers' bodies.",
                                            powers_of_two(1, 17), labels);
  made.prompt_tokens = &registry.histogram("llm_d_epp_request_input_tokens",
                                           "Prompt tokens as the engine told.", token_counts(), labels);
  made.output_tokens = &registry.histogram("llm_d_epp_request_output_tokens",
                                           "Generated tokens as the engine told.", token_counts(), labels);
  made.cached_tokens = &registry.histogram("llm_d_epp_request_cached_tokens",
                                           "Prompt tokens that the engine had in its cache, as it told.",
                                           token_counts(), labels);
  made.running =
      &registry.gauge("llm_d_epp_request_running", "Requests that endpoints are working on.", labels);
  return made;
}

}  // namespace

PickerMetrics::PickerMetrics(Registry& registry, std::string pool_name)
    : registry_(registry),
      ready_(registry.gauge("llm_d_epp_ready_endpoints", "Endpoints that can take requests.",
                            {{"name", pool_name}})),
      ready_old_(registry.gauge("inference_pool_ready_pods", "Older name of llm_d_epp_ready_endpoints.",
                                {{"name", pool_name}})),
      streams_(
          registry.gauge("tweendeck_picker_open_requests", "Requests that proxies are asking about now.")),
      decision_(registry.histogram("llm_d_epp_scheduler_e2e_duration_seconds", "Choosing an endpoint.",
                                   {0.000001, 0.000002, 0.000005, 0.00001, 0.00002, 0.00005, 0.0001, 0.0002,
                                    0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1})) {}

ModelSeries& PickerMetrics::model(std::string_view asked, std::string_view target) {
  const auto outer = models_.find(asked);
  if (outer != models_.end()) {
    const auto inner = outer->second.find(target);
    if (inner != outer->second.end()) return inner->second;
  }
  if (pairs_ >= kMaxModels && asked != kOthers) return model(kOthers, kOthers);
  ++pairs_;
  const std::string asked_name(asked), target_name(target);
  return models_[asked_name]
      .emplace(target_name, make_series(registry_, asked_name, target_name))
      .first->second;
}

void ModelSeries::failed(std::string_view code) {
  const std::string value(code);
  registry
      ->counter("llm_d_epp_request_error_total", "Requests that failed, by what failed them.",
                with(labels, "error_code", value))
      .add();
  registry
      ->counter("inference_objective_request_error_total", "Older name of llm_d_epp_request_error_total.",
                {labels[0], labels[1], {"error_code", value}})
      .add();
}

void PickerMetrics::refused(Reason reason) {
  registry_
      .counter("tweendeck_picker_refused_total", "Requests that the picker answered with an error.",
               {{"reason", std::string(to_string(reason))}})
      .add();
}

}  // namespace tweendeck::routing::picker
