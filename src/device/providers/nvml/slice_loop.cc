#include "device/providers/nvml/slice_loop.h"

#include <time.h>

#include <algorithm>
#include <chrono>
#include <cstring>

#include "device/providers/nvml/tenants.h"

namespace tweendeck::device::nvml {
namespace {

uint64_t thread_cpu_ns() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000u + static_cast<uint64_t>(now.tv_nsec);
}

}  // namespace

SliceLoop::SliceLoop(SlicePages pages, Driver driver)
    : pages_(std::move(pages)),
      driver_(std::move(driver)),
      open_(pages_),
      membership_(pages_),
      feedback_(pages_, driver_.utilization) {
  feedback_.observe(
      [this](const std::string& uuid, const UtilizationAccount::Round& round) { account(uuid, round); });
  thread_ = std::thread([this] { run(); });
}

SliceLoop::~SliceLoop() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  wake_.notify_all();
  thread_.join();
}

std::vector<Finding> SliceLoop::findings() const {
  const std::lock_guard lock(mutex_);
  return findings_;
}

void SliceLoop::expect_limits(const std::string& slice_id, const tw_vgpu_limit_set& set) {
  const std::lock_guard lock(mutex_);
  expected_[slice_id] = set;
}

void SliceLoop::forget(const std::string& slice_id) {
  const std::lock_guard lock(mutex_);
  expected_.erase(slice_id);
}

void SliceLoop::run() {
  std::unique_lock lock(mutex_);
  while (!stop_) {
    lock.unlock();
    const Nanos until_next = round(clock_.now());
    cpu_ns_.store(thread_cpu_ns());
    opened_.store(open_.opened());
    rounds_.fetch_add(1);
    lock.lock();
    wake_.wait_for(lock, std::chrono::nanoseconds(until_next), [this] { return stop_; });
  }
}

// Whatever is due; answers how long nothing is.
Nanos SliceLoop::round(Nanos now) {
  if (now >= next_measure_) {
    open_.refresh();
    measure(now);
    next_measure_ = now + kMeasurePeriod;
  }
  if (open_.all().empty() && open_.broken().empty() && devices_.empty()) return kMeasurePeriod;
  if (now >= next_watch_) {
    watch(now);
    next_watch_ = now + kWatchPeriod;
  }
  if (now >= next_lend_) next_lend_ = now + lender_.round(now, open_.all(), outside_permille_);
  return std::max<Nanos>(kMillisecond, std::min({next_measure_, next_watch_, next_lend_}) - clock_.now());
}

// Busy time goes to the slice that a process belongs to, with a slot or without; the rest is nobody's.
void SliceLoop::account(const std::string& uuid, const UtilizationAccount::Round& round) {
  std::vector<const OpenSlice*> slices;
  for (const auto& [id, slice] : open_.all()) slices.push_back(slice.get());
  uint32_t outside_percent = 0;
  for (const auto& [pid, busy] : round.busy_ns) {
    const std::string slice = membership_.slice_of(pid, slices);
    if (!slice.empty()) {
      busy_ns_[slice] += busy;
    } else if (const auto found = round.percent.find(pid); found != round.percent.end()) {
      outside_percent += found->second;
    }
  }
  outside_permille_[uuid] = std::min(outside_percent * 10, kWholePermille);
}

void SliceLoop::measure(Nanos now) {
  membership_.prune();
  std::erase_if(busy_ns_, [&](const auto& entry) { return !open_.all().contains(entry.first); });
  for (const auto& [id, slice] : open_.all()) devices_.insert(slice->device_uuid());
  feedback_.round(now);
}

bool SliceLoop::check_limits(const OpenSlice& slice) {
  tw_vgpu_limit_set expected, now;
  {
    const std::lock_guard lock(mutex_);
    const auto found = expected_.find(slice.id());
    if (found == expected_.end()) return true;
    expected = found->second;
  }
  if (slice.read_limits(now) && std::memcmp(&now, &expected, sizeof(now)) == 0) return true;
  {
    // A change of the node's own in between is none.
    const std::lock_guard lock(mutex_);
    const auto found = expected_.find(slice.id());
    if (found == expected_.end() || std::memcmp(&found->second, &expected, sizeof(expected)) != 0)
      return true;
    slice.restore_limits(expected);
  }
  return false;
}

void SliceLoop::watch(Nanos now) {
  std::vector<const OpenSlice*> slices;
  std::vector<WatchedSlice> watched;
  for (const auto& [id, slice] : open_.all()) {
    slices.push_back(slice.get());
    WatchedSlice one;
    one.id = id;
    one.limits_intact = check_limits(*slice);
    one.usage_intact = slice->usage_in_place() && slice->read_watched(one);
    one.driver_busy_ns = busy_ns_[id];
    one.share_permille = lender_.take_most_share(id);
    watched.push_back(std::move(one));
  }
  for (const std::string& id : open_.broken()) {
    WatchedSlice one;
    one.id = id;
    one.usage_intact = false;
    watched.push_back(std::move(one));
  }
  std::vector<WatchedProcess> processes;
  for (const std::string& uuid : devices_) {
    const Result<std::vector<Process>> listed = driver_.processes(uuid);
    if (!listed) continue;
    for (const Process& process : *listed) {
      if (!start_ticks(process.pid)) continue;  // it has just ended
      WatchedProcess one;
      one.pid = process.pid;
      one.device = uuid;
      one.driver_bytes = process.memory_bytes;
      one.slice = membership_.slice_of(process.pid, slices);
      const auto home = open_.all().find(one.slice);
      if (home != open_.all().end()) {
        if (const auto slot = membership_.slot_of(process.pid, *home->second)) {
          one.has_slot = true;
          one.booked_bytes = slot->booked_bytes;
          one.context_is_booked = slot->context_is_booked;
          one.library_abi = slot->library_abi;
        }
      }
      processes.push_back(std::move(one));
    }
  }
  std::vector<Finding> found = watch_.look(now, processes, watched);
  const std::lock_guard lock(mutex_);
  findings_ = std::move(found);
}

}  // namespace tweendeck::device::nvml
