#include "placement/policy/fragmentation/reservation.h"

#include <algorithm>
#include <cmath>
#include <map>

namespace tweendeck::placement::fragmentation {
namespace {

constexpr uint32_t kCpuClass = 8000;  // milli: requests that differ by less belong together
constexpr double kUnseenCount = 0.5;  // what a count of zero is worth (half, as in Jeffreys' prior)
constexpr double kMargin = 2;         // standard deviations
constexpr double kStayActive = 1.05;  // hysteresis
constexpr size_t kMaxSeen = kMaxGroups - 2;

using Hosts = std::vector<uint8_t>;

Hosts hosts_of(const Catalog& catalog, const Cluster& cluster, KindId kind) {
  Hosts hosts(catalog.types().size());
  for (uint16_t type = 0; type < hosts.size(); ++type) {
    hosts[type] = cluster.types()[type].nodes > 0 && catalog.hosts(type, kind);
  }
  return hosts;
}

bool none(const Hosts& hosts) {
  return std::ranges::find(hosts, 1) == hosts.end();
}

bool within(const Hosts& inner, const Hosts& outer) {
  for (size_t i = 0; i < inner.size(); ++i) {
    if (inner[i] > outer[i]) return false;
  }
  return true;
}

}  // namespace

void Reservation::learn(const Catalog& catalog, const Cluster& cluster, const Demand& demand) {
  groups_.clear();
  add_seen(catalog, cluster, demand);
  add_unseen(catalog, cluster);
  finish(catalog);
  active_ = 0;
}

void Reservation::add_seen(const Catalog& catalog, const Cluster& cluster, const Demand& demand) {
  struct Candidate {
    uint32_t devices;
    uint32_t cpu_milli = 0;
    Hosts hosts;
    uint64_t count = 0;
    std::vector<KindId> kinds;
  };
  std::map<std::tuple<uint32_t, uint32_t, Hosts>, Candidate> candidates;
  std::vector<std::pair<KindId, Hosts>> asking;
  for (KindId id = 0; id < catalog.kinds().size(); ++id) {
    const Kind& kind = catalog.kinds()[id];
    if (kind.devices < 2 || demand.count(id) == 0) continue;
    Hosts hosts = hosts_of(catalog, cluster, id);
    if (none(hosts)) continue;
    Candidate& candidate = candidates[{kind.devices, (kind.cpu_milli + kCpuClass - 1) / kCpuClass, hosts}];
    candidate.devices = kind.devices;
    candidate.cpu_milli = std::max(candidate.cpu_milli, kind.cpu_milli);
    candidate.hosts = hosts;
    candidate.count += demand.standing(id);
    candidate.kinds.push_back(id);
    asking.emplace_back(id, std::move(hosts));
  }
  std::vector<Candidate> sorted;
  for (auto& [key, candidate] : candidates) sorted.push_back(std::move(candidate));
  std::ranges::sort(sorted, [](const Candidate& a, const Candidate& b) {
    const auto weight = [](const Candidate& of) { return of.count * of.devices; };
    return weight(a) != weight(b) ? weight(a) > weight(b) : a.kinds.front() < b.kinds.front();
  });
  if (sorted.size() > kMaxSeen) sorted.resize(kMaxSeen);
  for (const Candidate& candidate : sorted) {
    Group group{candidate.devices, candidate.cpu_milli, candidate.hosts, candidate.kinds, false, 0};
    for (const auto& [id, hosts] : asking) {  // harder ones: as many devices, hosts among these
      const Kind& kind = catalog.kinds()[id];
      if (kind.devices == group.devices && kind.cpu_milli + kCpuClass >= group.cpu_milli &&
          within(hosts, group.hosts) && std::ranges::find(group.kinds, id) == group.kinds.end()) {
        group.kinds.push_back(id);
      }
    }
    groups_.push_back(std::move(group));
  }
}

void Reservation::add_unseen(const Catalog& catalog, const Cluster& cluster) {
  const std::span<const TypeView> types = catalog.types();
  const auto live = [&](size_t type) { return cluster.types()[type].nodes > 0; };
  for (size_t i = 0; i < types.size() && groups_.size() < kMaxGroups; ++i) {
    const TypeView& type = types[i];
    if (!live(i) || type.devices < 2 || type.devices < catalog.max_devices()) continue;
    bool dominated = false;
    uint32_t lesser_cpu = 0;  // of the next best type with as many devices
    for (size_t j = 0; j < types.size(); ++j) {
      const TypeView& other = types[j];
      if (j == i || !live(j) || other.devices < type.devices) continue;
      dominated = dominated || (other.cpu_milli >= type.cpu_milli && other.node_memory >= type.node_memory &&
                                (other.cpu_milli > type.cpu_milli || other.node_memory > type.node_memory));
      if (other.cpu_milli < type.cpu_milli) lesser_cpu = std::max(lesser_cpu, other.cpu_milli);
    }
    if (dominated) continue;
    Group group{
        type.devices, std::min(type.cpu_milli, lesser_cpu + kCpuClass), Hosts(types.size()), {}, true, 0};
    for (size_t j = 0; j < types.size(); ++j) {
      group.hosts[j] = live(j) && types[j].devices >= group.devices && types[j].cpu_milli >= group.cpu_milli;
    }
    for (KindId id = 0; id < catalog.kinds().size(); ++id) {
      if (catalog.kinds()[id].devices != group.devices) continue;
      const Hosts hosts = hosts_of(catalog, cluster, id);
      if (!none(hosts) && within(hosts, group.hosts)) group.kinds.push_back(id);
    }
    groups_.push_back(std::move(group));
  }
}

void Reservation::finish(const Catalog& catalog) {
  const uint32_t all = (1u << groups_.size()) - 1;
  foreign_.assign(catalog.kinds().size(), all);
  for (size_t i = 0; i < groups_.size(); ++i) {
    for (const KindId kind : groups_[i].kinds) foreign_[kind] &= ~(1u << i);
  }
}

GroupSlots Reservation::slots_of(const State& state) const {
  GroupSlots slots{};
  uint32_t whole = 0;
  for (uint32_t i = 0; i < state.devices; ++i) whole += state.rests[i] == make_rest(kWholeRest, kMemorySteps);
  for (size_t i = 0; i < groups_.size(); ++i) {
    const Group& group = groups_[i];
    if (whole < group.devices || state.type >= group.hosts.size() || group.hosts[state.type] == 0) continue;
    uint32_t fit = whole / group.devices;
    if (group.cpu_milli > 0) fit = std::min(fit, state.cpu_milli() / group.cpu_milli);
    slots[i] = static_cast<uint8_t>(fit);
  }
  return slots;
}

uint32_t Reservation::refresh(const Demand& demand, uint64_t free, uint64_t standing) {
  const double ratio =
      static_cast<double>(free) / static_cast<double>(std::max<uint64_t>(standing, kWholeRest));
  uint32_t active = 0;
  for (size_t i = 0; i < groups_.size(); ++i) {
    const Group& group = groups_[i];
    uint64_t count = 0;
    for (const KindId kind : group.kinds) count += demand.standing(kind);
    const double expected =
        (static_cast<double>(count) + kUnseenCount + (group.unseen ? kUnseenCount : 0)) * ratio;
    double need = expected + kMargin * std::sqrt(expected * (1 + ratio)) + 1;
    if ((active_ >> i & 1) != 0) need = need * kStayActive;
    if (static_cast<double>(group.slots) <= need) active |= 1u << i;
  }
  active_ = active;
  return active_;
}

}  // namespace tweendeck::placement::fragmentation
