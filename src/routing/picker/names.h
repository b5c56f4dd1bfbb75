// Names of the endpoint-picker protocol (Gateway API Inference Extension, proposal 004) and of llm-d's headers,
// current names and the older ones that still work. All lower case, as HTTP/2 has them.
#pragma once

#include <array>
#include <string_view>

namespace tweendeck::routing::picker {

inline constexpr std::string_view kProcessMethod = "/envoy.service.ext_proc.v3.ExternalProcessor/Process";
inline constexpr std::string_view kProcessService = "envoy.service.ext_proc.v3.ExternalProcessor";

inline constexpr std::string_view kDestinationKey = "x-gateway-destination-endpoint";
inline constexpr std::string_view kServedKey = "x-gateway-destination-endpoint-served";
inline constexpr std::string_view kSubsetKey = "x-gateway-destination-endpoint-subset";
inline constexpr std::string_view kDestinationNamespace = "envoy.lb";
inline constexpr std::string_view kSubsetNamespace = "envoy.lb.subset_hint";

inline constexpr std::string_view kRequestId = "x-request-id";
inline constexpr std::string_view kDroppedReason = "x-llm-d-request-dropped-reason";
inline constexpr std::string_view kResponseSeen = "x-went-into-resp-headers";
// Asks for endpoints by address; the conformance suite of the Gateway API Inference Extension sends it.
inline constexpr std::string_view kTestSelection = "test-epp-endpoint-selection";

// A control header and its older alias; the first that is there counts.
struct Control {
  std::string_view name, alias;
};
inline constexpr Control kObjective{"x-llm-d-inference-objective", "x-gateway-inference-objective"};
inline constexpr Control kFairnessId{"x-llm-d-inference-fairness-id", "x-gateway-inference-fairness-id"};
inline constexpr Control kModelRewrite{"x-llm-d-model-name-rewrite", "x-gateway-model-name-rewrite"};
inline constexpr Control kTtft{"x-llm-d-slo-ttft-ms", "x-slo-ttft-ms"};
inline constexpr Control kTpot{"x-llm-d-slo-tpot-ms", "x-slo-tpot-ms"};

// What a client may say to the picker, and what only the picker may say to engines: neither reaches an engine as
// the client sent it.
inline constexpr auto kStripped = std::to_array<std::string_view>({
    kObjective.name,
    kObjective.alias,
    kFairnessId.name,
    kFairnessId.alias,
    kModelRewrite.name,
    kModelRewrite.alias,
    kTtft.name,
    kTtft.alias,
    kTpot.name,
    kTpot.alias,
    "x-llm-d-video-fps",
    "x-llm-d-video-duration-seconds",
    "x-llm-d-video-resolution",
    kSubsetKey,
    kDestinationKey,
    kServedKey,
    kDroppedReason,
});

}  // namespace tweendeck::routing::picker
