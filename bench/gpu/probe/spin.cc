// Kernels of a given length, launched so that the device always has two batches queued, as an engine keeps
// it.
#include <algorithm>
#include <cstdio>
#include <fstream>
#include <vector>

#include "driver.h"
#include "modes.h"

namespace probe {
namespace {

constexpr uint64_t kBatchNs = 2'000'000;
constexpr uint64_t kMostUnits = 64;  // per batch
constexpr uint64_t kGraphKernels = 4;
constexpr uint64_t kLeastUnits = 3;
constexpr uint64_t kRoom = 1 << 20;
constexpr unsigned kThreads = 128;
constexpr int kSmCount = 16;  // device attribute
constexpr int kOffsetTries = 20;
constexpr int kGlobalCapture = 0;
constexpr unsigned kNoTiming = 2;  // event flag

struct Entry {
  uint64_t start, end, own;
};

class Work {
 public:
  explicit Work(const SpinOptions& options)
      : mode_(options.mode), duration_ns_(options.kernel_us * 1000), kernel_(load_kernel()) {
    blocks_ = static_cast<unsigned>(attribute(kSmCount));
    must<void**, unsigned>("cuStreamCreate", &stream_, 1);
    must<uint64_t*, size_t>("cuMemAlloc_v2", &log_, sizeof(uint64_t) + kRoom * sizeof(Entry));
    clear_log();
    measure_offset();
    if (mode_ == "graph" || mode_ == "mixed") make_graph();
  }

  ~Work() { call<uint64_t>("cuMemFree_v2", log_); }
  Work(const Work&) = delete;
  Work& operator=(const Work&) = delete;

  uint64_t unit_ns() const { return mode_ == "graph" ? duration_ns_ * kGraphKernels : duration_ns_; }
  void* stream() const { return stream_; }
  int64_t device_minus_host_ns() const { return offset_ns_; }

  void launch_unit() {
    const bool graph = mode_ == "graph" || (mode_ == "mixed" && turn_ % 2 == 1);
    ++turn_;
    if (graph)
      check("cuGraphLaunch", launch_graph_(graph_exec_, stream_));
    else
      launch_kernel(duration_ns_, log_, mode_ == "cooperative" || (mode_ == "mixed" && turn_ % 4 == 3));
  }

  std::vector<Entry> read_log() const {
    uint64_t count = 0;
    must<void*, uint64_t, size_t>("cuMemcpyDtoH_v2", &count, log_, sizeof(count));
    std::vector<Entry> entries(std::min(count, kRoom));
    if (!entries.empty())
      must<void*, uint64_t, size_t>("cuMemcpyDtoH_v2", entries.data(), log_ + sizeof(count),
                                    entries.size() * sizeof(Entry));
    return entries;
  }

 private:
  void clear_log() { must<uint64_t, unsigned char, size_t>("cuMemsetD8_v2", log_, 0, sizeof(uint64_t)); }

  void launch_kernel(uint64_t duration_ns, uint64_t log, bool cooperative) {
    uint64_t room = kRoom;
    void* arguments[] = {&duration_ns, &log, &room};
    if (cooperative) {
      static auto* const launch =
          function<int(void*, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, void*,
                       void**)>("cuLaunchCooperativeKernel");
      check("cuLaunchCooperativeKernel",
            launch(kernel_, blocks_, 1, 1, kThreads, 1, 1, 0, stream_, arguments));
    } else if (mode_ == "extended") {
      struct {
        unsigned grid[3], block[3], shared_bytes;
        void *stream, *attributes;
        unsigned attribute_count;
      } config = {{blocks_, 1, 1}, {kThreads, 1, 1}, 0, stream_, nullptr, 0};
      static auto* const launch = function<int(const void*, void*, void**, void**)>("cuLaunchKernelEx");
      check("cuLaunchKernelEx", launch(&config, kernel_, arguments, nullptr));
    } else {
      check("cuLaunchKernel",
            launch_(kernel_, blocks_, 1, 1, kThreads, 1, 1, 0, stream_, arguments, nullptr));
    }
  }

  void make_graph() {
    void* graph = nullptr;
    must<void*, int>("cuStreamBeginCapture_v2", stream_, kGlobalCapture);
    for (uint64_t i = 0; i < (mode_ == "graph" ? kGraphKernels : 1); ++i)
      launch_kernel(duration_ns_, log_, false);
    must<void*, void**>("cuStreamEndCapture", stream_, &graph);
    must<void**, void*, unsigned long long>("cuGraphInstantiateWithFlags", &graph_exec_, graph, 0);
    launch_graph_ = function<int(void*, void*)>("cuGraphLaunch");
  }

  // The device's timer beside the host's: of several empty kernels, the one that came back soonest.
  void measure_offset() {
    if (is_software()) return;
    uint64_t best = UINT64_MAX;
    for (int i = 0; i < kOffsetTries; ++i) {
      clear_log();
      must<>("cuCtxSynchronize");
      const uint64_t before = now_ns();
      launch_kernel(0, log_, false);
      must<void*>("cuStreamSynchronize", stream_);
      const uint64_t after = now_ns();
      const std::vector<Entry> entries = read_log();
      if (entries.empty() || after - before >= best) continue;
      best = after - before;
      offset_ns_ = static_cast<int64_t>(entries[0].start) - static_cast<int64_t>(before + best / 2);
    }
    clear_log();
    must<>("cuCtxSynchronize");
  }

  std::string mode_;
  uint64_t duration_ns_;
  void *kernel_, *stream_ = nullptr, *graph_exec_ = nullptr;
  unsigned blocks_ = 1;
  uint64_t log_ = 0, turn_ = 0;
  int64_t offset_ns_ = 0;
  LaunchKernel* launch_ = function<LaunchKernel>("cuLaunchKernel");
  int (*launch_graph_)(void*, void*) = nullptr;
};

// Two batches in flight: the next is queued before the one before last is waited for.
class Batches {
 public:
  explicit Batches(Work& work)
      : work_(work),
        // One by one where the end of a batch is all that is known of its kernels.
        units_(is_software()
                   ? 1
                   : std::clamp<uint64_t>(kBatchNs / std::max<uint64_t>(work.unit_ns(), 1), 1, kMostUnits)) {
    for (void*& event : events_)
      must<void**, unsigned>("cuEventCreate", &event, is_software() ? 0 : kNoTiming);
    if (!is_software()) return;
    must<void**, unsigned>("cuEventCreate", &base_, 0);
    must<void*, void*>("cuEventRecord", base_, work_.stream());
    must<void*>("cuEventSynchronize", base_);
    base_ns_ = now_ns();
  }

  void go() {
    for (uint64_t i = 0; i < units_; ++i) work_.launch_unit();
    check("cuEventRecord", record_(events_[queued_ % 2], work_.stream()));
    if (++queued_ > done_ + 1) wait();
  }
  void drain() {
    while (done_ < queued_) wait();
  }
  uint64_t units() const { return done_ * units_; }
  const std::vector<Entry>& reckoned() const { return reckoned_; }

 private:
  void wait() {
    void* event = events_[done_++ % 2];
    check("cuEventSynchronize", synchronize_(event));
    if (!is_software()) return;
    // Its kernels write nothing: what they would have is reckoned from when they ended.
    float elapsed_ms = 0;
    must<float*, void*, void*>("cuEventElapsedTime", &elapsed_ms, base_, event);
    const uint64_t end = base_ns_ + static_cast<uint64_t>(static_cast<double>(elapsed_ms) * 1e6);
    reckoned_.push_back({end - work_.unit_ns(), end, work_.unit_ns()});
  }

  Work& work_;
  uint64_t units_, queued_ = 0, done_ = 0;
  uint64_t base_ns_ = 0;
  void *events_[2] = {}, *base_ = nullptr;
  std::vector<Entry> reckoned_;
  int (*record_)(void*, void*) = function<int(void*, void*)>("cuEventRecord");
  int (*synchronize_)(void*) = function<int(void*)>("cuEventSynchronize");
};

double saturated_percent(const SpinOptions& options) {
  Work work(options);
  Batches batches(work);
  const uint64_t end = now_ns() + static_cast<uint64_t>(options.seconds * 1e9);
  while (now_ns() < end || batches.units() < kLeastUnits) batches.go();
  batches.drain();
  const std::vector<Entry> entries = is_software() ? batches.reckoned() : work.read_log();
  double own = 0;
  for (const Entry& entry : entries) own += static_cast<double>(entry.own);
  return entries.empty() ? 0 : 100 * own / static_cast<double>(entries.back().end - entries.front().start);
}

}  // namespace

int saturate(double seconds, const std::vector<std::string>& kernels_us) {
  for (const char* mode : {"plain", "graph", "cooperative", "extended", "mixed"}) {
    for (const std::string& kernel_us : kernels_us) {
      const double percent = saturated_percent({mode, seconds, std::stoull(kernel_us), 0, 0, ""});
      std::printf("{\"mode\": \"%s\", \"kernel_us\": %s, \"percent\": %.3f}\n", mode, kernel_us.c_str(),
                  percent);
    }
  }
  return 0;
}

int spin(const SpinOptions& options) {
  Work work(options);
  Batches batches(work);
  std::vector<uint64_t> bursts;
  const auto ns = [](double ms) { return static_cast<uint64_t>(ms * 1e6); };
  const uint64_t started = now_ns(), end = started + ns(options.seconds * 1e3);
  while (now_ns() < end) {
    const uint64_t burst = now_ns();
    bursts.push_back(burst);
    const uint64_t until = options.off_ms > 0 ? std::min(end, burst + ns(options.on_ms)) : end;
    while (now_ns() < until) batches.go();
    batches.drain();
    if (options.off_ms > 0) sleep_until_ns(std::min(end, now_ns() + ns(options.off_ms)));
  }
  const uint64_t ended = now_ns();
  const std::vector<Entry> entries = is_software() ? batches.reckoned() : work.read_log();
  std::ofstream(options.log, std::ios::binary)
      .write(reinterpret_cast<const char*>(entries.data()),
             static_cast<std::streamsize>(entries.size() * sizeof(Entry)));
  std::printf(
      "{\"units\": %llu, \"unit_ns\": %llu, \"started_ns\": %llu, \"ended_ns\": %llu, "
      "\"device_minus_host_ns\": %lld, \"bursts\": [",
      static_cast<unsigned long long>(batches.units()), static_cast<unsigned long long>(work.unit_ns()),
      static_cast<unsigned long long>(started), static_cast<unsigned long long>(ended),
      static_cast<long long>(work.device_minus_host_ns()));
  for (size_t i = 0; i < bursts.size(); ++i)
    std::printf("%s%llu", i ? ", " : "", static_cast<unsigned long long>(bursts[i]));
  std::printf("]}\n");
  return 0;
}

}  // namespace probe
