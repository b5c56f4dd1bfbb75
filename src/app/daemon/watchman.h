// What the daemon does about tenants that got around their limits: tells each finding once and applies the
// policy. Not thread-safe; findings() is what a caller's lock protects.
#pragma once

#include <functional>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

#include "base/result.h"
#include "device/watch.h"

namespace tweendeck::daemon {

enum class TamperPolicy : uint8_t {
  Report,    // events, metrics, doctor
  Throttle,  // and the slice's processes get next to no CPU until it is over
  Stop,      // and processes of a slice that bypass it, or whose books are forged, are killed
};
bool parse_tamper_policy(std::string_view name, TamperPolicy& out);  // "report", "throttle", "stop"

class Watchman {
 public:
  // What it asks of the machine. `restrain` slows a slice down or lets it go; `kill` ends a process of a
  // slice.
  struct Hands {
    std::function<Status(const std::string& slice_id, bool restrained)> restrain;
    std::function<Status(uint32_t pid)> kill;
  };
  struct Told {
    std::string slice_id;  // "" = of no slice
    Reason reason = Reason::None;
    std::string action;  // "TamperingFound", "TamperingOver", "Killed", "Restrained", "LetGo"
    std::string message;
  };

  Watchman(TamperPolicy policy, Hands hands) : policy_(policy), hands_(std::move(hands)) {}

  // What there is to tell since the last call.
  std::vector<Told> act(const std::vector<device::Finding>& findings);

 private:
  void apply(const device::Finding& finding, std::vector<Told>& told);

  using Key = std::tuple<std::string, uint32_t, Reason>;
  TamperPolicy policy_;
  Hands hands_;
  std::map<Key, std::string> known_;  // and their message
  std::set<std::string> restrained_;  // slices
};

// SIGKILL to exactly this process, found again by its descriptor. Errors: NotFound, PermissionDenied.
Status kill_process(uint32_t pid);

}  // namespace tweendeck::daemon
