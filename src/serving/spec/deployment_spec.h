// Deployment specs as text: the YAML of `apply -f`, and the JSON of the local API and of the state.
//
//   deployments:
//     - name: chat
//       model: smollm2
//       replicas: 2
//       memory: 1Gi
//       compute: 40
//
// Strict: an unknown key, a wrong type or a value out of range is InvalidArgument with its line and, where
// one is near, the key that was meant. Pure; safe from any thread.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "net/json.h"
#include "serving/types.h"

namespace tweendeck::serving {

inline constexpr size_t kMaxApplyFileBytes = 1 << 20;
inline constexpr uint32_t kMaxReplicas = 256;   // per deployment
inline constexpr size_t kMaxDeployments = 256;  // per state
inline constexpr size_t kMaxNameBytes = 40;
inline constexpr size_t kMaxAliases = 64;
inline constexpr size_t kMaxAdapters = 64;
inline constexpr size_t kMaxEngineArgs = 64;
inline constexpr size_t kMaxTextBytes = 4096;  // model reference, one alias, one engine argument
inline constexpr uint64_t kMinSliceMemoryBytes = 16ull << 20;
// The share of a replica where nobody says another: of `serve`, of files and of the local API alike. As
// people write it.
inline constexpr std::string_view kDefaultMemory = "1Gi";
inline constexpr std::string_view kDefaultComputePercent = "25";
inline constexpr int32_t kMaxPriority = 1'000'000;  // and -kMaxPriority the least

// A spec in which only the defaults are set.
DeploymentSpec default_spec();

// `file` names the source in messages.
Result<std::vector<DeploymentSpec>> parse_apply_file(std::string_view text, const std::string& file);

// The same keys as a JSON object; memory also as a number of bytes.
Result<DeploymentSpec> parse_deployment_json(std::string_view json);
Result<DeploymentSpec> deployment_from_json(const net::JsonValue& json);
std::string to_json(const DeploymentSpec& spec);

// Limits that hold wherever a spec comes from: name, replicas, share, counts and lengths.
Status check_limits(const DeploymentSpec& spec);

}  // namespace tweendeck::serving
