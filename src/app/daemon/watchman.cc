#include "app/daemon/watchman.h"

#include <fmt/format.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

namespace tweendeck::daemon {

bool parse_tamper_policy(std::string_view name, TamperPolicy& out) {
  if (name == "report")
    out = TamperPolicy::Report;
  else if (name == "throttle")
    out = TamperPolicy::Throttle;
  else if (name == "stop")
    out = TamperPolicy::Stop;
  else
    return false;
  return true;
}

Status kill_process(uint32_t pid) {
  const int fd = static_cast<int>(syscall(SYS_pidfd_open, pid, 0));
  if (fd < 0) return fail(system_error(errno, fmt::format("process {} cannot be found", pid)));
  const bool sent = syscall(SYS_pidfd_send_signal, fd, SIGKILL, nullptr, 0) == 0;
  const int error = errno;
  close(fd);
  return sent ? Status() : fail(system_error(error, fmt::format("process {} cannot be killed", pid)));
}

void Watchman::apply(const device::Finding& finding, std::vector<Told>& told) {
  // What belongs to no slice is not ours to touch, and an old library is no attack.
  if (policy_ == TamperPolicy::Report || finding.slice_id.empty() || finding.reason == Reason::LibraryStale)
    return;
  if (policy_ == TamperPolicy::Stop && finding.pid != 0) {
    const Status killed = hands_.kill(finding.pid);
    told.push_back(
        {finding.slice_id, killed ? finding.reason : killed.error().reason, "Killed",
         killed ? fmt::format("process {} was stopped by policy", finding.pid) : killed.error().message});
    return;
  }
  if (restrained_.contains(finding.slice_id)) return;
  const Status restrained = hands_.restrain(finding.slice_id, true);
  if (restrained) restrained_.insert(finding.slice_id);
  told.push_back(
      {finding.slice_id, restrained ? finding.reason : restrained.error().reason, "Restrained",
       restrained ? fmt::format("slice {} gets next to no CPU until it keeps its limits", finding.slice_id)
                  : restrained.error().message});
}

std::vector<Watchman::Told> Watchman::act(const std::vector<device::Finding>& findings) {
  std::vector<Told> told;
  std::map<Key, std::string> now;
  std::set<std::string> guilty;
  for (const device::Finding& finding : findings) {
    const Key key{finding.slice_id, finding.pid, finding.reason};
    now.emplace(key, finding.message);
    guilty.insert(finding.slice_id);
    if (known_.contains(key)) continue;
    told.push_back({finding.slice_id, finding.reason, "TamperingFound", finding.message});
    apply(finding, told);
  }
  for (const auto& [key, message] : known_) {
    if (now.contains(key)) continue;
    const std::string& slice = std::get<0>(key);
    told.push_back({slice, Reason::None, "TamperingOver", message});
  }
  known_ = std::move(now);
  for (auto slice = restrained_.begin(); slice != restrained_.end();) {
    if (guilty.contains(*slice)) {
      ++slice;
      continue;
    }
    const Status freed = hands_.restrain(*slice, false);
    told.push_back({*slice, freed ? Reason::None : freed.error().reason, "LetGo",
                    freed ? fmt::format("slice {} keeps its limits again", *slice) : freed.error().message});
    slice = restrained_.erase(slice);
  }
  return told;
}

}  // namespace tweendeck::daemon
