#include "device/providers/nvml/provider.h"

#include <unistd.h>

#include <algorithm>
#include <array>

#include "device/providers/nvml/gpu_uuid.h"
#include "device/providers/nvml/tenants.h"

namespace tweendeck::device::nvml {
namespace {

constexpr Nanos kKillWait = 5 * kSecond;
constexpr std::array<std::string_view, TW_VGPU_KIND_MODULE + 1> kKindNames = {
    "linear", "managed", "pool", "virtual", "array", "imported", "graph", "context", "module"};

}  // namespace

Result<const Api*> NvmlProvider::api() {
  if (!api_) {
    Result<std::unique_ptr<Api>> loaded = load();
    if (!loaded) return fail(loaded.error());
    api_ = std::move(*loaded);
    const Api* nvml = api_.get();
    loop_ = std::make_unique<SliceLoop>(
        pages_, SliceLoop::Driver{
                    .utilization = [nvml](const std::string& uuid,
                                          uint64_t since_us) { return utilization(*nvml, uuid, since_us); },
                    .processes = [nvml](const std::string& uuid) { return nvml::processes(*nvml, uuid); }});
    watching_ = loop_.get();
  }
  return api_.get();
}

bool NvmlProvider::library_present() const {
  return ::access(options_.vgpu_library.c_str(), R_OK) == 0;
}

Result<std::vector<Device>> NvmlProvider::discover() {
  const Result<const Api*> nvml = api();
  // A machine without the driver has no such device; that is an answer, not an error.
  if (!nvml && nvml.error().reason == Reason::DriverMissing) return std::vector<Device>{};
  if (!nvml) return fail(nvml.error());
  if (!xids_) xids_ = std::make_unique<XidWatch>(**nvml);
  xids_->collect();
  Result<std::vector<Device>> devices = nvml::discover(**nvml, identity_, *xids_);
  if (!devices) return devices;
  for (Device& device : *devices) {
    device.isolation = library_present() ? Isolation::Library : Isolation::None;
    if (device.isolation == Isolation::None) device.isolation_reason = Reason::LibraryMissing;
  }
  return devices;
}

Result<Device> NvmlProvider::find(const std::string& device_id) {
  Result<std::vector<Device>> devices = discover();
  if (!devices) return fail(devices.error());
  for (Device& device : *devices) {
    if (device.id == device_id) return std::move(device);
  }
  return fail(Reason::NotFound, "provider " + identity_.provider + " has no device " + device_id,
              "`tweendeck devices` lists what there is");
}

void NvmlProvider::show(const Shown& shown, Preparation& into) const {
  std::string path = shown.source;
  if (options_.sandboxed) {
    path = std::string(kSandboxFolder) + "/" + shown.name;
    into.mounts.push_back({shown.source, path, shown.read_only});
  }
  into.env.emplace_back(shown.variable, std::move(path));
}

Result<Preparation> NvmlProvider::prepare(const Slice& slice) {
  const Result<Device> device = find(slice.device_id);
  if (!device) return fail(device.error());
  // The watch puts back limits that nobody here wrote; meanwhile it expects none.
  loop_->forget(slice.id);
  const Result<tw_vgpu_limit_set> written = pages_.write(slice, device->uuid);
  if (!written) return fail(written.error());
  loop_->expect_limits(slice.id, *written);

  Preparation preparation;
  preparation.isolation = device->isolation;
  preparation.isolation_reason = device->isolation_reason;
  preparation.env.emplace_back("CUDA_VISIBLE_DEVICES", device->uuid);
  for (const Shown& shown : extra_) show(shown, preparation);
  if (preparation.isolation == Isolation::Library) {
    show({"LD_PRELOAD", options_.vgpu_library, "libtweendeck-vgpu.so"}, preparation);
    show({TW_VGPU_ENV_LIMITS, pages_.limits_path(slice.id), "limits"}, preparation);
    show({TW_VGPU_ENV_USAGE, pages_.usage_path(slice.id), "usage", false}, preparation);
  }
  return preparation;
}

std::vector<Process> NvmlProvider::slice_processes(std::string_view slice_id,
                                                   const std::vector<uint32_t>& claimed) {
  std::vector<uint32_t> candidates = claimed;
  std::vector<Process> listed;
  const Result<const Api*> nvml = api();
  const Result<tw_vgpu_limit_set> limits = pages_.limits(slice_id);
  if (nvml && limits && limits->device_count > 0) {
    if (auto found = processes(**nvml, format_uuid(limits->devices[0].uuid))) listed = std::move(*found);
  }
  for (const Process& process : listed) candidates.push_back(process.pid);
  std::vector<Process> result;
  for (const uint32_t pid : tenants(candidates, pages_.usage_path(slice_id))) {
    const auto found = std::ranges::find(listed, pid, &Process::pid);
    result.push_back({pid, found == listed.end() ? 0 : found->memory_bytes});
  }
  return result;
}

Status NvmlProvider::unprepare(std::string_view slice_id) {
  const Result<UsageReading> reading = pages_.usage(slice_id);
  std::vector<uint32_t> pids;
  for (const Process& process :
       slice_processes(slice_id, reading ? reading->pids : std::vector<uint32_t>{})) {
    pids.push_back(process.pid);
  }
  if (Status status = kill_tenants(pids, pages_.usage_path(slice_id), kKillWait); !status) return status;
  peaks_.erase(std::string(slice_id));
  if (loop_) loop_->forget(std::string(slice_id));
  return pages_.remove(slice_id);
}

Result<SliceUsage> NvmlProvider::usage(std::string_view slice_id) {
  pages_.reclaim(slice_id, is_alive);
  const Result<UsageReading> reading = pages_.usage(slice_id);
  if (!reading) return fail(reading.error());
  // The tenant writes the page; the driver's own figure, which also knows contexts, cannot be talked down.
  uint64_t driver_bytes = 0;
  for (const Process& process : slice_processes(slice_id, reading->pids))
    driver_bytes += process.memory_bytes;
  SliceUsage usage;
  usage.memory_bytes = std::max(reading->memory_bytes, driver_bytes);
  usage.memory_peak_bytes = std::max(reading->memory_peak_bytes, usage.memory_bytes);
  usage.compute_ns = reading->charged_ns;
  usage.throttled_ns = reading->throttled_ns;
  usage.memory_refusals = reading->refused;
  usage.paused_ns = reading->paused_ns;
  usage.borrowed_ns = reading->borrowed_ns;
  usage.launches = reading->launches;
  const Result<tw_vgpu_limit_set> limits = pages_.limits(slice_id);
  const Result<tw_vgpu_feedback> feedback = pages_.feedback(slice_id);
  if (limits && feedback) {
    const bool fresh = SystemClock().now() - static_cast<Nanos>(feedback->effective_stamp_ns) <=
                       Nanos{TW_VGPU_EFFECTIVE_MAX_AGE_NS};
    usage.effective_permille = tw_vgpu_share_in_force(limits->devices[0].compute_floor_permille,
                                                      limits->devices[0].compute_ceiling_permille,
                                                      fresh ? feedback->effective_permille : 0);
  }
  usage.processes = static_cast<uint32_t>(reading->pids.size());
  std::array<uint64_t, TW_VGPU_KINDS>& peaks = peaks_[std::string(slice_id)];
  for (size_t kind = 0; kind < kKindNames.size(); ++kind) {
    peaks[kind] = std::max(peaks[kind], reading->used_by_kind[kind]);
    if (reading->allocations_by_kind[kind] == 0 && peaks[kind] == 0) continue;
    usage.kinds.push_back({std::string(kKindNames[kind]), reading->used_by_kind[kind], peaks[kind],
                           reading->allocations_by_kind[kind]});
  }
  return usage;
}

std::vector<Finding> NvmlProvider::findings() const {
  const SliceLoop* loop = watching_.load();
  return loop == nullptr ? std::vector<Finding>{} : loop->findings();
}

Result<std::vector<std::string>> NvmlProvider::prepared() {
  return pages_.list();
}

}  // namespace tweendeck::device::nvml
