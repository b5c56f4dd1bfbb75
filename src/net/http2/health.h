// grpc.health.v1.Health: whether services can be used. Check and Watch; loop thread only.
#pragma once

#include <map>
#include <set>
#include <string>
#include <string_view>

#include "net/http2/grpc.h"

namespace tweendeck::net::http2 {

class Health {
 public:
  // Adds Check and Watch to the methods.
  void offer(GrpcShared& shared);
  // Adds the service or changes it; those who watch it are told.
  void set(const std::string& service, bool serving);

 private:
  class CheckCall;
  class WatchCall;
  enum class State : uint8_t { Serving = 1, NotServing = 2, Unknown = 3 };  // ServingStatus of the protocol
  State state(std::string_view service) const;

  std::map<std::string, bool, std::less<>> services_;
  std::set<WatchCall*> watching_;
};

}  // namespace tweendeck::net::http2
