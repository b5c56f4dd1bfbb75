#include "placement/gang/domains.h"

#include <algorithm>
#include <tuple>

#include "placement/gang/devices.h"

namespace tweendeck::placement {
namespace {

bool inside(std::span<const Area> areas, const NodeState& node, NodeIndex index) {
  return std::ranges::all_of(areas, [&](Area area) { return contains(area, node, index); });
}

uint16_t common_devices(const Cluster& cluster, std::span<const Area> areas) {
  uint16_t devices = kAllDevices;
  for (const Area area : areas) devices &= devices_of(cluster, area);
  return devices;
}

struct Place {
  uint32_t block = 0, rack = 0;
  NodeIndex node = 0;
  uint32_t slots = 0;
};

// Consecutive places that share a block, a rack or a node.
struct Group {
  std::span<const Place> places;
  uint64_t slots = 0;
};

std::vector<Group> split(std::span<const Place> places, Level level) {
  const auto same = [level](const Place& a, const Place& b) {
    if (level == Level::Block) return a.block == b.block;
    return level == Level::Rack ? a.block == b.block && a.rack == b.rack : a.node == b.node;
  };
  std::vector<Group> groups;
  for (size_t begin = 0, end = 0; begin < places.size(); begin = end) {
    Group group;
    for (; end < places.size() && same(places[begin], places[end]); ++end) group.slots += places[end].slots;
    group.places = places.subspan(begin, end - begin);
    groups.push_back(group);
  }
  std::ranges::sort(groups, [](const Group& a, const Group& b) {
    return a.slots != b.slots ? a.slots > b.slots : a.places.front().node < b.places.front().node;
  });
  return groups;
}

// Which nodes take how many.
void spread_out(std::span<const Place> places, Level level, uint32_t count,
                std::vector<std::pair<NodeIndex, uint32_t>>& parts) {
  if (level == Level::Island) {
    parts.emplace_back(places.front().node, std::min(count, places.front().slots));
    return;
  }
  std::vector<Group> groups = split(places, level);
  const Level narrower = level == Level::Block  ? Level::Rack
                         : level == Level::Rack ? Level::Node
                                                : Level::Island;
  for (auto next = groups.begin(); next != groups.end() && count > 0;) {
    // Groups are in falling order: the last that suffices is the tightest.
    const auto beyond =
        std::partition_point(next, groups.end(), [&](const Group& g) { return g.slots >= count; });
    const Group& group = beyond == next ? *next++ : *(beyond - 1);
    const auto part = static_cast<uint32_t>(std::min<uint64_t>(count, group.slots));
    spread_out(group.places, narrower, part, parts);
    count -= part;
  }
}

}  // namespace

std::vector<Domain> domains(const Cluster& cluster, const SlotIndex& index, Level level,
                            std::span<const Area> areas) {
  std::vector<Domain> found;
  const auto nodes = cluster.nodes();
  const bool unrestricted =
      std::ranges::all_of(areas, [](Area area) { return area.level == Level::Cluster; });
  if (level == Level::Island) {
    for (NodeIndex n = 0; n < nodes.size(); ++n) {
      if (index.nodes()[n] == 0 || !inside(areas, nodes[n], n)) continue;
      const auto groups = cluster.near_groups(nodes[n].type, Near::SameIsland);
      for (uint32_t g = 0; g < groups.size(); ++g) {
        const Area island{Level::Island, n * kMaxDevicesPerNode + g};
        const bool wanted = std::ranges::none_of(areas, [&](Area area) {
          return area.level == Level::Island && area.domain != kAnyDomain && area != island;
        });
        const uint32_t slots = wanted ? cluster.slots(n, index.shape(), kMaxNodeSlots, groups[g]) : 0;
        if (slots > 0) found.push_back({island.domain, slots});
      }
    }
    return found;
  }
  std::vector<uint32_t> restricted;
  if (!unrestricted) {
    const uint16_t mask = common_devices(cluster, areas);
    for (NodeIndex n = 0; n < nodes.size(); ++n) {
      if (index.nodes()[n] == 0 || !inside(areas, nodes[n], n)) continue;
      const uint32_t domain = domain_of(nodes[n], n, level);
      if (restricted.size() <= domain) restricted.resize(domain + 1);
      restricted[domain] +=
          mask == kAllDevices ? index.nodes()[n] : cluster.slots(n, index.shape(), kMaxNodeSlots, mask);
    }
  }
  const std::vector<uint32_t>& sums = unrestricted ? index.by(level) : restricted;
  const bool numbered_from_one = level == Level::Block || level == Level::Rack;
  for (uint32_t domain = numbered_from_one ? 1 : 0; domain < sums.size(); ++domain) {
    if (sums[domain] > 0) found.push_back({domain, sums[domain]});
  }
  return found;
}

const Domain* tightest(std::span<const Domain> domains, uint32_t count) {
  const Domain* best = nullptr;
  for (const Domain& domain : domains) {
    if (domain.slots >= count && (best == nullptr || domain.slots < best->slots)) best = &domain;
  }
  return best;
}

const Domain* largest(std::span<const Domain> domains) {
  const auto best = std::ranges::max_element(domains, {}, &Domain::slots);
  return best == domains.end() ? nullptr : &*best;
}

uint32_t fill(Cluster& cluster, const SlotIndex& index, std::span<const Area> areas, uint32_t count,
              std::vector<Spot>& spots) {
  const uint16_t mask = common_devices(cluster, areas);
  std::vector<Place> places;
  const auto nodes = cluster.nodes();
  for (NodeIndex n = 0; n < nodes.size(); ++n) {
    if (index.nodes()[n] == 0 || !inside(areas, nodes[n], n)) continue;
    const uint32_t slots =
        mask == kAllDevices ? index.nodes()[n] : cluster.slots(n, index.shape(), kMaxNodeSlots, mask);
    if (slots > 0) places.push_back({nodes[n].block, nodes[n].rack, n, slots});
  }
  if (places.empty() || count == 0) return 0;
  std::ranges::sort(places, {}, [](const Place& p) { return std::tuple(p.block, p.rack, p.node); });
  std::vector<std::pair<NodeIndex, uint32_t>> parts;
  spread_out(places, Level::Block, count, parts);
  uint32_t taken = 0;
  for (const auto& [node, part] : parts) taken += take_slots(cluster, node, index.shape(), part, mask, spots);
  return taken;
}

}  // namespace tweendeck::placement
