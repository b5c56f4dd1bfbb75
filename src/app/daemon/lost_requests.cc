#include "app/daemon/lost_requests.h"

#include <fmt/format.h>

#include <utility>

namespace tweendeck::daemon {

using routing::gateway::LostRequest;
using routing::gateway::RequestFate;

void LostRequests::add(const LostRequest& lost) {
  const std::scoped_lock lock(mutex_);
  if (accounts_.size() >= kMaxReplicas && !accounts_.contains(lost.endpoint_id)) return;
  Account& account = accounts_[lost.endpoint_id];
  switch (lost.fate) {
    case RequestFate::Retried:
      ++(lost.retried_on == lost.endpoint_id ? account.retried_here : account.retried);
      break;
    case RequestFate::Waiting:
      ++account.waiting;
      break;
    case RequestFate::Failed:
      ++account.failed;
      break;
    case RequestFate::Cut:
      ++account.cut;
      break;
  }
  account.reason = lost.error.reason;
  account.detail = lost.error.message;
}

std::vector<LostRequestsEvent> LostRequests::take(Nanos now) {
  {
    const std::scoped_lock lock(mutex_);
    if (now - taken_at_ < kInterval || accounts_.empty()) return {};
    taken_at_ = now;
  }
  return take_rest();
}

std::vector<LostRequestsEvent> LostRequests::take_rest() {
  std::map<std::string, Account> taken;
  {
    const std::scoped_lock lock(mutex_);
    taken = std::exchange(accounts_, {});
  }
  std::vector<LostRequestsEvent> events;
  for (const auto& [replica, account] : taken) events.push_back(tell(replica, account));
  return events;
}

LostRequestsEvent LostRequests::tell(const std::string& replica, const Account& account) {
  std::string text;
  const auto part = [&text](uint64_t count, const char* one, const char* many) {
    if (count == 0) return;
    const bool first = text.empty();
    const char* noun = !first ? "" : count == 1 ? "request " : "requests ";
    text += fmt::format("{}{} {}{}", first ? "" : ", ", count, noun, count == 1 ? one : many);
  };
  part(account.retried, "was retried on another replica", "were retried on another replica");
  part(account.retried_here, "was tried once more", "were tried once more");
  part(account.waiting, "waits for a replica to be retried", "wait for a replica to be retried");
  part(account.failed, "failed before its first byte", "failed before their first byte");
  part(account.cut, "broke after its first byte", "broke after their first byte");
  const bool again = account.retried + account.retried_here + account.waiting > 0;
  return {replica, account.reason, again ? "Retried" : "RequestsLost",
          fmt::format("{}: {}", text, account.detail)};
}

}  // namespace tweendeck::daemon
