#include "bench/vgpu/cell.h"

#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <map>

#include "device/providers/nvml/discovery.h"
#include "device/providers/nvml/feedback.h"
#include "device/providers/nvml/lender.h"
#include "device/providers/nvml/nvml_api.h"
#include "device/providers/nvml/open_slices.h"
#include "device/providers/nvml/slice_pages.h"
#include "softgpu/host.h"
#include "softgpu/model/cards.h"
#include "softgpu/model/model.h"

namespace tweendeck::bench {
namespace {

namespace nvml = device::nvml;

constexpr unsigned kWallLimitS = 120;  // a cell that hangs ends its process, and the kernel its tenants
constexpr unsigned kBlocksPerSm = 8;   // of 256 threads: what an SM holds
constexpr uint64_t kSliceMemoryBytes = 16ull << 30;
constexpr uint64_t kNodeRank = 0;
constexpr uint64_t kStartNs =
    500 * kMs;  // tenants begin then: a node and a driver's sampling were there before

// Of a cell only one process runs at a time, so handing over within a CPU is the cheapest. Ends with the
// cell.
class OneCpu {
 public:
  OneCpu() {
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(static_cast<unsigned>(sched_getcpu()), &one);
    if (sched_getaffinity(0, sizeof before_, &before_) == 0) sched_setaffinity(0, sizeof one, &one);
  }
  ~OneCpu() { sched_setaffinity(0, sizeof before_, &before_); }
  OneCpu(const OneCpu&) = delete;
  OneCpu& operator=(const OneCpu&) = delete;

 private:
  cpu_set_t before_{};
};

struct Scratch {
  Scratch() {
    std::string name = "/dev/shm/tw-vgpu-cell-XXXXXX";
    if (mkdtemp(name.data()) != nullptr) path = name;
  }
  ~Scratch() {
    std::error_code ignored;
    if (!path.empty()) std::filesystem::remove_all(path, ignored);
  }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  std::string path;
};

// The tenants of a cell; ends them when destroyed.
class Tenants {
 public:
  ~Tenants() {
    for (const auto& [pid, slice] : slice_of_) kill(pid, SIGKILL);
    for (const auto& [pid, slice] : slice_of_) waitpid(pid, nullptr, 0);
  }

  bool start(const Built& built, const Cell& cell, size_t slice, uint64_t rank, const std::string& model,
             const nvml::SlicePages& pages) {
    const std::string id = std::to_string(slice);
    const unsigned blocks = cell.sms * kBlocksPerSm / (cell.half ? 2 : 1);
    const uint64_t start_ns = cell.borrow && slice + 1 == cell.caps.size() ? kStartNs + kReturnNs : kStartNs;
    const std::vector<std::string> arguments = {built.tenant(), cell.kind, std::to_string(cell.kernel_ns),
                                                std::to_string(blocks), std::to_string(start_ns)};
    const std::map<std::string, std::string> environment = {
        {"TWEENDECK_SOFTGPU_STATE", model},          {"TWEENDECK_SOFTGPU_RANK", std::to_string(rank)},
        {"LD_LIBRARY_PATH", built.drivers()},        {"LD_PRELOAD", built.library()},
        {TW_VGPU_ENV_LIMITS, pages.limits_path(id)}, {TW_VGPU_ENV_USAGE, pages.usage_path(id)}};
    const pid_t pid = fork();
    if (pid == 0) {
      prctl(PR_SET_PDEATHSIG, SIGKILL);
      std::vector<char*> argv;
      for (const std::string& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
      argv.push_back(nullptr);
      for (const auto& [name, value] : environment) setenv(name.c_str(), value.c_str(), 1);
      execv(argv[0], argv.data());
      _exit(127);
    }
    if (pid > 0) slice_of_[pid] = slice;
    return pid > 0;
  }

  // The slice of a process that runs here; nothing for the others.
  std::optional<size_t> slice_of(uint64_t pid) const {
    const auto found = slice_of_.find(static_cast<pid_t>(pid));
    if (found == slice_of_.end()) return std::nullopt;
    return found->second;
  }

  bool all_run() const {
    for (const auto& [pid, slice] : slice_of_) {
      siginfo_t info{};
      if (waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WNOHANG | WNOWAIT) != 0 || info.si_pid != 0)
        return false;
    }
    return true;
  }

 private:
  std::map<pid_t, size_t> slice_of_;
};

double cpu_seconds() {
  double sum = 0;
  for (const int who : {RUSAGE_SELF, RUSAGE_CHILDREN}) {
    rusage used{};
    getrusage(who, &used);
    for (const timeval& time : {used.ru_utime, used.ru_stime}) {
      sum += static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
    }
  }
  return sum;
}

// Busy time of each slice so far: the sum over its processes, which is their union where kernels run one by
// one.
std::vector<uint64_t> busy_ns(softgpu::Model& model, const Tenants& tenants, size_t slices) {
  std::vector<uint64_t> busy(slices, 0);
  for (const softgpu::ProcessUsage& process : model.usage(0).processes) {
    if (const auto slice = tenants.slice_of(process.pid)) busy[*slice] += process.busy_ns;
  }
  return busy;
}

// The node's part, as the daemon's thread does it.
class Node {
 public:
  Node(const nvml::SlicePages& pages, nvml::Feedback::Measure measure)
      : open_(pages), feedback_(pages, std::move(measure)) {
    open_.refresh();
  }

  // What is due by then; answers when something is due next.
  uint64_t round(uint64_t now_ns) {
    const auto now = static_cast<Nanos>(now_ns);
    if (now >= next_feedback_) {
      feedback_.round(now);
      next_feedback_ = now + nvml::Feedback::kPeriod;
    }
    if (now >= next_lend_) next_lend_ = now + lender_.round(now, open_.all(), {});
    return static_cast<uint64_t>(std::min(next_feedback_, next_lend_));
  }

 private:
  nvml::OpenSlices open_;
  nvml::Feedback feedback_;
  nvml::Lender lender_;
  Nanos next_feedback_ = nvml::Feedback::kPeriod;
  Nanos next_lend_ = device::kBorrowPeriod;
};

// Busy time of each slice at certain moments since the start.
using Looks = std::map<uint64_t, std::vector<uint64_t>>;

double percent(const Looks& looks, size_t slice, uint64_t from_ns, uint64_t to_ns) {
  const uint64_t busy = looks.at(to_ns)[slice] - (from_ns == 0 ? 0 : looks.at(from_ns)[slice]);
  return 100.0 * static_cast<double>(busy) / static_cast<double>(to_ns - from_ns);
}

// The owner has come back: when its first work must have begun.
uint64_t started_by_ns(const Cell& cell) {
  return kReturnNs + std::max(kBorrowerQueueNs, cell.unit_ns()) + 1;
}

Looks moments_of(const Cell& cell) {
  Looks looks;
  for (uint64_t end = kWindowNs; end <= kRunNs; end += kWindowNs) looks[end];
  if (!cell.borrow) return looks;
  const uint64_t floor_from = floor_from_ns(cell);
  for (const uint64_t at : {started_by_ns(cell), floor_from, floor_from + kWindowNs}) looks[at];
  return looks;
}

CellResult summarise(const Cell& cell, const Looks& looks) {
  CellResult result;
  for (size_t i = 0; i < cell.caps.size(); ++i) {
    SliceResult& slice = result.slices.emplace_back();
    slice.mean_percent = percent(looks, i, 0, kRunNs);
    for (uint64_t end = kWindowNs; end <= kRunNs; end += kWindowNs) {
      slice.windows_percent.push_back(percent(looks, i, end - kWindowNs, end));
    }
  }
  if (!cell.borrow) return result;
  const size_t owner = cell.caps.size() - 1;
  const uint64_t floor_from = floor_from_ns(cell);
  BorrowResult& borrow = result.borrow.emplace();
  for (size_t i = 0; i < owner; ++i) borrow.lent_percent += percent(looks, i, kLentFromNs, kReturnNs);
  borrow.started_in_time = looks.at(started_by_ns(cell))[owner] > 0;
  borrow.first_percent = percent(looks, owner, floor_from, floor_from + kWindowNs);
  borrow.rest_percent = percent(looks, owner, floor_from + kWindowNs, kRunNs);
  return result;
}

// Five seconds of virtual time.
std::expected<CellResult, std::string> watch(softgpu::Model& model, softgpu::Client& clock, Node& node,
                                             const Tenants& tenants, const Cell& cell) {
  Looks looks = moments_of(cell);
  uint64_t next_round = 0;
  for (auto& [after_start, busy] : looks) {
    const uint64_t at = kStartNs + after_start;
    while (next_round <= at) {
      clock.sleep_until(next_round);
      next_round = node.round(next_round);
    }
    clock.sleep_until(at);
    if (!tenants.all_run()) return std::unexpected("a tenant ended; what it said is above");
    busy = busy_ns(model, tenants, cell.caps.size());
  }
  CellResult result = summarise(cell, looks);
  result.waits = model.shared().header().wait_serial.load();
  return result;
}

std::expected<CellResult, std::string> run_in(const std::string& folder, const Cell& cell,
                                              const Built& built) {
  const std::string model_path = folder + "/model";
  const auto made =
      softgpu::create_cards(model_path, {.cards = "1:H100-80G@" + std::to_string(cell.sms),
                                         .execution = cell.execution,
                                         .virtual_clock = true,
                                         .start_clients = cell.caps.size() * cell.processes + 1});
  if (!made) return std::unexpected(made.error());
  auto model = softgpu::Model::open(model_path);
  if (!model) return std::unexpected(model.error());
  setenv("TWEENDECK_SOFTGPU_STATE", model_path.c_str(), 1);  // for NVML
  const auto api = nvml::Api::load(built.drivers() + "/libnvidia-ml.so.1");
  if (!api) return std::unexpected(api.error().message);

  const nvml::SlicePages pages(folder + "/pages");
  Tenants tenants;
  uint64_t rank = kNodeRank + 1;
  for (size_t i = 0; i < cell.caps.size(); ++i) {
    Slice slice;
    slice.id = std::to_string(i);
    slice.share.memory_bytes = kSliceMemoryBytes;
    slice.share.compute_percent = cell.caps[i];
    if (cell.borrow) slice.share.ceiling_percent = 100;
    if (const auto written = pages.write(slice, softgpu::uuid_text((*model)->info(0))); !written)
      return std::unexpected(written.error().message);
    for (uint32_t process = 0; process < cell.processes; ++process) {
      if (!tenants.start(built, cell, i, rank++, model_path, pages))
        return std::unexpected(std::strerror(errno));
    }
  }
  Node node(pages, [&](const std::string& uuid, uint64_t since_us) {
    return nvml::utilization(**api, uuid, since_us);
  });
  auto clock = (*model)->attach({.name = "node", .rank = kNodeRank});
  if (!clock) return std::unexpected(clock.error());
  return watch(**model, **clock, node, tenants, cell);
}

}  // namespace

std::expected<CellResult, std::string> run_cell(const Cell& cell, const Built& built) {
  const Scratch scratch;
  if (scratch.path.empty())
    return std::unexpected(std::string("cannot make a folder in /dev/shm: ") + strerror(errno));
  const OneCpu one_cpu;
  const double cpu_before = cpu_seconds();
  alarm(kWallLimitS);
  auto result = run_in(scratch.path, cell, built);
  alarm(0);
  if (result) result->cpu_seconds = cpu_seconds() - cpu_before;
  return result;
}

}  // namespace tweendeck::bench
