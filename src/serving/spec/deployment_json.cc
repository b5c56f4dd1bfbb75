// Deployment specs as JSON; see deployment_spec.h.
#include <fmt/format.h>

#include <array>
#include <cmath>

#include "base/text.h"
#include "base/units.h"
#include "net/json.h"
#include "serving/spec/deployment_spec.h"

namespace tweendeck::serving {
namespace {

using net::JsonValue;

std::unexpected<Error> wrong(std::string_view key, std::string_view expected) {
  return fail(Reason::InvalidArgument, fmt::format("'{}' must be {}", key, expected));
}

Status read_text(const JsonValue& value, std::string_view key, std::string& out) {
  if (!value.is_string()) return wrong(key, "a text");
  out = value.text_or("");
  return {};
}

Status read_count(const JsonValue& value, std::string_view key, uint32_t& out) {
  const int64_t number = value.integer_or(-1);
  if (number < 0 || number > UINT32_MAX) return wrong(key, "a whole number of at least 0");
  out = static_cast<uint32_t>(number);
  return {};
}

Status read_list(const JsonValue& value, std::string_view key, std::vector<std::string>& out) {
  if (value.is_string()) {
    out = {std::string(value.text_or(""))};
    return {};
  }
  if (!value.is_array()) return wrong(key, "a list of texts");
  out.clear();
  for (const JsonValue& item : value.items()) {
    if (!item.is_string()) return wrong(key, "a list of texts");
    out.emplace_back(item.text_or(""));
  }
  return {};
}

Status read_memory(const JsonValue& value, uint64_t& out) {
  if (value.is_integer()) {
    if (value.integer_or(-1) < 0) return wrong("memory", "a size such as \"1Gi\" or a number of bytes");
    out = static_cast<uint64_t>(value.integer_or(0));
    return {};
  }
  auto bytes = parse_bytes(value.text_or(""));
  if (!bytes) return fail(Reason::InvalidArgument, "memory: " + bytes.error().message, bytes.error().hint);
  out = *bytes;
  return {};
}

Status read_spread(const JsonValue& value, Spread& out) {
  const std::string_view text = value.text_or("");
  if (text != "spread" && text != "pack") return wrong("spread", "\"spread\" or \"pack\"");
  out = text == "pack" ? Spread::Pack : Spread::Spread;
  return {};
}

Status read_isolation(const JsonValue& value, Isolation& out) {
  if (parse_isolation(value.text_or(""), out)) return {};
  return wrong("isolation", "none, library, driver, kernel or hardware");
}

Status read_priority(const JsonValue& value, int32_t& out) {
  const int64_t number = value.integer_or(INT64_MAX);
  if (number < -kMaxPriority || number > kMaxPriority)
    return wrong("priority", fmt::format("a whole number from -{} to {}", kMaxPriority, kMaxPriority));
  out = static_cast<int32_t>(number);
  return {};
}

Status read_flag(const JsonValue& value, std::string_view key, bool& out) {
  if (!value.is_bool()) return wrong(key, "true or false");
  out = value.bool_or(false);
  return {};
}

constexpr std::array<std::string_view, 18> kKeys = {
    "name",          "model",        "engine",  "replicas",  "memory", "compute",          "priority",
    "device",        "device_model", "vendor",  "isolation", "spread", "distinct_devices", "aliases",
    "max_in_flight", "engine_args",  "devices", "adapters"};

Status read_member(std::string_view key, const JsonValue& value, DeploymentSpec& out) {
  if (key == "name") return read_text(value, key, out.name);
  if (key == "model") return read_text(value, key, out.model);
  if (key == "engine") return read_text(value, key, out.engine);
  if (key == "replicas") return read_count(value, key, out.replicas);
  if (key == "memory") return read_memory(value, out.claim.share.memory_bytes);
  if (key == "compute") return read_count(value, key, out.claim.share.compute_percent);
  if (key == "priority") return read_priority(value, out.claim.share.priority);
  if (key == "device" || key == "devices") return read_list(value, key, out.claim.device_ids);
  if (key == "device_model") return read_text(value, key, out.claim.model);
  if (key == "vendor") return read_text(value, key, out.claim.vendor);
  if (key == "isolation") return read_isolation(value, out.claim.min_isolation);
  if (key == "spread") return read_spread(value, out.claim.spread);
  if (key == "distinct_devices") return read_flag(value, key, out.claim.distinct_devices);
  if (key == "aliases") return read_list(value, key, out.model_aliases);
  if (key == "adapters") return read_list(value, key, out.adapters);
  if (key == "max_in_flight") return read_count(value, key, out.max_in_flight);
  if (key == "engine_args") return read_list(value, key, out.engine_args);
  const std::string_view near = nearest(key, {kKeys.begin(), kKeys.end()});
  return fail(Reason::InvalidArgument, fmt::format("a deployment has no key '{}'", key),
              near.empty() ? fmt::format("keys: {}", fmt::join(kKeys, ", "))
                           : fmt::format("did you mean '{}'?", near));
}

}  // namespace

Result<DeploymentSpec> deployment_from_json(const JsonValue& json) {
  if (!json.is_object()) return fail(Reason::InvalidArgument, "a deployment must be a JSON object");
  DeploymentSpec spec = default_spec();
  for (const auto& [key, value] : json.members()) {
    if (auto read = read_member(key, value, spec); !read) return fail(read.error());
  }
  spec.claim.name = spec.name;
  if (auto valid = check_limits(spec); !valid) return fail(valid.error());
  return spec;
}

Result<DeploymentSpec> parse_deployment_json(std::string_view json) {
  auto value = net::parse_json(json);
  if (!value) return fail(value.error());
  return deployment_from_json(*value);
}

std::string to_json(const DeploymentSpec& spec) {
  net::JsonWriter w;
  const auto list = [&w](std::string_view key, const std::vector<std::string>& items) {
    w.array(key);
    for (const std::string& item : items) w.value(item);
    w.end();
  };
  w.object().field("name", spec.name).field("model", spec.model).field("engine", spec.engine);
  w.field("replicas", spec.replicas).field("memory", spec.claim.share.memory_bytes);
  w.field("compute", spec.claim.share.compute_percent);
  w.field("priority", static_cast<int64_t>(spec.claim.share.priority));
  list("device", spec.claim.device_ids);
  w.field("device_model", spec.claim.model).field("vendor", spec.claim.vendor);
  w.field("isolation", to_string(spec.claim.min_isolation));
  w.field("spread", spec.claim.spread == Spread::Pack ? "pack" : "spread");
  w.field("distinct_devices", spec.claim.distinct_devices);
  list("aliases", spec.model_aliases);
  list("adapters", spec.adapters);
  w.field("max_in_flight", spec.max_in_flight);
  list("engine_args", spec.engine_args);
  w.end();
  return w.take();
}

}  // namespace tweendeck::serving
