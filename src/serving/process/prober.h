// Asks model servers whether they are ready or healthy, so that no slow one delays the controller or another.
//
// A fixed number of threads; request() and latest() are safe from any thread and never block. A target is
// asked at most once at a time.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "base/clock.h"

namespace tweendeck::serving {

struct ProbeTarget {
  std::string id;       // the replica
  uint64_t launch = 0;  // a result of an earlier process never counts for the next
  std::string host;
  uint16_t port = 0;
  std::string path;
  Nanos timeout = 0;
};

struct ProbeResult {
  uint64_t launch = 0;
  bool ok = false;        // newest answer had a 2xx status
  uint32_t failures = 0;  // in a row
  uint64_t finished = 0;  // probes so far
};

class Prober {
 public:
  static constexpr size_t kThreads = 8;

  explicit Prober(std::function<void()> on_result);
  ~Prober();

  void request(const ProbeTarget& target);  // ignored while the same target waits or is being asked
  ProbeResult latest(const std::string& id, uint64_t launch) const;
  void forget(const std::string& id);

 private:
  struct Entry {
    ProbeResult result;
    bool busy = false;
  };
  void work();

  std::function<void()> on_result_;
  mutable std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<ProbeTarget> queue_;
  std::map<std::string, Entry> entries_;
  bool stopping_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace tweendeck::serving
