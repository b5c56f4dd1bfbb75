#include "device/providers/nvml/membership.h"

#include <sys/stat.h>

#include <fstream>
#include <sstream>

#include "device/providers/nvml/tenants.h"

namespace tweendeck::device::nvml {
namespace {

constexpr int kMaxAncestors = 32;
constexpr std::string_view kBaseGroup = "tweendeck-";  // device/cgroup/groups.h

std::string read_all(const std::string& path) {
  std::ifstream in(path);
  return std::string(std::istreambuf_iterator<char>(in), {});
}

// The last number of the line "Key: a b c" in /proc/PID/status; 0 when there is none.
uint32_t last_number(const std::string& status, std::string_view key) {
  const size_t at = status.find(key);
  if (at == std::string::npos) return 0;
  std::istringstream line(status.substr(at + key.size(), status.find('\n', at) - at - key.size()));
  uint32_t number = 0;
  for (uint32_t next; line >> next;) number = next;
  return number;
}

}  // namespace

std::string slice_in_cgroups(const std::string& text) {
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    const size_t base = line.find("/" + std::string(kBaseGroup));
    if (base == std::string::npos) continue;
    const size_t slice = line.find('/', base + 1);
    if (slice == std::string::npos) continue;
    const size_t end = line.find('/', slice + 1);
    if (end == slice + 1 || slice + 1 == line.size()) continue;
    return line.substr(slice + 1, end == std::string::npos ? end : end - slice - 1);
  }
  return "";
}

Membership::Known* Membership::known(uint32_t pid) {
  const std::optional<uint64_t> start = start_ticks(pid);
  if (!start) {
    processes_.erase(pid);
    return nullptr;
  }
  Known& one = processes_[pid];
  if (one.start == *start) return &one;
  one = {.start = *start, .slice = "", .maps = false, .inner_pid = pid, .name_space = 0};
  const std::string proc = "/proc/" + std::to_string(pid);
  if (const uint32_t inner = last_number(read_all(proc + "/status"), "NSpid:")) one.inner_pid = inner;
  struct stat name_space{};
  if (stat((proc + "/ns/pid").c_str(), &name_space) == 0) one.name_space = name_space.st_ino;
  return &one;
}

std::string Membership::slice_of(uint32_t pid, const std::vector<const OpenSlice*>& slices) {
  Known* one = known(pid);
  if (one == nullptr) return "";
  if (!one->slice.empty()) return one->slice;
  for (const OpenSlice* slice : slices) {
    if (!maps_file(pid, pages_.usage_path(slice->id()))) continue;
    one->maps = true;
    return one->slice = slice->id();
  }
  for (uint32_t each = pid, steps = 0; each > 1 && steps < kMaxAncestors; ++steps) {
    const std::string proc = "/proc/" + std::to_string(each);
    const std::string named = slice_in_cgroups(read_all(proc + "/cgroup"));
    for (const OpenSlice* slice : slices) {
      if (slice->id() == named) return one->slice = named;
    }
    if (const auto ancestor = processes_.find(each);
        ancestor != processes_.end() && !ancestor->second.slice.empty())
      return one->slice = ancestor->second.slice;
    each = last_number(read_all(proc + "/status"), "PPid:");
  }
  return "";
}

std::optional<OpenSlice::Slot> Membership::slot_of(uint32_t pid, const OpenSlice& slice) {
  Known* one = known(pid);
  if (one == nullptr) return std::nullopt;
  for (const OpenSlice::Slot& slot : slice.slots()) {
    if (tw_vgpu_owner_pid(slot.owner) != one->inner_pid) continue;
    if (tw_vgpu_owner_start(slot.owner) != (one->start & 0x7fffffffu)) continue;
    if (slot.pid_namespace != 0 && one->name_space != 0 && slot.pid_namespace != one->name_space) continue;
    // Anybody in the slice can write a slot for anybody; only who has the page mapped can keep books in it.
    one->maps = one->maps || maps_file(pid, pages_.usage_path(slice.id()));
    if (one->maps) return slot;
  }
  return std::nullopt;
}

void Membership::prune() {
  std::erase_if(processes_, [](const auto& entry) { return start_ticks(entry.first) != entry.second.start; });
}

}  // namespace tweendeck::device::nvml
