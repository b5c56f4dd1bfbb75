#include "serving/process/prober.h"

#include <fmt/format.h>

#include "net/control_client.h"

namespace tweendeck::serving {
namespace {

constexpr size_t kMaxAnswerBytes = 1 << 20;

bool answers(const ProbeTarget& target) {
  net::ControlClient::Limits limits;
  limits.connect_timeout_ms = target.timeout / kMillisecond;
  limits.total_timeout_ms = target.timeout / kMillisecond;
  limits.max_body_bytes = kMaxAnswerBytes;
  net::ControlClient client(net::ControlClient::url(fmt::format("http://{}:{}", target.host, target.port)),
                            limits);
  net::HttpCall call;
  call.path = target.path;
  const auto answer = client.request(call);
  return answer && answer->status >= 200 && answer->status < 300;
}

}  // namespace

Prober::Prober(std::function<void()> on_result) : on_result_(std::move(on_result)) {
  for (size_t i = 0; i < kThreads; ++i) threads_.emplace_back([this] { work(); });
}

Prober::~Prober() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

void Prober::request(const ProbeTarget& target) {
  {
    const std::lock_guard lock(mutex_);
    Entry& entry = entries_[target.id];
    if (entry.busy) return;
    if (entry.result.launch != target.launch) entry.result = ProbeResult{.launch = target.launch};
    entry.busy = true;
    queue_.push_back(target);
  }
  wake_.notify_one();
}

ProbeResult Prober::latest(const std::string& id, uint64_t launch) const {
  const std::lock_guard lock(mutex_);
  const auto entry = entries_.find(id);
  return entry != entries_.end() && entry->second.result.launch == launch ? entry->second.result
                                                                          : ProbeResult{};
}

void Prober::forget(const std::string& id) {
  const std::lock_guard lock(mutex_);
  if (const auto entry = entries_.find(id); entry != entries_.end() && !entry->second.busy)
    entries_.erase(entry);
}

void Prober::work() {
  std::unique_lock lock(mutex_);
  for (;;) {
    wake_.wait(lock, [this] { return stopping_ || !queue_.empty(); });
    if (stopping_) return;
    const ProbeTarget target = std::move(queue_.front());
    queue_.pop_front();
    lock.unlock();
    const bool ok = answers(target);
    lock.lock();
    Entry& entry = entries_[target.id];
    entry.busy = false;
    if (entry.result.launch == target.launch) {
      entry.result.ok = ok;
      entry.result.failures = ok ? 0 : entry.result.failures + 1;
      ++entry.result.finished;
    }
    lock.unlock();
    on_result_();
    lock.lock();
  }
}

}  // namespace tweendeck::serving
