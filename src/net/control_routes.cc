#include "net/control_routes.h"

#include <fmt/format.h>

#include <charconv>
#include <utility>

#include "base/text.h"
#include "net/control_client.h"
#include "net/json.h"

namespace tweendeck::net {

std::vector<std::string> segments_of(std::string_view path) {
  std::vector<std::string> out;
  for (std::string_view part : split(path, '/')) out.emplace_back(part);
  return out;
}

bool matches(const ControlRoute& route, const std::vector<std::string>& path, ControlRequest& request) {
  if (route.segments.size() != path.size()) return false;
  for (size_t i = 0; i < path.size(); ++i) {
    const std::string& wanted = route.segments[i];
    bool is_param = wanted.size() > 2 && wanted.front() == '{' && wanted.back() == '}';
    if (is_param ? path[i].empty() : wanted != path[i]) return false;
  }
  for (size_t i = 0; i < path.size(); ++i) {
    const std::string& wanted = route.segments[i];
    if (wanted.starts_with('{')) request.params[wanted.substr(1, wanted.size() - 2)] = path[i];
  }
  return true;
}

Status parse_target(std::string_view target, ControlRequest& request, std::vector<std::string>& segments) {
  size_t mark = target.find('?');
  for (std::string_view part : split(target.substr(0, mark), '/')) {
    auto decoded = url_decode(part);
    if (!decoded) return fail(decoded.error());
    segments.push_back(std::move(*decoded));
  }
  request.path = join(segments, "/");
  if (mark == std::string_view::npos) return {};
  for (std::string_view pair : split(target.substr(mark + 1), '&')) {
    if (pair.empty()) continue;
    size_t equals = pair.find('=');
    auto name = url_decode(pair.substr(0, equals));
    auto value = url_decode(equals == std::string_view::npos ? std::string_view() : pair.substr(equals + 1));
    if (!name) return fail(name.error());
    if (!value) return fail(value.error());
    request.query[std::move(*name)] = std::move(*value);
  }
  return {};
}

std::string_view ControlRequest::param(std::string_view name) const {
  auto found = params.find(name);
  return found == params.end() ? std::string_view() : found->second;
}

std::string_view ControlRequest::query_or(std::string_view name, std::string_view fallback) const {
  auto found = query.find(name);
  return found == query.end() ? fallback : found->second;
}

Result<uint64_t> ControlRequest::query_number(std::string_view name, uint64_t fallback) const {
  auto found = query.find(name);
  if (found == query.end()) return fallback;
  const std::string& text = found->second;
  uint64_t number = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size()) {
    return fail(Reason::InvalidArgument, fmt::format("{}={} is no number", name, json_quote(text)));
  }
  return number;
}

}  // namespace tweendeck::net
