#include "device/providers/cpu/cpu_provider.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/units.h"

namespace tweendeck::device {
namespace {

std::string device_id(const NumaNode& node) {
  return fmt::format("cpu{}", node.number);
}

// `part` of `whole` of `limit`, or kUnlimited.
uint64_t share_of_limit(uint64_t limit, uint64_t part, uint64_t whole) {
  if (limit == kUnlimited) return kUnlimited;
  return static_cast<uint64_t>(static_cast<__uint128_t>(limit) * part / std::max<uint64_t>(whole, 1));
}

}  // namespace

CpuProvider::CpuProvider(Kernel& kernel, Groups* groups, std::string root)
    : kernel_(kernel), groups_(groups), root_(std::move(root)) {}

uint64_t CpuProvider::device_cpu_milli(const Topology& topology, const NumaNode& node) const {
  uint64_t own = node.cpus.size() * 1000;
  if (groups_ == nullptr) return own;
  uint64_t all = 0;
  for (const NumaNode& other : topology.nodes) all += other.cpus.size() * 1000;
  return std::min(own, share_of_limit(groups_->cpu_limit_milli(), own, all));
}

uint64_t CpuProvider::device_memory_bytes(const Topology& topology, const NumaNode& node) const {
  uint64_t reserve = std::max(node.memory_bytes / kCpuReserveDivisor, kCpuReserveMinBytes);
  uint64_t usable = node.memory_bytes > reserve ? node.memory_bytes - reserve : 0;
  if (groups_ == nullptr) return usable;
  uint64_t all = 0;
  for (const NumaNode& other : topology.nodes) all += other.memory_bytes;
  return std::min(usable, share_of_limit(groups_->memory_limit_bytes(), node.memory_bytes, all));
}

Result<std::vector<Device>> CpuProvider::discover() {
  Result<Topology> topology = read_topology(kernel_, root_);
  if (!topology) return fail(topology.error());
  std::vector<Device> devices;
  for (const NumaNode& node : topology->nodes) {
    Device device;
    device.id = device_id(node);
    device.provider = name();
    device.vendor = topology->vendor;
    device.model = topology->model;
    device.numa_node = node.number;
    device.memory_bytes = device_memory_bytes(*topology, node);
    device.compute_units = static_cast<uint32_t>((device_cpu_milli(*topology, node) + 999) / 1000);
    device.isolation = groups_ != nullptr ? Isolation::Kernel : Isolation::None;
    device.isolation_reason = groups_ != nullptr ? Reason::None : Reason::CgroupUnavailable;
    for (const NumaNode& peer : topology->nodes) {
      if (peer.number != node.number) device.links.push_back({device_id(peer), "numa"});
    }
    devices.push_back(std::move(device));
  }
  return devices;
}

Result<Preparation> CpuProvider::prepare(const Slice& slice) {
  Result<Topology> topology = read_topology(kernel_, root_);
  if (!topology) return fail(topology.error());
  auto node = std::ranges::find(topology->nodes, slice.device_id, device_id);
  if (node == topology->nodes.end()) {
    return fail(Reason::NotFound,
                fmt::format("device {} of slice {} does not exist", slice.device_id, slice.id),
                "`tweendeck devices` lists what there is");
  }
  if (slice.paused || slice.share.ceiling_percent > slice.share.compute_percent) {
    return fail(Reason::Unsupported,
                fmt::format("slice {} is on {}, whose CPU share can neither be paused nor lent", slice.id,
                            slice.device_id),
                "only slices of GPUs can");
  }
  uint64_t cpu_milli = device_cpu_milli(*topology, *node) * slice.share.compute_percent / 100;
  Preparation preparation;
  preparation.cpu_count = static_cast<uint32_t>((cpu_milli + 999) / 1000);
  preparation.env = {{"TWEENDECK_SLICE_CPUS", fmt::format("{}.{:03}", cpu_milli / 1000, cpu_milli % 1000)}};
  if (groups_ == nullptr) {
    preparation.isolation_reason = Reason::CgroupUnavailable;
    return preparation;
  }
  // The kernel would kill at once what does not fit any more; a slice that shrinks keeps its processes.
  if (Result<GroupUsage> group = groups_->usage(slice.id);
      group && slice.share.memory_bytes > 0 && group->memory_bytes > slice.share.memory_bytes) {
    return fail(Reason::MemoryPressure,
                fmt::format("slice {} uses {}, more than the {} that it is to have", slice.id,
                            format_bytes(group->memory_bytes), format_bytes(slice.share.memory_bytes)),
                "free some memory inside it first");
  }
  Result<std::vector<std::string>> procs =
      groups_->create(slice.id, {.memory_bytes = slice.share.memory_bytes,
                                 .cpu_milli = cpu_milli,
                                 .cpus = format_number_list(node->cpus),
                                 .mems = fmt::format("{}", node->number)});
  if (!procs) return fail(procs.error());
  preparation.isolation = Isolation::Kernel;
  preparation.cgroup_procs = std::move(*procs);
  return preparation;
}

Status CpuProvider::unprepare(std::string_view slice_id) {
  return groups_ == nullptr ? Status{} : groups_->remove(slice_id);
}

Result<SliceUsage> CpuProvider::usage(std::string_view slice_id) {
  if (groups_ == nullptr) {
    return fail(Reason::CgroupUnavailable,
                fmt::format("nothing measures slice {} without its cgroup", slice_id));
  }
  Result<GroupUsage> group = groups_->usage(slice_id);
  if (!group) return fail(group.error());
  return SliceUsage{.memory_bytes = group->memory_bytes,
                    .memory_peak_bytes = group->memory_peak_bytes,
                    .compute_ns = group->cpu_ns,
                    .throttled_ns = group->throttled_ns,
                    .memory_refusals = group->memory_refusals,
                    .oom_kills = group->oom_kills};
}

Result<std::vector<std::string>> CpuProvider::prepared() {
  return groups_ == nullptr ? std::vector<std::string>{} : groups_->list();
}

}  // namespace tweendeck::device
