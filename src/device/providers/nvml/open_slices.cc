#include "device/providers/nvml/open_slices.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "device/providers/nvml/gpu_uuid.h"
#include "device/providers/nvml/guarded.h"

namespace tweendeck::device::nvml {
namespace {

constexpr int kReadTries = 16;
constexpr Nanos kWaitsIfSeen =
    2 * kBorrowPeriod;  // the library tells at least every 5 ms while a thread waits

template <class Page>
Page* map_page(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW);
  if (fd < 0) return nullptr;
  void* memory = mmap(nullptr, sizeof(Page), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  ::close(fd);
  return memory == MAP_FAILED ? nullptr : static_cast<Page*>(memory);
}

}  // namespace

bool OpenSlice::identify(const std::string& path, uint64_t size, FileIdentity& out) {
  struct stat info{};
  if (::lstat(path.c_str(), &info) != 0 || !S_ISREG(info.st_mode) ||
      static_cast<uint64_t>(info.st_size) != size)
    return false;
  out = {info.st_dev, info.st_ino};
  return true;
}

std::unique_ptr<OpenSlice> OpenSlice::open(const SlicePages& pages, const std::string& id) {
  const Result<tw_vgpu_limit_set> limits = pages.limits(id);  // checks the page
  if (!limits || limits->device_count == 0) return nullptr;
  std::unique_ptr<OpenSlice> slice(new OpenSlice());
  slice->id_ = id;
  slice->device_uuid_ = format_uuid(limits->devices[0].uuid);
  slice->limits_path_ = pages.limits_path(id);
  slice->usage_path_ = pages.usage_path(id);
  if (!identify(slice->limits_path_, sizeof(tw_vgpu_limits_page), slice->limits_file_) ||
      !identify(slice->usage_path_, sizeof(tw_vgpu_usage_page), slice->usage_file_)) {
    return nullptr;
  }
  slice->limits_ = map_page<tw_vgpu_limits_page>(slice->limits_path_);
  slice->usage_ = map_page<tw_vgpu_usage_page>(slice->usage_path_);
  if (slice->limits_ == nullptr || slice->usage_ == nullptr) return nullptr;
  return slice;
}

OpenSlice::~OpenSlice() {
  if (limits_ != nullptr) munmap(limits_, sizeof(*limits_));
  if (usage_ != nullptr) munmap(usage_, sizeof(*usage_));
}

bool OpenSlice::limits_in_place() const {
  FileIdentity now;
  return identify(limits_path_, sizeof(tw_vgpu_limits_page), now) && now == limits_file_;
}

bool OpenSlice::usage_in_place() const {
  FileIdentity now;
  if (!identify(usage_path_, sizeof(tw_vgpu_usage_page), now) || now != usage_file_) return false;
  bool bound = false;
  return guarded([&] {
           bound = usage_->magic == TW_VGPU_USAGE_MAGIC && usage_->size == sizeof(*usage_) &&
                   usage_->binding == limits_->binding;
         }) &&
         bound;
}

bool OpenSlice::read_limits(tw_vgpu_limit_set& out) const {
  uint64_t generation = 0;
  int read = 0;
  return guarded([&] { read = tw_vgpu_read_limits(limits_, &out, &generation, kReadTries); }) && read != 0;
}

bool OpenSlice::read_activity(Nanos now, SliceActivity& out) const {
  tw_vgpu_limit_set set;
  if (!read_limits(set)) return false;
  const tw_vgpu_device_limit& limit = set.devices[0];
  out.id = id_;
  out.floor_permille = limit.compute_floor_permille;
  out.ceiling_permille = limit.compute_ceiling_permille;
  out.weight = limit.weight;
  out.priority = limit.priority;
  out.paused = ((set.flags | limit.flags) & TW_VGPU_FLAG_PAUSED) != 0;
  uint64_t last_wait = 0;
  const bool read = guarded([&] {
    const tw_vgpu_device_usage& device = usage_->devices[0];
    out.charged_ns = tw_vgpu_load(&device.charged_ns);
    out.throttled_ns = tw_vgpu_load(&device.throttled_ns);
    last_wait = tw_vgpu_load(&device.last_wait_ns);
    out.last_active = static_cast<Nanos>(tw_vgpu_last_active_ns(usage_, 0, static_cast<uint64_t>(now)));
  });
  out.waiting =
      last_wait != 0 && static_cast<uint64_t>(now) < last_wait + static_cast<uint64_t>(kWaitsIfSeen);
  return read;
}

bool OpenSlice::read_watched(WatchedSlice& out) const {
  out.id = id_;
  return guarded([&] {
    const tw_vgpu_device_usage& device = usage_->devices[0];
    out.bucket_permille = static_cast<uint32_t>(tw_vgpu_load(&device.share_permille));
    out.share_used_until_ns = tw_vgpu_load(&device.share_used_until_ns);
    out.charged_ns = tw_vgpu_load(&device.charged_ns);
    out.launches = tw_vgpu_load(&device.launches);
  });
}

void OpenSlice::write_others_active(Nanos when) const {
  guarded([&] { tw_vgpu_store(&limits_->feedback[0].others_active_ns, static_cast<uint64_t>(when)); });
}

void OpenSlice::write_share(Nanos now, uint32_t effective_permille, Nanos yield_until) const {
  guarded([&] {
    tw_vgpu_feedback& out = limits_->feedback[0];
    tw_vgpu_store(&out.yield_until_ns, static_cast<uint64_t>(yield_until));
    tw_vgpu_store(&out.effective_permille, effective_permille);
    tw_vgpu_store(&out.effective_stamp_ns, static_cast<uint64_t>(now));
  });
}

void OpenSlice::restore_limits(const tw_vgpu_limit_set& set) const {
  guarded([&] { tw_vgpu_publish_limits(limits_, &set); });
}

std::vector<OpenSlice::Slot> OpenSlice::slots() const {
  uint32_t bound = 0;
  guarded([&] { bound = tw_vgpu_slot_bound(usage_); });
  std::vector<Slot> found;
  for (uint32_t i = 0; i < bound; ++i) {
    Slot slot;
    const bool read = guarded([&] {
      slot.owner = tw_vgpu_load(&usage_->slots[i].owner);
      slot.pid_namespace = tw_vgpu_load(&usage_->slots[i].pid_namespace);
      slot.library_abi = __atomic_load_n(&usage_->slots[i].library_abi, __ATOMIC_RELAXED);
      slot.booked_bytes = tw_vgpu_load(&usage_->books[0][i].pending_bytes);
      slot.booked_bytes += tw_vgpu_load(&usage_->books[0][i].used_bytes);
      slot.context_is_booked = tw_vgpu_load(&usage_->books[0][i].by_kind[TW_VGPU_KIND_CONTEXT]) > 0;
    });
    if (read && slot.owner != 0 && !tw_vgpu_owner_moving_in(slot.owner)) found.push_back(slot);
  }
  return found;
}

void OpenSlices::refresh() {
  const Result<std::vector<std::string>> ids = pages_.list();
  if (!ids) return;
  std::erase_if(slices_, [&](const auto& entry) {
    return std::ranges::find(*ids, entry.first) == ids->end() || !entry.second->limits_in_place();
  });
  broken_.clear();
  for (const std::string& id : *ids) {
    if (slices_.contains(id)) continue;
    if (std::unique_ptr<OpenSlice> slice = OpenSlice::open(pages_, id)) {
      slices_.emplace(id, std::move(slice));
      ++opened_;
    } else {
      broken_.push_back(id);
    }
  }
}

}  // namespace tweendeck::device::nvml
