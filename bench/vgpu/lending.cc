#include "bench/vgpu/lending.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

namespace tweendeck::bench {
namespace {

constexpr uint64_t kWaitsForNs = 10'000'000;  // who waited so lately is thought to wait now
constexpr int kReadTries = 1000;

template <class Page>
Page* map(const std::string& path) {
  const int fd = open(path.c_str(), O_RDWR | O_CLOEXEC);
  void* memory = fd < 0 ? MAP_FAILED : mmap(nullptr, sizeof(Page), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (fd >= 0) close(fd);
  return memory == MAP_FAILED ? nullptr : static_cast<Page*>(memory);
}

}  // namespace

Lending::Lending(const device::nvml::SlicePages& pages, const std::vector<std::string>& slice_ids) {
  for (const std::string& id : slice_ids) {
    auto* limits = map<tw_vgpu_limits_page>(pages.limits_path(id));
    auto* usage = map<tw_vgpu_usage_page>(pages.usage_path(id));
    if (limits != nullptr && usage != nullptr) slices_.push_back({id, limits, usage});
  }
}

Lending::~Lending() {
  for (const Pages& pages : slices_) {
    munmap(pages.limits, sizeof *pages.limits);
    munmap(const_cast<tw_vgpu_usage_page*>(pages.usage), sizeof *pages.usage);
  }
}

void Lending::round(Nanos now) {
  const auto now_ns = static_cast<uint64_t>(now);
  std::vector<device::SliceActivity> activities;
  for (const Pages& pages : slices_) {
    tw_vgpu_limit_set set;
    uint64_t generation = 0;
    if (!tw_vgpu_read_limits(pages.limits, &set, &generation, kReadTries)) return;
    const tw_vgpu_device_limit& limit = set.devices[0];
    const tw_vgpu_device_usage& usage = pages.usage->devices[0];
    activities.push_back({.id = pages.id,
                          .floor_permille = limit.compute_floor_permille,
                          .ceiling_permille = limit.compute_ceiling_permille,
                          .weight = limit.weight,
                          .priority = limit.priority,
                          .paused = ((set.flags | limit.flags) & TW_VGPU_FLAG_PAUSED) != 0,
                          .charged_ns = tw_vgpu_load(&usage.charged_ns),
                          .throttled_ns = tw_vgpu_load(&usage.throttled_ns),
                          .waiting = tw_vgpu_load(&usage.last_wait_ns) + kWaitsForNs >= now_ns});
  }
  const std::vector<device::ShareGrant> grants = borrowing_.decide(now, activities, 0);
  for (size_t i = 0; i < slices_.size(); ++i) {
    tw_vgpu_feedback& feedback = slices_[i].limits->feedback[0];
    tw_vgpu_store(&feedback.effective_permille, grants[i].effective_permille);
    tw_vgpu_store(&feedback.effective_stamp_ns, now_ns);
  }
}

}  // namespace tweendeck::bench
