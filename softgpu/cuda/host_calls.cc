#include "softgpu/cuda/host_calls.h"

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <thread>

#include "softgpu/cuda/driver.h"

namespace tweendeck::softgpu {
namespace {

struct Call {
  uint32_t card;
  uint64_t ticket;
  uint64_t not_before_ns;
  std::function<void()> function;
};

class HostCalls {
 public:
  // Never destroyed: its thread may still be in a call when the process exits.
  static HostCalls& get() {
    static auto* calls = new HostCalls;
    return *calls;
  }

  uint64_t queue(Call call) {
    Driver& driver = *Driver::get();
    std::lock_guard guard(mutex_);
    if (!has_thread_) std::thread([this] { run(); }).detach();
    has_thread_ = true;
    if (!joined_ && driver.model().clock_mode() == ClockMode::Virtual) {
      driver.client().join_thread();
      joined_ = true;
    }
    queue_.push_back(std::move(call));
    changed_.notify_all();
    return ++last_;
  }

  bool is_done(uint64_t serial) const { return done_.load(std::memory_order_acquire) >= serial; }

  void wait(uint64_t serial) {
    Driver& driver = *Driver::get();
    std::unique_lock guard(mutex_);
    if (is_done(serial)) return;
    if (driver.model().clock_mode() == ClockMode::Virtual) {
      waiting_.push_back(serial);
      driver.client().leave_thread();
    }
    changed_.wait(guard, [&] { return is_done(serial); });
  }

 private:
  void run() {
    std::unique_lock guard(mutex_);
    while (true) {
      changed_.wait(guard, [&] { return !queue_.empty(); });
      Call call = std::move(queue_.front());
      queue_.pop_front();
      guard.unlock();
      Driver* driver = Driver::get();
      if (driver == nullptr) return;  // the library was finalised
      driver->client().wait_done(call.card, call.ticket);
      if (call.not_before_ns > driver->model().now()) driver->client().sleep_until(call.not_before_ns);
      call.function();
      guard.lock();
      finish(*driver);
    }
  }

  void finish(Driver& driver) {
    const uint64_t done = done_.load(std::memory_order_relaxed) + 1;
    done_.store(done, std::memory_order_release);
    std::erase_if(waiting_, [&](uint64_t serial) {
      if (serial > done) return false;
      driver.client().join_thread();  // for the one that is about to go on
      return true;
    });
    if (queue_.empty() && joined_) {
      driver.client().leave_thread();
      joined_ = false;
    }
    changed_.notify_all();
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Call> queue_;
  std::vector<uint64_t> waiting_;  // serials that threads outside virtual time wait for
  uint64_t last_ = 0;
  std::atomic<uint64_t> done_{0};
  bool has_thread_ = false;
  bool joined_ = false;
};

}  // namespace

void queue_host_call(Stream& stream, std::function<void()> call) {
  Driver& driver = *Driver::get();
  Context& context = *stream.context;
  join_virtual_time();
  const uint64_t serial = HostCalls::get().queue({driver.device(context.device)->card, tail_ticket(stream),
                                                  stream.not_before_ns.load(), std::move(call)});
  raise(stream.last_host_call, serial);
  raise(context.last_host_call, serial);
  if (stream.blocking) raise(context.last_blocking_host_call, serial);
}

bool host_calls_pending(Stream& stream) {
  const uint64_t serial = tail_host_call(stream);
  return serial != 0 && !HostCalls::get().is_done(serial);
}

bool poll_host_call(uint64_t serial) {
  if (serial == 0 || HostCalls::get().is_done(serial)) return true;
  Driver& driver = *Driver::get();
  if (driver.model().clock_mode() == ClockMode::Virtual) {
    driver.client().sleep_until(driver.model().now() + kPollNs);
  }
  return false;
}

void wait_host_call(uint64_t serial) {
  if (serial != 0) HostCalls::get().wait(serial);
}

}  // namespace tweendeck::softgpu
