// Which handler of the local API a request is for. Pure; of the control server only.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "net/control_server.h"

namespace tweendeck::net {

struct ControlRoute {
  std::string method;
  std::vector<std::string> segments;
  ControlServer::Handler handler;
  ControlServer::StreamHandler stream;
};

// The parts of a pattern or path.
std::vector<std::string> segments_of(std::string_view path);

// Whether the path is the route's; then its parameters are in the request.
bool matches(const ControlRoute& route, const std::vector<std::string>& path, ControlRequest& request);

// Splits a target into decoded path segments (so that %2F stays inside its segment) and decoded query values.
Status parse_target(std::string_view target, ControlRequest& request, std::vector<std::string>& segments);

}  // namespace tweendeck::net
