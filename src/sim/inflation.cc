#include "sim/inflation.h"

#include <cmath>
#include <unordered_map>

#include "sim/replay/fragmentation.h"

namespace tweendeck::sim {

namespace {

// F of the whole cluster, kept up node by node.
class Fragmentation {
 public:
  Fragmentation(const Book& book, const std::vector<TypicalPod>& typical) : book_(book), typical_(typical) {
    if (typical_.empty()) return;
    for (uint32_t node = 0; node < book_.size(); ++node) {
      of_node_.push_back(fragmented_milli(book_.node(node), typical_));
      sum_ += of_node_.back();
    }
  }
  void changed(uint32_t node) {
    if (typical_.empty()) return;
    sum_ -= of_node_[node];
    of_node_[node] = fragmented_milli(book_.node(node), typical_);
    sum_ += of_node_[node];
  }
  int64_t milli() const { return std::llround(std::max(sum_, 0.0)); }

 private:
  const Book& book_;
  const std::vector<TypicalPod>& typical_;
  std::vector<double> of_node_;
  double sum_ = 0;
};

}  // namespace

Result<Inflation> inflate(Book& book, Scheduler& scheduler, const PodList& pods,
                          const std::vector<uint32_t>& arrivals, const std::vector<TypicalPod>& typical) {
  Inflation result;
  result.queues.resize(pods.queues.size());
  Fragmentation fragmentation(book, typical);
  // Nothing is freed, so what bars a row once bars it for good.
  std::unordered_map<uint32_t, Bar> barred;
  int64_t arrived_milli = 0;
  uint64_t claim = 0;
  for (uint32_t row : arrivals) {
    const TracePod& pod = pods.pods[row];
    arrived_milli += pod.asked_milli();
    QueueCount& queue = result.queues[pod.queue];
    ++queue.arrived;
    queue.asked_milli += pod.asked_milli();
    scheduler.arrived(row);
    std::optional<Placed> placed = scheduler.place(claim++, row);
    if (placed) {
      Status entered = book.place(pod, *placed);
      if (!entered) return fail(entered.error());
      scheduler.changed(placed->node);
      fragmentation.changed(placed->node);
      queue.held_milli += pod.asked_milli();
    } else {
      ++queue.refused;
      auto known = barred.find(row);
      Bar bar = known != barred.end() ? known->second : book.bar(pod);
      if (bar == Bar::None) {
        ++result.refused_feasible;
      } else {
        barred[row] = bar;
        ++result.refused[static_cast<size_t>(bar) - 1];
      }
    }
    result.allocation.add(arrived_milli, book.total_milli(), book.allocated_milli(), book.total_milli());
    const int64_t idle = book.total_milli() - book.allocated_milli();
    if (!typical.empty() && idle > 0)
      result.fragmentation.add(arrived_milli, book.total_milli(), fragmentation.milli(), idle);
  }
  return result;
}

}  // namespace tweendeck::sim
