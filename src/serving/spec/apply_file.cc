// The YAML of `apply -f`; see deployment_spec.h.
#include <fmt/format.h>

#include "base/units.h"
#include "serving/spec/deployment_spec.h"
#include "serving/spec/yaml_reader.h"

namespace tweendeck::serving {
namespace {

constexpr Reason kInvalid = Reason::InvalidArgument;

void read_memory(YamlMap& map, uint64_t& out) {
  std::string text;
  map.text("memory", text);
  if (!map.has("memory")) return;
  auto bytes = parse_bytes(text);
  if (!bytes) return map.error_at("memory", "memory: " + bytes.error().message, bytes.error().hint);
  out = *bytes;
}

void read_number(YamlMap& map, const char* key, uint32_t& out) {
  uint64_t number = out;
  map.count(key, UINT32_MAX, number);
  out = static_cast<uint32_t>(number);
}

void read_priority(YamlMap& map, int32_t& out) {
  std::string text;
  map.text("priority", text);
  if (!map.has("priority")) return;
  const bool negative = text.starts_with('-');
  auto number = parse_count(std::string_view(text).substr(negative ? 1 : 0), kMaxPriority, "priority");
  if (!number) return map.error_at("priority", number.error().message, number.error().hint);
  out = negative ? -static_cast<int32_t>(*number) : static_cast<int32_t>(*number);
}

void read_choices(YamlMap& map, Claim& claim) {
  std::string isolation(to_string(claim.min_isolation));
  map.text("isolation", isolation);
  if (!parse_isolation(isolation, claim.min_isolation)) {
    map.error_at("isolation", fmt::format("unknown isolation '{}'", isolation),
                 "use none, library, driver, kernel or hardware");
  }
  std::string spread = "spread";
  map.text("spread", spread);
  if (spread != "spread" && spread != "pack") {
    map.error_at("spread", fmt::format("unknown spread '{}'", spread), "use spread or pack");
  }
  claim.spread = spread == "pack" ? Spread::Pack : Spread::Spread;
}

Result<DeploymentSpec> read_deployment(const YAML::Node& node, const std::string& file) {
  DeploymentSpec spec = default_spec();
  YamlMap map(node, "a deployment", file, kInvalid);
  map.text("name", spec.name);
  map.text("model", spec.model);
  map.text("engine", spec.engine);
  read_number(map, "replicas", spec.replicas);
  read_memory(map, spec.claim.share.memory_bytes);
  read_number(map, "compute", spec.claim.share.compute_percent);
  read_priority(map, spec.claim.share.priority);
  map.texts("device", spec.claim.device_ids, true);
  map.text("device_model", spec.claim.model);
  map.text("vendor", spec.claim.vendor);
  read_choices(map, spec.claim);
  map.flag("distinct_devices", spec.claim.distinct_devices);
  map.texts("aliases", spec.model_aliases, true);
  map.texts("adapters", spec.adapters, true);
  read_number(map, "max_in_flight", spec.max_in_flight);
  map.texts("engine_args", spec.engine_args);
  for (const char* key : {"name", "model"}) map.require(key);
  if (auto done = map.finish(); !done) return fail(done.error());
  spec.claim.name = spec.name;
  if (auto valid = check_limits(spec); !valid) {
    map.error(node, valid.error().message, valid.error().hint);
    return fail(map.finish().error());
  }
  return spec;
}

Result<std::vector<DeploymentSpec>> read_file(const YAML::Node& root, const std::string& file) {
  YamlMap map(root, "the file", file, kInvalid);
  map.require("deployments");
  const auto list = map.child("deployments");
  if (auto done = map.finish(); !done) return fail(done.error());
  if (!list->IsSequence() || list->size() == 0 || list->size() > kMaxDeployments) {
    map.error(*list, fmt::format("'deployments' must be a list of 1 to {} deployments", kMaxDeployments));
    return fail(map.finish().error());
  }
  std::vector<DeploymentSpec> specs;
  for (const YAML::Node& node : *list) {
    auto spec = read_deployment(node, file);
    if (!spec) return fail(spec.error());
    for (const DeploymentSpec& other : specs) {
      if (other.name != spec->name) continue;
      map.error(node, fmt::format("deployment '{}' is in the file twice", spec->name));
      return fail(map.finish().error());
    }
    specs.push_back(std::move(*spec));
  }
  return specs;
}

}  // namespace

Result<std::vector<DeploymentSpec>> parse_apply_file(std::string_view text, const std::string& file) {
  auto root = load_yaml(text, kMaxApplyFileBytes, file, kInvalid);
  if (!root) return fail(root.error());
  try {
    return read_file(*root, file);
  } catch (const YAML::Exception& error) {
    return fail(kInvalid, fmt::format("{}: {}", file, error.what()));
  }
}

}  // namespace tweendeck::serving
