// Limits that hold for every deployment; see deployment_spec.h.
#include <fmt/format.h>

#include <set>
#include <string_view>

#include "base/units.h"
#include "serving/spec/deployment_spec.h"

namespace tweendeck::serving {
namespace {

constexpr uint64_t kMaxSliceMemoryBytes = 1024 * kTiB;

std::unexpected<Error> refuse(const DeploymentSpec& spec, std::string what, std::string hint = {}) {
  return fail(Reason::InvalidArgument,
              spec.name.empty() ? std::move(what) : fmt::format("{}: {}", spec.name, what), std::move(hint));
}

bool is_label(std::string_view name) {
  if (name.empty() || name.size() > kMaxNameBytes || name.front() == '-' || name.back() == '-') return false;
  for (const char c : name) {
    if ((c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-') return false;
  }
  return true;
}

bool is_text(const std::string& text) {
  return !text.empty() && text.size() <= kMaxTextBytes && text.find('\0') == std::string::npos;
}

Status check_share(const DeploymentSpec& spec) {
  const Share& share = spec.claim.share;
  if (share.memory_bytes < kMinSliceMemoryBytes) {
    return refuse(spec,
                  fmt::format("memory is {}, the least is {}", format_bytes(share.memory_bytes),
                              format_bytes(kMinSliceMemoryBytes)),
                  "give each replica some memory, for example 1Gi");
  }
  if (share.memory_bytes > kMaxSliceMemoryBytes) {
    return refuse(spec, fmt::format("memory is {}, the most is {}", format_bytes(share.memory_bytes),
                                    format_bytes(kMaxSliceMemoryBytes)));
  }
  if (share.compute_percent < 1 || share.compute_percent > 100) {
    return refuse(spec, fmt::format("compute is {} percent of a device; it must be between 1 and 100",
                                    share.compute_percent));
  }
  return {};
}

// Each adapter's name must tell it apart: requests name nothing else.
Status check_adapters(const DeploymentSpec& spec) {
  if (spec.adapters.size() > kMaxAdapters) {
    return refuse(spec, fmt::format("has {} adapters; the most is {}", spec.adapters.size(), kMaxAdapters));
  }
  std::set<std::string_view> taken(spec.model_aliases.begin(), spec.model_aliases.end());
  taken.insert(spec.name);
  for (const std::string& adapter : spec.adapters) {
    if (taken.insert(adapter).second) continue;
    return refuse(spec,
                  fmt::format("has adapter '{}' twice, or it is also the deployment's name or an alias",
                              adapter.substr(0, 2 * kMaxNameBytes)),
                  "give each adapter a name of its own");
  }
  return {};
}

}  // namespace

DeploymentSpec default_spec() {
  DeploymentSpec spec;
  spec.claim.share.memory_bytes = *parse_bytes(kDefaultMemory);
  spec.claim.share.compute_percent =
      static_cast<uint32_t>(*parse_count(kDefaultComputePercent, 100, "compute"));
  return spec;
}

Status check_limits(const DeploymentSpec& spec) {
  if (!is_label(spec.name)) {
    return fail(Reason::InvalidArgument,
                fmt::format("'{}' is no deployment name", spec.name.substr(0, 2 * kMaxNameBytes)),
                fmt::format("use up to {} of a-z, 0-9 and -, not - first or last", kMaxNameBytes));
  }
  if (!is_text(spec.model)) return refuse(spec, "names no model", "for example model: smollm2");
  if (spec.replicas > kMaxReplicas) {
    return refuse(spec, fmt::format("wants {} replicas; the most is {}", spec.replicas, kMaxReplicas));
  }
  if (auto share = check_share(spec); !share) return share;
  if (spec.model_aliases.size() > kMaxAliases) {
    return refuse(spec,
                  fmt::format("has {} aliases; the most is {}", spec.model_aliases.size(), kMaxAliases));
  }
  if (auto adapters = check_adapters(spec); !adapters) return adapters;
  if (spec.engine_args.size() > kMaxEngineArgs) {
    return refuse(spec,
                  fmt::format("has {} engine_args; the most is {}", spec.engine_args.size(), kMaxEngineArgs));
  }
  for (const auto* list : {&spec.model_aliases, &spec.adapters, &spec.engine_args, &spec.claim.device_ids}) {
    for (const std::string& text : *list) {
      if (!is_text(text))
        return refuse(spec, fmt::format("has an empty text or one of more than {} bytes", kMaxTextBytes));
    }
  }
  return {};
}

}  // namespace tweendeck::serving
