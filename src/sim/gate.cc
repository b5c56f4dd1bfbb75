#include "sim/gate.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <map>
#include <mutex>
#include <tuple>

#include "sim/inflation.h"
#include "sim/parallel.h"
#include "sim/reference_scheduler.h"
#include "sim/replay/policy.h"
#include "sim/trace/text_file.h"

namespace tweendeck::sim {

namespace {

// Rows of one workload and policy: their seeds share the scores.
struct Task {
  const Workload* workload = nullptr;
  std::string_view policy;
  std::vector<const PublishedRow*> rows;
};

class Gate {
 public:
  Gate(const GateOptions& options, std::vector<Task> tasks) : options_(options), tasks_(std::move(tasks)) {
    for (const Task& task : tasks_) result_.rows += task.rows.size();
  }

  Result<GateResult> run() {
    Status done = in_parallel(options_.threads, tasks_.size(), options_.stop,
                              [this](size_t at) { return replay(tasks_[at]); });
    if (!done) return fail(done.error());
    auto key = [](const GateCell& cell) {
      return std::tie(cell.workload, cell.policy, cell.seed, cell.percent);
    };
    std::ranges::sort(result_.ties, {}, key);
    std::ranges::sort(result_.wrong, {}, key);
    return std::move(result_);
  }

 private:
  Status replay(const Task& task) {
    Result<std::unique_ptr<SchedulerMaker>> policy = make_reference(task.policy, task.workload->pods);
    if (!policy) return fail(policy.error());
    for (const PublishedRow* row : task.rows) {
      if (options_.stop != nullptr && *options_.stop) return fail(Reason::Cancelled, "interrupted");
      auto order = std::ranges::find(task.workload->orders, row->seed, &Order::seed);
      if (order == task.workload->orders.end()) {
        return fail(Reason::NotFound,
                    fmt::format("workload {} has no arrival order of seed {}", row->workload, row->seed),
                    "the published rows and the arrival orders must be of the same seeds");
      }
      Book book(task.workload->nodes);
      Result<std::unique_ptr<Scheduler>> scheduler = (*policy)->start(book, order->ranks);
      if (!scheduler) return fail(scheduler.error());
      Result<Inflation> replayed = inflate(book, **scheduler, task.workload->pods, order->arrivals, {});
      if (!replayed) return fail(replayed.error());
      compare(*row, replayed->allocation);
    }
    return {};
  }

  void compare(const PublishedRow& row, const Curve& curve) {
    std::lock_guard lock(mutex_);
    size_t wrong_before = result_.wrong.size();
    for (size_t percent = kGateFirstPercent; percent < row.hundredths.size(); ++percent) {
      int64_t replayed = curve.has(percent) ? curve.hundredths(percent) : 0;
      if (replayed == row.hundredths[percent]) continue;
      bool tie =
          curve.has(percent) && curve.is_tie(percent) && std::abs(replayed - row.hundredths[percent]) == 1;
      (tie ? result_.ties : result_.wrong)
          .push_back({row.workload, row.policy, row.seed, percent, row.hundredths[percent], replayed});
    }
    result_.equal += result_.wrong.size() == wrong_before;
    ++done_;
    if (options_.progress) options_.progress(done_, result_.rows);
  }

  const GateOptions& options_;
  std::vector<Task> tasks_;
  std::mutex mutex_;  // guards what follows
  GateResult result_;
  size_t done_ = 0;
};

// Published policies that need no random numbers, the slowest first so that threads end together.
std::vector<std::string_view> by_cost() {
  std::vector<std::string_view> policies = published_policies();
  std::ranges::reverse(policies);
  return policies;
}

}  // namespace

Result<GateResult> run_gate(const GateOptions& options) {
  std::string file = published_file_of(options.folder);
  Result<std::string> text = read_text_file(file);
  if (!text) return fail(text.error());
  Result<std::vector<PublishedRow>> rows = parse_published(*text, file);
  if (!rows) return fail(rows.error());
  std::map<std::string, Workload> workloads;
  for (const PublishedRow& row : *rows) {
    if (workloads.contains(row.workload)) continue;
    Result<Workload> workload = load_workload_of(options.folder, row.workload);
    if (!workload) return fail(workload.error());
    workloads.emplace(row.workload, std::move(*workload));
  }
  std::vector<Task> tasks;
  for (std::string_view policy : by_cost()) {
    for (const auto& [name, workload] : workloads) {
      Task task{&workload, policy, {}};
      for (const PublishedRow& row : *rows) {
        if (row.workload == name && row.policy == published_name(policy) &&
            task.rows.size() < options.max_seeds)
          task.rows.push_back(&row);
      }
      if (!task.rows.empty()) tasks.push_back(std::move(task));
    }
  }
  return Gate(options, std::move(tasks)).run();
}

}  // namespace tweendeck::sim
