#include "net/event_loop.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

namespace tweendeck::net {

Status EventLoop::open() {
  epoll_ = Fd(::epoll_create1(EPOLL_CLOEXEC));
  if (!epoll_) return fail(system_error(errno, "create an epoll instance"));
  wake_ = Fd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!wake_) return fail(system_error(errno, "create an eventfd"));
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.ptr = nullptr;  // only the wake-up has no source
  if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, wake_.get(), &event) != 0) {
    return fail(system_error(errno, "watch an eventfd"));
  }
  return {};
}

Status EventLoop::add(int fd, EventSource* source) {
  epoll_event event{};
  event.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET;
  event.data.ptr = source;
  if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) != 0)
    return fail(system_error(errno, "watch a socket"));
  return {};
}

void EventLoop::remove(int fd, EventSource* source) {
  ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd, nullptr);
  for (int i = 0; i < event_count_; ++i) {
    if (events_[i].data.ptr == source) events_[i].events = 0, events_[i].data.ptr = nullptr;
  }
  std::replace(again_.begin(), again_.end(), source, static_cast<EventSource*>(nullptr));
}

void EventLoop::call_again(EventSource* source) {
  again_.push_back(source);
}

void EventLoop::post(std::function<void()> work) {
  bool first = false;
  {
    std::lock_guard lock(posted_mutex_);
    first = posted_.empty();
    posted_.push_back(std::move(work));
  }
  uint64_t one = 1;
  if (first) (void)!::write(wake_.get(), &one, sizeof(one));
}

void EventLoop::stop() {
  stopping_ = true;
  uint64_t one = 1;
  (void)!::write(wake_.get(), &one, sizeof(one));
}

void EventLoop::run() {
  thread_ = std::this_thread::get_id();
  while (!stopping_) {
    event_count_ = std::max(0, ::epoll_wait(epoll_.get(), events_, kMaxEventsPerWait, wait_ms()));
    for (int i = 0; i < event_count_; ++i) {
      auto* source = static_cast<EventSource*>(events_[i].data.ptr);
      if (source != nullptr) {
        source->on_events(events_[i].events);
      } else if (events_[i].events != 0) {
        uint64_t count;
        (void)!::read(wake_.get(), &count, sizeof(count));
      }
    }
    event_count_ = 0;
    run_again();
    run_posted();
    run_timers();
    retired_.clear();
  }
  run_posted();
  retired_.clear();
  thread_ = std::thread::id();
}

void EventLoop::run_again() {
  // Sources that ask again while they run are called in the next turn, after other sockets had theirs.
  size_t count = again_.size();
  for (size_t i = 0; i < count; ++i) {
    if (EventSource* source = again_[i]) source->on_events(0);
  }
  again_.erase(again_.begin(), again_.begin() + static_cast<ptrdiff_t>(count));
}

void EventLoop::run_posted() {
  std::vector<std::function<void()>> work;
  {
    std::lock_guard lock(posted_mutex_);
    work.swap(posted_);
  }
  for (auto& each : work) each();
}

void EventLoop::run_timers() {
  if (timers_.empty()) return;
  Nanos now = clock_.now();
  while (!timers_.empty() && timers_.begin()->first <= now) {
    auto node = timers_.extract(timers_.begin());
    if (node.mapped().period == 0) {
      node.mapped().work();
      continue;
    }
    // Back into the map before it runs, so that it can cancel itself.
    auto work = node.mapped().work;
    node.key() = now + node.mapped().period;
    timers_.insert(std::move(node));
    work();
  }
}

int EventLoop::wait_ms() const {
  if (!again_.empty()) return 0;
  if (timers_.empty()) return -1;
  Nanos left = timers_.begin()->first - clock_.now();
  return static_cast<int>(std::clamp<Nanos>((left + kMillisecond - 1) / kMillisecond, 0, 60'000));
}

EventLoop::TimerId EventLoop::after(Nanos delay, std::function<void()> work) {
  timers_.emplace(clock_.now() + delay, Timer{next_timer_, 0, std::move(work)});
  return next_timer_++;
}

EventLoop::TimerId EventLoop::every(Nanos period, std::function<void()> work) {
  timers_.emplace(clock_.now() + period, Timer{next_timer_, period, std::move(work)});
  return next_timer_++;
}

void EventLoop::cancel(TimerId id) {
  std::erase_if(timers_, [id](const auto& entry) { return entry.second.id == id; });
}

}  // namespace tweendeck::net
