// The account of requests that replicas lost, told as one event per replica and second instead of one per
// request.
//
//   requests.add(lost);                                     // on the gateway's loop; never waits for the
//                                                           // disk
//   for (const LostRequestsEvent& event : requests.take(now)) controller.record_event(...); // on another
//     thread
//
// At most kMaxReplicas replicas are counted between two calls of take(); requests of further ones are left
// out.
#pragma once

#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "base/clock.h"
#include "routing/gateway/gateway.h"

namespace tweendeck::daemon {

struct LostRequestsEvent {
  std::string replica;
  Reason reason = Reason::None;
  std::string action;   // "Retried" when any was sent again, else "RequestsLost"
  std::string message;  // "37 requests were retried on another replica, 2 broke after their first byte"
};

class LostRequests {
 public:
  static constexpr Nanos kInterval = kSecond;
  static constexpr size_t kMaxReplicas = 1024;

  void add(const routing::gateway::LostRequest& lost);
  // What was counted since the last one; nothing when that is less than kInterval ago.
  std::vector<LostRequestsEvent> take(Nanos now);
  // What is left, at the end.
  std::vector<LostRequestsEvent> take_rest();

 private:
  struct Account {
    uint64_t retried = 0;
    uint64_t retried_here = 0;
    uint64_t waiting = 0;
    uint64_t failed = 0;
    uint64_t cut = 0;
    Reason reason = Reason::None;  // of the newest
    std::string detail;
  };
  static LostRequestsEvent tell(const std::string& replica, const Account& account);

  std::mutex mutex_;
  std::map<std::string, Account> accounts_;
  Nanos taken_at_ = -kInterval;
};

}  // namespace tweendeck::daemon
