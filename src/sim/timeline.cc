#include "sim/timeline.h"

#include <algorithm>
#include <queue>
#include <set>
#include <tuple>

namespace tweendeck::sim {

namespace {

constexpr double kMsPerSecond = 1000;

struct Pod {
  uint32_t row = 0;
  int64_t arrived_ms = 0;
  int64_t lifetime_ms = kForever;
  int64_t waits_since_ms = -1;  // -1: runs, or has ended
  int64_t started_ms = 0;
  uint32_t starts = 0;  // tells the end of this run from that of an earlier one
  Bar bar = Bar::None;  // why it waits
  double wait_s = 0;
  bool waited = false;
  bool measured = false;
  Placed placed;
};

struct End {
  int64_t at_ms;
  uint64_t claim;
  uint32_t starts;
  bool operator>(const End& other) const {
    return std::tie(at_ms, claim) > std::tie(other.at_ms, other.claim);
  }
};

class Run {
 public:
  Run(Book& book, Scheduler& scheduler, const PodList& pods, const Timeline& timeline)
      : book_(book), scheduler_(scheduler), list_(pods), timeline_(timeline), on_node_(book.size()) {
    result_.queues.resize(pods.queues.size());
  }

  Result<TimelineResult> run() {
    for (const TimelineEvent& event : timeline_.at_start) {
      uint64_t claim = add(event, 0);
      Result<bool> started = start(claim, 0);
      if (!started) return fail(started.error());
      if (!*started) {
        wait(claim, 0);
        ++result_.waited_at_start;
      }
    }
    first_arrival_ = pods_.size();
    size_t next = 0;
    while (true) {
      const bool has_event = next < timeline_.events.size();
      if (!ends_.empty() && (!has_event || ends_.top().at_ms <= timeline_.events[next].at_ms)) {
        if (ends_.top().at_ms > timeline_.end_ms) break;
        if (Status done = take_end(); !done) return fail(done.error());
      } else {
        if (!has_event || timeline_.events[next].at_ms > timeline_.end_ms) break;
        if (Status done = take(timeline_.events[next++]); !done) return fail(done.error());
      }
    }
    advance(timeline_.end_ms);
    return finish();
  }

 private:
  uint64_t add(const TimelineEvent& event, int64_t now_ms) {
    Pod pod;
    pod.row = event.subject;
    pod.arrived_ms = now_ms;
    pod.lifetime_ms = event.lifetime_ms;
    pods_.push_back(pod);
    scheduler_.arrived(pod.row);
    return pods_.size() - 1;
  }

  Status take(const TimelineEvent& event) {
    advance(event.at_ms);
    if (event.kind == TimelineEvent::Kind::Arrive) return arrive(event);
    if (event.kind == TimelineEvent::Kind::NodeDown) return lose(event.subject);
    book_.set_up(event.subject, true);
    scheduler_.changed(event.subject);
    return try_waiting(event.subject);
  }

  Status arrive(const TimelineEvent& event) {
    uint64_t claim = add(event, event.at_ms);
    pods_[claim].measured = event.at_ms >= timeline_.measured_from_ms;
    Result<bool> started = start(claim, event.at_ms);
    if (!started) return fail(started.error());
    if (!*started) wait(claim, event.at_ms);
    return {};
  }

  // False: it fits nowhere.
  Result<bool> start(uint64_t claim, int64_t now_ms) {
    Pod& pod = pods_[claim];
    const TracePod& ask = list_.pods[pod.row];
    std::optional<Placed> placed = scheduler_.place(claim, pod.row);
    if (!placed) return false;
    if (Status entered = book_.place(ask, *placed); !entered) return fail(entered.error());
    scheduler_.changed(placed->node);
    pod.placed = *placed;
    pod.started_ms = now_ms;
    ++pod.starts;
    on_node_[placed->node].push_back(claim);
    if (pod.lifetime_ms != kForever) ends_.push({now_ms + pod.lifetime_ms, claim, pod.starts});
    return true;
  }

  void wait(uint64_t claim, int64_t now_ms) {
    Pod& pod = pods_[claim];
    pod.bar = book_.bar(list_.pods[pod.row]);
    if (pod.bar == Bar::None) ++result_.refused_feasible;
    pod.waits_since_ms = now_ms;
    pod.waited = true;
    waiting_.emplace(pod.arrived_ms, claim);
    result_.longest_queue = std::max<uint64_t>(result_.longest_queue, waiting_.size());
  }

  // Room appeared on this node, and only there: who waits fits nowhere else.
  Status try_waiting(uint32_t node) {
    for (auto at = waiting_.begin(); at != waiting_.end();) {
      const uint64_t claim = at->second;
      if (!book_.has_room(node, list_.pods[pods_[claim].row])) {
        ++at;
        continue;
      }
      Result<bool> started = start(claim, now_ms_);
      if (!started) return fail(started.error());
      if (!*started) {
        ++result_.refused_feasible;
        ++at;
        continue;
      }
      end_wait(pods_[claim], now_ms_);
      at = waiting_.erase(at);
    }
    return {};
  }

  void end_wait(Pod& pod, int64_t now_ms) {
    const double waited_s = static_cast<double>(now_ms - pod.waits_since_ms) / kMsPerSecond;
    pod.wait_s += waited_s;
    pod.waits_since_ms = -1;
    if (pod.measured && pod.bar != Bar::None)
      result_.wait_s_by_bar[static_cast<size_t>(pod.bar) - 1] += waited_s;
  }

  Status take_end() {
    const End end = ends_.top();
    ends_.pop();
    if (pods_[end.claim].starts != end.starts) return {};  // its node was lost meanwhile
    advance(end.at_ms);
    const uint32_t node = pods_[end.claim].placed.node;
    std::erase(on_node_[node], end.claim);
    leave(end.claim);
    scheduler_.ended(pods_[end.claim].row);
    scheduler_.changed(node);
    return try_waiting(node);
  }

  void leave(uint64_t claim) {
    Pod& pod = pods_[claim];
    count_held(pod);
    book_.release(list_.pods[pod.row], pod.placed);
    scheduler_.released(claim);
    pod.placed = {};
    ++pod.starts;  // no end of it counts any more
  }

  // Only who was on it can have become startable: no room appeared for anybody else.
  Status lose(uint32_t node) {
    std::vector<uint64_t> lost = std::move(on_node_[node]);
    on_node_[node].clear();
    std::ranges::sort(lost, {}, [this](uint64_t claim) { return std::pair(pods_[claim].arrived_ms, claim); });
    for (uint64_t claim : lost) leave(claim);
    book_.set_up(node, false);
    scheduler_.changed(node);
    result_.lost += lost.size();
    for (uint64_t claim : lost) {
      Result<bool> started = start(claim, now_ms_);
      if (!started) return fail(started.error());
      if (!*started) wait(claim, now_ms_);
    }
    return {};
  }

  // GPU time within the measured part of the run.
  void count_held(const Pod& pod) {
    const TracePod& ask = list_.pods[pod.row];
    const int64_t from = std::max(pod.started_ms, timeline_.measured_from_ms);
    if (now_ms_ <= from) return;
    const double held = ask.asked_milli() / 1000.0 * (static_cast<double>(now_ms_ - from) / kMsPerSecond);
    result_.queues[ask.queue].held_gpu_s += held;
    result_.all.held_gpu_s += held;
  }

  // The time until `now` with the allocation of before.
  void advance(int64_t now_ms) {
    const double percent =
        100 * static_cast<double>(book_.allocated_milli()) / static_cast<double>(book_.total_milli());
    while (result_.samples.size() < kTimelineSamples && sample_at(result_.samples.size()) < now_ms)
      result_.samples.push_back(percent);
    const int64_t from = std::max(now_ms_, timeline_.measured_from_ms);
    if (now_ms > from) allocated_percent_ms_ += percent * static_cast<double>(now_ms - from);
    now_ms_ = now_ms;
  }
  int64_t sample_at(size_t sample) const {
    return timeline_.end_ms * static_cast<int64_t>(sample) / static_cast<int64_t>(kTimelineSamples);
  }

  TimelineResult finish() {
    for (const auto& [order, claim] : waiting_) end_wait(pods_[claim], now_ms_);
    for (const std::vector<uint64_t>& claims : on_node_)
      for (uint64_t claim : claims) count_held(pods_[claim]);
    std::vector<double> waits;
    for (size_t claim = first_arrival_; claim < pods_.size(); ++claim) {
      const Pod& pod = pods_[claim];
      if (!pod.measured) continue;
      waits.push_back(pod.wait_s);
      for (WaitCount* count : {&result_.all, &result_.queues[list_.pods[pod.row].queue]}) {
        ++count->arrived;
        count->waited += pod.waited;
        count->still_waiting += waiting_.contains({pod.arrived_ms, claim});
        count->wait_s += pod.wait_s;
      }
    }
    if (!waits.empty()) {
      auto p99 = waits.begin() + static_cast<std::ptrdiff_t>(waits.size() * 99 / 100);
      std::nth_element(waits.begin(), p99, waits.end());
      result_.wait_p99_s = *p99;
    }
    if (timeline_.end_ms > timeline_.measured_from_ms)
      result_.allocation_percent =
          allocated_percent_ms_ / static_cast<double>(timeline_.end_ms - timeline_.measured_from_ms);
    return std::move(result_);
  }

  Book& book_;
  Scheduler& scheduler_;
  const PodList& list_;
  const Timeline& timeline_;
  TimelineResult result_;
  std::vector<Pod> pods_;  // by claim
  std::vector<std::vector<uint64_t>> on_node_;
  std::set<std::pair<int64_t, uint64_t>> waiting_;  // by arrival; the second is the claim
  std::priority_queue<End, std::vector<End>, std::greater<>> ends_;
  int64_t now_ms_ = 0;
  double allocated_percent_ms_ = 0;
  size_t first_arrival_ = 0;
};

}  // namespace

Result<TimelineResult> run_timeline(Book& book, Scheduler& scheduler, const PodList& pods,
                                    const Timeline& timeline) {
  return Run(book, scheduler, pods, timeline).run();
}

}  // namespace tweendeck::sim
