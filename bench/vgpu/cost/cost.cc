// What the vgpu library adds to a driver call, measured as a difference in one process: short batches of the
// driver's own function and of the one that the process would find take turns. Others use the machine, too, so
// of each side the quiet rounds count: the figure that an eighth of its rounds stay below.
//
//   vgpu_cost pages DIR UUID BYTES PERMILLE   writes the two pages of a slice (UUID: 32 hex digits)
//   vgpu_cost launch THREADS | newest LIVE | random LIVE [table] | info
//                                             one JSON object: bare, added ns per call (per pair for memory);
//                                             table: a bare hash table's erase + insert takes turns with them
//   vgpu_cost count CASE LIVE ours|bare N     N calls inside count_these(), for an instruction counter
//   vgpu_cost init                            ns of cuInit in this process
//   vgpu_cost starts N                        N processes that start at once: ns until all have called cuInit and
//                                             ended, and the slowest cuInit
#include <dlfcn.h>
#include <fcntl.h>
#include <spawn.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "bare_table.h"
#include "vgpu/page.h"

namespace {

constexpr int kRounds = 4000;
constexpr double kLongestNs = 20e9;  // fewer rounds on a machine that has much else to do
constexpr size_t kQuietPart = 8;
constexpr int kSpins = 2000;
constexpr uint64_t kBytes = 4096;
constexpr uint32_t kRandomBatch = 1024;
constexpr uint32_t kLaunchBatch = 20'000;
constexpr uint32_t kPairBatch = 2'000;
constexpr uint64_t kBinding = 0x5eed;

using Alloc = int(uint64_t*, size_t);
using Free = int(uint64_t);
using Info = int(size_t*, size_t*);
using Launch = int(void*, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, void*, void**,
                   void**);

[[noreturn]] void stop(const char* what, const char* about) {
  std::fprintf(stderr, "vgpu_cost: %s%s\n", what, about);
  std::exit(1);
}

double now_ns() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<double>(now.tv_sec) * 1e9 + static_cast<double>(now.tv_nsec);
}

void* driver() {
  static void* const library = dlopen("libcuda.so.1", RTLD_NOW);
  if (library == nullptr) stop("no driver: ", dlerror());
  return library;
}

template <class F>
F* found(const char* name) {
  void* address = dlsym(driver(), name);
  if (address == nullptr) stop("the driver has no ", name);
  return reinterpret_cast<F*>(address);
}

template <class F>
F* bare(const char* name) {
  return reinterpret_cast<F*>(found<void*(const char*)>("tw_null_call")(name));
}

void start_driver() {
  void* context = nullptr;
  if (found<int(unsigned)>("cuInit")(0) != 0) stop("cuInit failed", "");
  if (found<int(void**, int)>("cuDevicePrimaryCtxRetain")(&context, 0) != 0) stop("no context", "");
  if (found<int(void*)>("cuCtxSetCurrent")(context) != 0) stop("the context cannot be made current", "");
}

void write_file(const std::string& path, const void* data, size_t size) {
  const int fd = open(path.c_str(), O_CREAT | O_WRONLY | O_TRUNC | O_CLOEXEC, 0600);
  if (fd < 0 || write(fd, data, size) != static_cast<ssize_t>(size)) stop("cannot write ", path.c_str());
  close(fd);
}

int pages(const std::string& directory, const std::string& uuid, uint64_t bytes, uint32_t permille) {
  if (uuid.size() != 32) stop("not 32 hex digits: ", uuid.c_str());
  auto limits = std::make_unique<tw_vgpu_limits_page>();
  auto usage = std::make_unique<tw_vgpu_usage_page>();
  tw_vgpu_init_pages(limits.get(), usage.get(), kBinding);
  limits->sets[0].device_count = 1;
  tw_vgpu_device_limit& device = limits->sets[0].devices[0];
  for (size_t i = 0; i < sizeof(device.uuid); ++i)
    device.uuid[i] = static_cast<uint8_t>(std::stoul(uuid.substr(2 * i, 2), nullptr, 16));
  device.memory_bytes = bytes;
  device.compute_floor_permille = device.compute_ceiling_permille = permille;
  mkdir(directory.c_str(), 0700);
  write_file(directory + "/limits", limits.get(), sizeof(*limits));
  write_file(directory + "/usage", usage.get(), sizeof(*usage));
  return 0;
}

// One side of a comparison: `run` makes `calls` calls.
using Batch = std::function<void(uint32_t calls)>;

double quiet(std::vector<double> values) {
  const auto at = static_cast<long>(values.size() / kQuietPart);
  std::nth_element(values.begin(), values.begin() + at, values.end());
  return values[static_cast<size_t>(at)];
}

double timed(const Batch& batch, uint32_t calls) {
  const double started = now_ns();
  batch(calls);
  return (now_ns() - started) / calls;
}

// One JSON object: what the first side takes, and what the second takes more.
void report(const std::vector<double>& bare_ns, const std::vector<double>& ours_ns,
            const std::string& more = "") {
  const double bare = quiet(bare_ns);
  std::printf("{\"bare_ns\": %.2f, \"added_ns\": %.2f%s}\n", bare, quiet(ours_ns) - bare, more.c_str());
}

// The sides take turns; ns per call of each round.
std::vector<std::vector<double>> take_turns(const std::vector<Batch>& sides, uint32_t calls) {
  std::vector<std::vector<double>> all(sides.size());
  for (const Batch& side : sides) side(calls);
  const double until = now_ns() + kLongestNs;
  for (int round = 0; round < kRounds && now_ns() < until; ++round) {
    for (size_t i = 0; i < sides.size(); ++i) all[i].push_back(timed(sides[i], calls));
  }
  return all;
}

int compare(const Batch& without, const Batch& with, uint32_t calls) {
  const auto all = take_turns({without, with}, calls);
  report(all[0], all[1]);
  return 0;
}

Batch launches(Launch* launch) {
  static char kernel = 0;  // any address names a kernel to a driver that runs none
  return [launch](uint32_t calls) {
    for (uint32_t i = 0; i < calls; ++i) {
      if (launch(&kernel, 64, 1, 1, 256, 1, 1, 0, nullptr, nullptr, nullptr) != 0)
        stop("a launch failed", "");
    }
  };
}

// All threads measure the same side at the same time: a barrier holds them together, which seldom sleeps.
int compare_threads(uint32_t threads, const Batch& without, const Batch& with, uint32_t calls) {
  std::atomic<uint32_t> arrived = 0;
  std::atomic<bool> late = false;
  const double until = now_ns() + kLongestNs;
  const auto meet = [&](uint32_t turn) {
    ++arrived;
    for (int spins = 0; arrived < turn * threads; ++spins) {
      if (spins > kSpins) std::this_thread::yield();
    }
  };
  std::vector<std::vector<double>> bare_ns(threads), ours_ns(threads);
  std::vector<std::thread> running;
  for (uint32_t me = 0; me < threads; ++me) {
    running.emplace_back([&, me] {
      uint32_t turn = 0;
      timed(with, calls);
      for (int round = 0; round < kRounds; ++round) {
        if (me == 0) late = now_ns() > until;
        meet(++turn);
        if (late) break;
        bare_ns[me].push_back(timed(without, calls));
        meet(++turn);
        ours_ns[me].push_back(timed(with, calls));
      }
    });
  }
  for (std::thread& thread : running) thread.join();
  for (uint32_t i = 1; i < threads; ++i) {
    bare_ns[0].insert(bare_ns[0].end(), bare_ns[i].begin(), bare_ns[i].end());
    ours_ns[0].insert(ours_ns[0].end(), ours_ns[i].begin(), ours_ns[i].end());
  }
  report(bare_ns[0], ours_ns[0]);
  return 0;
}

std::vector<uint64_t> fill(Alloc* alloc, uint32_t live) {
  std::vector<uint64_t> addresses(live);
  for (uint64_t& address : addresses) {
    if (alloc(&address, kBytes) != 0) stop("an allocation was refused", "");
  }
  return addresses;
}

Batch newest(Alloc* alloc, Free* release) {
  return [=](uint32_t calls) {
    for (uint32_t i = 0; i < calls; ++i) {
      uint64_t address = 0;
      if (alloc(&address, kBytes) != 0 || release(address) != 0) stop("an allocation failed", "");
    }
  };
}

// Frees `calls` random ones of the live, then allocates as many. Both sides draw from the same stream.
Batch random_pairs(Alloc* alloc, Free* release, std::vector<uint64_t>& live) {
  auto random = std::make_shared<std::minstd_rand>(1);
  return [=, &live](uint32_t calls) {
    for (uint32_t i = 0; i < calls; ++i) {
      std::swap(live[(*random)() % (live.size() - i)], live[live.size() - 1 - i]);
      if (release(live[live.size() - 1 - i]) != 0) stop("a free failed", "");
    }
    for (uint32_t i = 0; i < calls; ++i) {
      if (alloc(&live[live.size() - 1 - i], kBytes) != 0) stop("an allocation was refused", "");
    }
  };
}

struct Case {
  Batch without, with;
  uint32_t batch;
};

Case make_case(const std::string& name, uint32_t live, std::vector<uint64_t>& ours,
               std::vector<uint64_t>& theirs) {
  if (name == "launch")
    return {launches(bare<Launch>("cuLaunchKernel")), launches(found<Launch>("cuLaunchKernel")),
            kLaunchBatch};
  if (name == "info") {
    const auto ask = [](Info* info) {
      return [info](uint32_t calls) {
        size_t free_bytes = 0, total = 0;
        for (uint32_t i = 0; i < calls; ++i) info(&free_bytes, &total);
      };
    };
    return {ask(bare<Info>("cuMemGetInfo_v2")), ask(found<Info>("cuMemGetInfo_v2")), kPairBatch};
  }
  auto* const our_alloc = found<Alloc>("cuMemAlloc_v2");
  auto* const our_free = found<Free>("cuMemFree_v2");
  auto* const bare_alloc = bare<Alloc>("cuMemAlloc_v2");
  auto* const bare_free = bare<Free>("cuMemFree_v2");
  ours = fill(our_alloc, live);
  if (name == "newest") return {newest(bare_alloc, bare_free), newest(our_alloc, our_free), kPairBatch};
  if (name != "random") stop("no such case: ", name.c_str());
  theirs = fill(bare_alloc, live);
  return {random_pairs(bare_alloc, bare_free, theirs), random_pairs(our_alloc, our_free, ours),
          std::min(kRandomBatch, live)};
}

// Frees and allocates like random_pairs(), in a table and nowhere else.
Batch table_pairs(BareTable& table, std::vector<uint64_t>& keys) {
  auto random = std::make_shared<std::minstd_rand>(1);
  return [=, &table, &keys](uint32_t calls) {
    for (uint32_t i = 0; i < calls; ++i) {
      std::swap(keys[(*random)() % (keys.size() - i)], keys[keys.size() - 1 - i]);
      if (!table.erase(keys[keys.size() - 1 - i])) stop("a key is missing", "");
    }
    for (uint32_t i = 0; i < calls; ++i) table.insert(keys[keys.size() - 1 - i], {i, i, i});
  };
}

int beside_table(uint32_t live) {
  std::vector<uint64_t> ours, theirs;
  const Case it = make_case("random", live, ours, theirs);
  BareTable entries(live);
  std::vector<uint64_t> keys = theirs;
  for (const uint64_t key : keys) entries.insert(key, {key, key, key});
  const auto all = take_turns({it.without, it.with, table_pairs(entries, keys)}, it.batch);
  report(all[0], all[1], ", \"table_ns\": " + std::to_string(quiet(all[2])));
  return 0;
}

double init_ns() {
  auto* const start = found<int(unsigned)>("cuInit");
  const double started = now_ns();
  if (start(0) != 0) stop("cuInit failed", "");
  return now_ns() - started;
}

int init() {
  std::printf("{\"init_ns\": %.0f}\n", init_ns());
  return 0;
}

// The other side of starts(): tells the figure on the pipe that it has as standard output.
int init_told() {
  const double spent = init_ns();
  return write(STDOUT_FILENO, &spent, sizeof(spent)) == sizeof(spent) ? 0 : 1;
}

int starts(uint32_t count) {
  int told[2];
  if (pipe(told) != 0) stop("no pipe", "");
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, told[1], STDOUT_FILENO);
  char program[] = "/proc/self/exe", mode[] = "init-told";
  char* const args[] = {program, mode, nullptr};
  std::vector<pid_t> pids(count);
  const double started = now_ns();
  for (pid_t& pid : pids) {
    if (posix_spawn(&pid, program, &actions, nullptr, args, environ) != 0) stop("cannot start ", program);
  }
  double slowest = 0;
  for (const pid_t pid : pids) {
    int status = 0;
    double spent = 0;
    if (waitpid(pid, &status, 0) != pid || status != 0) stop("a process failed", "");
    if (read(told[0], &spent, sizeof(spent)) == sizeof(spent)) slowest = std::max(slowest, spent);
  }
  std::printf("{\"all_ns\": %.0f, \"slowest_ns\": %.0f}\n", now_ns() - started, slowest);
  return 0;
}

}  // namespace

extern "C" __attribute__((noinline)) void count_these(const Batch* batch, uint32_t calls) {
  (*batch)(calls);
}

int main(int count, char** words) {
  const std::vector<std::string> args(words + 1, words + count);
  const auto number = [&](size_t i) { return static_cast<uint32_t>(std::stoul(args.at(i))); };
  if (args.empty()) stop("see the head of cost.cc for the modes", "");
  if (args[0] == "pages") return pages(args.at(1), args.at(2), std::stoull(args.at(3)), number(4));
  if (args[0] == "init") return init();
  if (args[0] == "init-told") return init_told();
  if (args[0] == "starts") return starts(number(1));
  start_driver();
  if (args.size() > 2 && args[2] == "table") return beside_table(number(1));
  std::vector<uint64_t> ours, theirs;
  if (args[0] == "count") {
    const Case it = make_case(args.at(1), number(2), ours, theirs);
    const Batch& side = args.at(3) == "ours" ? it.with : it.without;
    side(std::min(number(4), it.batch));
    count_these(&side, number(4));
    return 0;
  }
  const uint32_t size = args.size() > 1 ? number(1) : 1;
  const Case it = make_case(args[0], size, ours, theirs);
  if (args[0] == "launch" && size > 1) return compare_threads(size, it.without, it.with, it.batch);
  return compare(it.without, it.with, it.batch);
}
