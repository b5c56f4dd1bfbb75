// One thread's event loop over epoll: sockets, timers, and work posted from other threads.
//
// Everything runs on the thread that calls run(); only post(), stop() and in_loop() may be called from
// others. Sockets are registered once, edge-triggered, for reading and writing: no system call per wait.
// (Not Boost.Asio: by its source, its reactor tries a recv() that fails before each wait, two per proxied
// request.) Timers are coarse and few (sweeps, back-off): per-request deadlines are fields that a sweep looks
// at.
#pragma once

#include <sys/epoll.h>

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "net/fd.h"

namespace tweendeck::net {

// Something with a file descriptor in the loop.
class EventSource {
 public:
  // `events` are epoll's bits; 0 when the source asked to be called again.
  virtual void on_events(uint32_t events) = 0;

 protected:
  ~EventSource() = default;
};

class EventLoop {
 public:
  EventLoop() = default;
  EventLoop(const EventLoop&) = delete;
  EventLoop& operator=(const EventLoop&) = delete;

  Status open();                          // creates the kernel objects; before anything else
  void run();                             // until stop(); once
  void stop();                            // any thread
  void post(std::function<void()> work);  // any thread; runs in order; dropped when the loop never runs again
  bool in_loop() const { return thread_.load() == std::this_thread::get_id(); }
  bool running() const { return thread_.load() != std::thread::id(); }

  Status add(int fd, EventSource* source);   // for reading and writing, edge-triggered
  void remove(int fd, EventSource* source);  // before the fd is closed; no call comes after it
  void call_again(EventSource* source);      // once more after the events that are waiting now

  // Keeps an object alive until the calls that are on the stack now have returned.
  template <class T>
  void retire(std::unique_ptr<T> object) {
    retired_.push_back(std::shared_ptr<void>(std::move(object)));
  }

  using TimerId = uint64_t;  // 0 is never an id
  TimerId after(Nanos delay, std::function<void()> work);
  TimerId every(Nanos period, std::function<void()> work);
  void cancel(TimerId id);  // unknown ids are fine

 private:
  struct Timer {
    TimerId id;
    Nanos period;  // 0 = once
    std::function<void()> work;
  };
  void run_posted();
  void run_timers();
  void run_again();
  int wait_ms() const;

  static constexpr int kMaxEventsPerWait = 256;

  SystemClock clock_;
  Fd epoll_, wake_;
  std::atomic<bool> stopping_{false};
  std::atomic<std::thread::id> thread_{};
  epoll_event events_[kMaxEventsPerWait];
  int event_count_ = 0;
  std::vector<EventSource*> again_;
  std::vector<std::shared_ptr<void>> retired_;
  std::multimap<Nanos, Timer> timers_;
  TimerId next_timer_ = 1;

  std::mutex posted_mutex_;
  std::vector<std::function<void()>> posted_;
};

}  // namespace tweendeck::net
