#include "routing/picker/endpoints_file.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <fstream>
#include <sstream>

namespace tweendeck::routing::picker {
namespace {

constexpr std::string_view kEngineLabel = "llm-d.ai/engine-type";
constexpr auto kKeys = std::to_array<std::string_view>({"name", "namespace", "address", "port", "labels"});

std::unexpected<Error> bad(const YAML::Mark& mark, const std::string& what, std::string hint = {}) {
  return fail(Reason::InvalidArgument,
              mark.is_null() ? what : fmt::format("line {}: {}", mark.line + 1, what), std::move(hint));
}

Result<std::string> scalar(const YAML::Node& entry, const char* key, bool required) {
  const YAML::Node value = entry[key];
  if (!value || value.IsNull()) {
    if (required) return bad(entry.Mark(), fmt::format("an endpoint has no {}", key));
    return std::string();
  }
  if (!value.IsScalar()) return bad(value.Mark(), fmt::format("{} is no plain value", key));
  return value.Scalar();
}

Result<Endpoint> read_endpoint(const YAML::Node& entry) {
  if (!entry.IsMap())
    return bad(entry.Mark(), "an endpoint is no map", "write - name: ..., address: ..., port: ...");
  for (const auto& field : entry) {
    const std::string& key = field.first.Scalar();
    if (std::ranges::find(kKeys, key) == kKeys.end()) {
      return bad(field.first.Mark(), fmt::format("an endpoint has no field \"{}\"", key),
                 "the fields are name, namespace, address, port, labels");
    }
  }
  std::array<std::string, 4> values;
  for (size_t i = 0; i < values.size(); ++i) {
    Result<std::string> value = scalar(entry, kKeys[i].data(), kKeys[i] != "namespace");
    if (!value) return fail(value.error());
    values[i] = std::move(*value);
  }
  const auto& [name, space, address, port] = values;
  if (name.empty()) return bad(entry.Mark(), "an endpoint has an empty name");
  Endpoint endpoint;
  endpoint.id = fmt::format("{}/{}", space.empty() ? "default" : space, name);
  in_addr parsed{};
  if (::inet_pton(AF_INET, address.c_str(), &parsed) != 1) {
    return bad(entry["address"].Mark(), fmt::format("{} is no IPv4 address", address),
               "names are not looked up");
  }
  endpoint.address = address;
  const auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), endpoint.port);
  if (error != std::errc() || end != port.data() + port.size() || endpoint.port == 0) {
    return bad(entry["port"].Mark(), fmt::format("{} is no port", port), "ports are 1 to 65535");
  }
  const YAML::Node labels = entry["labels"];
  if (labels && !labels.IsNull()) {
    if (!labels.IsMap()) return bad(labels.Mark(), "labels are no map");
    for (const auto& label : labels) {
      if (!label.second.IsScalar()) return bad(label.second.Mark(), "a label is no plain value");
      if (label.first.Scalar() == kEngineLabel) endpoint.engine = label.second.Scalar();
    }
  }
  endpoint.state = EndpointState::Ready;
  return endpoint;
}

Result<std::vector<Endpoint>> read_all(const YAML::Node& root) {
  if (!root.IsMap() || !root["endpoints"]) {
    return bad(root.Mark(), "there is no list \"endpoints\"", "see docs/guides/envoy.md");
  }
  const YAML::Node list = root["endpoints"];
  std::vector<Endpoint> out;
  if (list.IsNull()) return out;
  if (!list.IsSequence()) return bad(list.Mark(), "\"endpoints\" is no list");
  if (list.size() > kMaxEndpoints)
    return bad(list.Mark(), fmt::format("more than {} endpoints", kMaxEndpoints));
  for (const YAML::Node& entry : list) {
    Result<Endpoint> endpoint = read_endpoint(entry);
    if (!endpoint) return fail(endpoint.error());
    std::erase_if(out, [&endpoint](const Endpoint& earlier) { return earlier.id == endpoint->id; });
    out.push_back(std::move(*endpoint));
  }
  return out;
}

}  // namespace

Result<std::vector<Endpoint>> parse_endpoints(const std::string& text) {
  if (text.size() > kMaxEndpointsFileBytes) {
    return fail(Reason::InvalidArgument,
                fmt::format("it has {} bytes; at most {} are read", text.size(), kMaxEndpointsFileBytes));
  }
  try {
    return read_all(YAML::Load(text));
  } catch (const YAML::Exception& error) {
    return bad(error.mark, error.msg);
  }
}

Result<std::vector<Endpoint>> load_endpoints(const std::string& file) {
  errno = 0;
  std::ifstream in(file, std::ios::binary);
  std::stringstream text;
  if (in) text << in.rdbuf();
  if (!in) return fail(system_error(errno == 0 ? EIO : errno, fmt::format("read {}", file)));
  Result<std::vector<Endpoint>> endpoints = parse_endpoints(text.str());
  if (endpoints) return endpoints;
  Error error = endpoints.error();
  error.message = fmt::format("{}: {}", file, error.message);
  return fail(std::move(error));
}

}  // namespace tweendeck::routing::picker
