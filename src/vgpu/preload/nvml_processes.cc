// NVML's lists of processes: inside a slice they name the slice's processes with what each holds in its
// books. NVML itself knows pids of the host only, which mean nothing in a container with pids of its own.
#include "vgpu/preload/abi.h"
#include "vgpu/preload/calls.h"
#include "vgpu/preload/tenant.h"
#include "vgpu/system.h"

using namespace tweendeck::vgpu;

namespace {

constexpr unsigned kNoInstance = ~0u;  // of MIG

// visit(pid, bytes) for the slice's processes that hold memory of the device, as far as their pids mean
// something here.
template <class Visit>
void each_process(int device, Visit visit) {
  if (device < 0) return;
  const tw_vgpu_usage_page* page = usage();
  const uint64_t here = kLinux.pid_namespace();
  const uint32_t bound = tw_vgpu_slot_bound(page);
  for (uint32_t i = 0; i < bound; ++i) {
    const uint64_t owner = tw_vgpu_load(&page->slots[i].owner);
    const uint64_t bytes = tw_vgpu_load(&page->books[device][i].used_bytes);
    if (owner == 0 || tw_vgpu_owner_moving_in(owner) || bytes == 0) continue;
    if (page->slots[i].pid_namespace != here || !kLinux.alive(owner)) continue;
    visit(tw_vgpu_owner_pid(owner), bytes);
  }
}

bool is_ours(int device, unsigned pid) {
  bool found = false;
  each_process(device, [&](unsigned one, uint64_t) { found |= one == pid; });
  return found;
}

void fill(nvmlProcessInfo_v1_t& info, unsigned pid, uint64_t bytes) {
  info = {pid, bytes};
}
void fill(nvmlProcessInfo_t& info, unsigned pid, uint64_t bytes) {
  info = {pid, bytes, kNoInstance, kNoInstance};
}
void fill(nvmlProcessDetail_t& info, unsigned pid, uint64_t bytes) {
  info = {pid, bytes, kNoInstance, kNoInstance, 0};
}

// As NVML answers: a list that is too short gets the count that is needed.
template <class Info>
nvmlReturn_t list(int device, unsigned* count, Info* infos) {
  if (!count) return NVML_ERROR_INVALID_ARGUMENT;
  const unsigned room = infos ? *count : 0;
  unsigned found = 0;
  each_process(device, [&](unsigned pid, uint64_t bytes) {
    if (found < room) fill(infos[found], pid, bytes);
    ++found;
  });
  *count = found;
  return found > room ? NVML_ERROR_INSUFFICIENT_SIZE : NVML_SUCCESS;
}

// A bad handle is the driver's to refuse.
template <class Info>
nvmlReturn_t list_compute(auto* ask, nvmlDevice_t handle, unsigned* count, Info* infos) {
  const int device = page_device(handle);
  return device == kNoDevice ? ask(handle, count, infos) : list(device, count, infos);
}

// A slice has compute only.
template <class Info>
nvmlReturn_t list_none(auto* ask, nvmlDevice_t handle, unsigned* count, Info* infos) {
  const int device = page_device(handle);
  return device == kNoDevice ? ask(handle, count, infos) : list(kNotInSlice, count, infos);
}

nvmlReturn_t on_nvmlDeviceGetRunningProcessDetailList(auto* ask, nvmlDevice_t handle,
                                                      nvmlProcessDetailList_t* all) {
  const int device = page_device(handle);
  if (device == kNoDevice || !all) return ask(handle, all);
  constexpr unsigned kCompute = 0;
  return list(all->mode == kCompute ? device : kNotInSlice, &all->count, all->processes);
}

// Keeps the rows of the slice's processes; none is "not found", as NVML says.
template <class Row>
nvmlReturn_t keep_ours(nvmlDevice_t handle, unsigned& count, Row* rows) {
  const int device = page_device(handle);
  unsigned kept = 0;
  for (unsigned i = 0; i < count; ++i) {
    if (is_ours(device, rows[i].pid)) rows[kept++] = rows[i];
  }
  count = kept;
  return kept ? NVML_SUCCESS : NVML_ERROR_NOT_FOUND;
}

nvmlReturn_t on_nvmlDeviceGetProcessUtilization(auto* ask, nvmlDevice_t handle, nvmlProcessSample_t* samples,
                                                unsigned* count, unsigned long long since) {
  const nvmlReturn_t result = ask(handle, samples, count, since);
  return result == NVML_SUCCESS && samples ? keep_ours(handle, *count, samples) : result;
}

nvmlReturn_t on_nvmlDeviceGetProcessesUtilizationInfo(auto* ask, nvmlDevice_t handle,
                                                      nvmlProcessesUsage_t* all) {
  const nvmlReturn_t result = ask(handle, all);
  return result == NVML_SUCCESS && all->rows ? keep_ours(handle, all->count, all->rows) : result;
}

#define TW_LISTS(kind, how)                                                                                 \
  nvmlReturn_t on_nvmlDeviceGet##kind##RunningProcesses(auto* ask, nvmlDevice_t handle, unsigned* count,    \
                                                        nvmlProcessInfo_v1_t* infos) {                      \
    return how(ask, handle, count, infos);                                                                  \
  }                                                                                                         \
  nvmlReturn_t on_nvmlDeviceGet##kind##RunningProcesses_v2(auto* ask, nvmlDevice_t handle, unsigned* count, \
                                                           nvmlProcessInfo_t* infos) {                      \
    return how(ask, handle, count, infos);                                                                  \
  }                                                                                                         \
  nvmlReturn_t on_nvmlDeviceGet##kind##RunningProcesses_v3(auto* ask, nvmlDevice_t handle, unsigned* count, \
                                                           nvmlProcessInfo_t* infos) {                      \
    return how(ask, handle, count, infos);                                                                  \
  }
TW_LISTS(Compute, list_compute)
TW_LISTS(Graphics, list_none)
TW_LISTS(MPSCompute, list_none)
#undef TW_LISTS

}  // namespace

#include "wrappers_nvml_processes.inc"
