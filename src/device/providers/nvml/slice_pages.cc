#include "device/providers/nvml/slice_pages.h"

#include <fcntl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <optional>
#include <utility>

#include "device/providers/nvml/gpu_uuid.h"
#include "device/providers/nvml/guarded.h"
#include "device/providers/nvml/page_files.h"
#include "device/slice_table.h"

namespace tweendeck::device::nvml {
namespace {

constexpr mode_t kLimitsMode = 0644;
constexpr mode_t kUsageMode = 0666;
constexpr mode_t kFolderMode = 0700;
constexpr int kReadTries = 1000;
constexpr uint32_t kPermillePerPercent = 10;

static_assert(kMaxSliceIdBytes < sizeof(tw_vgpu_limits_page::slice_id));

Result<uint64_t> random_binding() {
  uint64_t value = 0;
  while (value == 0) {
    if (getrandom(&value, sizeof(value), 0) != sizeof(value))
      return fail(system_error(errno, "getrandom failed"));
  }
  return value;
}

// Which boot this is: pids and times of another one mean nothing now.
uint64_t boot() {
  std::ifstream in("/proc/sys/kernel/random/boot_id");
  std::string text;
  in >> text;
  std::erase(text, '-');
  return text.size() < 16 ? 1 : std::stoull(text.substr(0, 16), nullptr, 16);
}

tw_vgpu_limit_set limit_set(const Slice& slice, const uint8_t (&uuid)[16]) {
  const Share& share = slice.share;
  tw_vgpu_limit_set set{};
  set.device_count = 1;
  tw_vgpu_device_limit& limit = set.devices[0];
  std::memcpy(limit.uuid, uuid, sizeof(uuid));
  limit.memory_bytes = share.memory_bytes;
  limit.compute_floor_permille = share.compute_percent * kPermillePerPercent;
  limit.compute_ceiling_permille =
      std::max(share.ceiling_percent * kPermillePerPercent, limit.compute_floor_permille);
  limit.weight = share.weight == 0 ? share.compute_percent : share.weight;
  limit.priority = share.priority;
  limit.memory_wait_ms = share.memory_wait_ms;
  limit.flags = slice.paused ? uint32_t{TW_VGPU_FLAG_PAUSED} : 0;
  return set;
}

bool same(const tw_vgpu_limit_set& a, const tw_vgpu_limit_set& b) {
  return std::memcmp(&a, &b, sizeof(a)) == 0;
}

bool valid(const tw_vgpu_limits_page& page, std::string_view slice_id) {
  return page.magic == TW_VGPU_LIMITS_MAGIC && page.abi == TW_VGPU_ABI && page.size == sizeof(page) &&
         page.binding != 0 &&
         slice_id == std::string_view(page.slice_id, strnlen(page.slice_id, sizeof(page.slice_id)));
}

bool valid(const tw_vgpu_usage_page& page, uint64_t binding) {
  return page.magic == TW_VGPU_USAGE_MAGIC && page.abi == TW_VGPU_ABI && page.size == sizeof(page) &&
         page.binding == binding;
}

Status create_limits(const std::string& path, std::string_view slice_id, const tw_vgpu_limit_set& set,
                     uint64_t binding) {
  tw_vgpu_limits_page page{};
  const tw_vgpu_page_head head = tw_vgpu_limits_head(binding);
  std::memcpy(static_cast<void*>(&page), &head, sizeof(head));
  page.boot = boot();
  slice_id.copy(page.slice_id, sizeof(page.slice_id) - 1);
  page.sets[0] = set;
  return replace_file(path, &page, sizeof(page), sizeof(page), kLimitsMode);
}

Status create_usage(const std::string& path, uint64_t binding) {
  const tw_vgpu_page_head head = tw_vgpu_usage_head(binding);
  return replace_file(path, &head, sizeof(head), head.size, kUsageMode);
}

// The binding of the limits page that is there now, with `set` in force; nothing when there is no usable
// page.
std::optional<uint64_t> update_limits(const std::string& path, std::string_view slice_id,
                                      const tw_vgpu_limit_set& set) {
  const auto page = Mapped<tw_vgpu_limits_page>::open(path, true);
  if (!page || !valid(**page, slice_id) || (*page)->boot != boot()) return std::nullopt;
  tw_vgpu_limit_set now;
  uint64_t generation = 0;
  if (!tw_vgpu_read_limits(page->get(), &now, &generation, kReadTries)) return std::nullopt;
  if (!same(now, set)) tw_vgpu_publish_limits(page->get(), &set);
  return (*page)->binding;
}

Error cut_short(const std::string& path) {
  return {Reason::PageTampered, path + " was cut short by somebody in the slice",
          "stop what runs in the slice"};
}

}  // namespace

Result<tw_vgpu_limit_set> SlicePages::write(const Slice& slice, std::string_view device_uuid) const {
  if (Status status = check_slice_id(slice.id); !status) return fail(status.error());
  uint8_t uuid[16];
  if (!parse_uuid(device_uuid, uuid)) {
    return fail(Reason::InvalidArgument, "'" + std::string(device_uuid) + "' is not a GPU's UUID");
  }
  std::error_code error;
  std::filesystem::create_directories(root_, error);
  if (error) return fail(system_error(error.value(), "cannot create " + root_));
  if (::mkdir(folder(slice.id).c_str(), kFolderMode) != 0 && errno != EEXIST) {
    return fail(system_error(errno, "cannot create " + folder(slice.id)));
  }
  const tw_vgpu_limit_set set = limit_set(slice, uuid);
  std::optional<uint64_t> binding = update_limits(limits_path(slice.id), slice.id, set);
  if (!binding) {
    const Result<uint64_t> fresh = random_binding();
    if (!fresh) return fail(fresh.error());
    binding = *fresh;
    if (Status status = create_limits(limits_path(slice.id), slice.id, set, *binding); !status)
      return fail(status.error());
  }
  const auto usage = Mapped<tw_vgpu_usage_page>::open(usage_path(slice.id), false);
  bool fits = false;
  if (usage) guarded([&] { fits = valid(**usage, *binding); });
  if (!fits) {
    if (Status status = create_usage(usage_path(slice.id), *binding); !status) return fail(status.error());
  }
  const Result<tw_vgpu_limit_set> read_back = limits(slice.id);
  if (!read_back) return fail(read_back.error());
  if (!same(*read_back, set)) {
    return fail(Reason::LimitsNotEnforced, limits_path(slice.id) + " does not hold what was written",
                "check the disk");
  }
  return set;
}

Status SlicePages::remove(std::string_view slice_id) const {
  if (Status status = check_slice_id(slice_id); !status) return status;
  std::error_code error;
  std::filesystem::remove_all(folder(slice_id), error);
  if (error) return fail(system_error(error.value(), "cannot remove " + folder(slice_id)));
  return {};
}

Result<std::vector<std::string>> SlicePages::list() const {
  std::vector<std::string> ids;
  std::error_code error;
  for (std::filesystem::directory_iterator it(root_, error), end; !error && it != end; it.increment(error)) {
    std::string name = it->path().filename().string();
    if (check_slice_id(name)) ids.push_back(std::move(name));
  }
  if (error && error != std::errc::no_such_file_or_directory) {
    return fail(system_error(error.value(), "cannot list " + root_));
  }
  return ids;
}

Result<tw_vgpu_limit_set> SlicePages::limits(std::string_view slice_id) const {
  if (Status status = check_slice_id(slice_id); !status) return fail(status.error());
  const auto page = Mapped<tw_vgpu_limits_page>::open(limits_path(slice_id), false);
  if (!page) return fail(page.error());
  tw_vgpu_limit_set set;
  uint64_t generation = 0;
  if (!valid(**page, slice_id) || !tw_vgpu_read_limits(page->get(), &set, &generation, kReadTries)) {
    return fail(Reason::StateCorrupt,
                limits_path(slice_id) + " is not a limits page of slice " + std::string(slice_id));
  }
  return set;
}

Result<UsageReading> SlicePages::usage(std::string_view slice_id) const {
  if (Status status = check_slice_id(slice_id); !status) return fail(status.error());
  const auto page = Mapped<tw_vgpu_usage_page>::open(usage_path(slice_id), false);
  if (!page) return fail(page.error());
  const tw_vgpu_usage_page& usage = **page;
  const tw_vgpu_device_usage& device = usage.devices[0];
  UsageReading reading;
  Owner owners[TW_VGPU_MAX_SLOTS];
  uint32_t count = 0;
  const bool whole = guarded([&] {
    tw_vgpu_memory_claimed(&usage, 0, &reading.memory_bytes);
    reading.memory_peak_bytes = tw_vgpu_load(&device.memory_peak_bytes);
    reading.charged_ns = tw_vgpu_load(&device.charged_ns);
    reading.throttled_ns = tw_vgpu_load(&device.throttled_ns);
    for (const uint64_t& refused : device.refused) reading.refused += tw_vgpu_load(&refused);
    reading.paused_ns = tw_vgpu_load(&device.paused_ns);
    reading.borrowed_ns = tw_vgpu_load(&device.borrowed_ns);
    reading.launches = tw_vgpu_load(&device.launches);
    for (size_t kind = 0; kind < TW_VGPU_KINDS; ++kind)
      reading.allocations_by_kind[kind] = tw_vgpu_load(&device.allocations[kind]);
    for (uint32_t i = 0; i < tw_vgpu_slot_bound(&usage); ++i) {
      owners[count] = tw_vgpu_load(&usage.slots[i].owner);
      if (owners[count] == 0) continue;
      ++count;
      for (size_t kind = 0; kind < TW_VGPU_KINDS; ++kind)
        reading.used_by_kind[kind] += tw_vgpu_load(&usage.books[0][i].by_kind[kind]);
    }
  });
  if (!whole) return fail(cut_short(usage_path(slice_id)));
  for (uint32_t i = 0; i < count; ++i) reading.pids.push_back(tw_vgpu_owner_pid(owners[i]));
  return reading;
}

Result<std::vector<Owner>> SlicePages::reclaim(std::string_view slice_id,
                                               const std::function<bool(Owner)>& alive) const {
  if (Status status = check_slice_id(slice_id); !status) return fail(status.error());
  const auto page = Mapped<tw_vgpu_usage_page>::open(usage_path(slice_id), true);
  if (!page) return fail(page.error());
  struct stat name_space{};
  if (::stat("/proc/self/ns/pid", &name_space) != 0)
    return fail(system_error(errno, "cannot read /proc/self/ns/pid"));
  const Marks marks(usage_path(slice_id));
  std::vector<Owner> living;
  uint32_t bound = 0;
  bool whole = guarded([&] { bound = tw_vgpu_slot_bound(page->get()); });
  for (uint32_t i = 0; whole && i < bound; ++i) {
    uint64_t* word = &(*page)->slots[i].owner;
    Owner owner = 0;
    uint64_t theirs = 0, marked = 0;
    whole = guarded([&] {
      marked = (*page)->slots[i].marked;
      owner = tw_vgpu_load(word);
      theirs = tw_vgpu_load(&(*page)->slots[i].pid_namespace);
    });
    if (owner == 0) continue;
    const std::optional<bool> held = marks.held(i);
    // Without a mark the pid decides, and one of another namespace cannot be judged from here.
    const bool lives =
        held && (*held || marked != 0) ? *held : (theirs != 0 && theirs != name_space.st_ino) || alive(owner);
    if (lives) {
      living.push_back(owner);
    } else {
      whole = guarded(
          [&] { __atomic_compare_exchange_n(word, &owner, 0, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST); });
    }
  }
  if (!whole) return fail(cut_short(usage_path(slice_id)));
  return living;
}

Status SlicePages::write_feedback(std::string_view slice_id, const tw_vgpu_feedback& feedback,
                                  Nanos now) const {
  if (Status status = check_slice_id(slice_id); !status) return status;
  const auto page = Mapped<tw_vgpu_limits_page>::open(limits_path(slice_id), true);
  if (!page) return fail(page.error());
  tw_vgpu_feedback& out = (*page)->feedback[0];
  tw_vgpu_store(&out.stamp_ns, static_cast<uint64_t>(now));
  tw_vgpu_store(&out.slice_busy_ns, feedback.slice_busy_ns);
  tw_vgpu_store(&out.others_permille, feedback.others_permille);
  tw_vgpu_store(&out.sequence, tw_vgpu_load(&out.sequence) + 1);
  return {};
}

Result<tw_vgpu_feedback> SlicePages::feedback(std::string_view slice_id) const {
  if (Status status = check_slice_id(slice_id); !status) return fail(status.error());
  const auto page = Mapped<tw_vgpu_limits_page>::open(limits_path(slice_id), false);
  if (!page) return fail(page.error());
  return (*page)->feedback[0];
}

}  // namespace tweendeck::device::nvml
