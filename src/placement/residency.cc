#include "placement/residency.h"

#include <algorithm>

#include "placement/events.h"

namespace tweendeck::placement {

Status Residency::set(uint32_t weights, NodeIndex node, uint32_t permille) {
  if (weights >= kMaxNumber || permille > 1000) {
    return fail(Reason::InvalidArgument,
                "weights " + std::to_string(weights) + " with " + std::to_string(permille) + " permille",
                "number weights below " + std::to_string(kMaxNumber) + ", give at most 1000 permille");
  }
  const auto known = on_.find(weights);
  const auto place = [&](std::vector<Entry>& entries) {
    return std::ranges::lower_bound(entries, node, {}, &Entry::first);
  };
  if (known != on_.end()) {
    const auto entry = place(known->second);
    if (entry != known->second.end() && entry->first == node) {
      entry->second = permille;
      if (permille > 0) return {};
      known->second.erase(entry);
      --size_;
      if (known->second.empty()) on_.erase(known);
      return {};
    }
  }
  if (permille == 0) return {};
  if (size_ >= kMaxResidencies) {
    return fail(Reason::LimitExceeded,
                "weights are on more nodes than the " + std::to_string(kMaxResidencies) + " that are kept");
  }
  std::vector<Entry>& entries = on_[weights];
  entries.insert(place(entries), {node, permille});
  ++size_;
  return {};
}

void Residency::forget(NodeIndex node) {
  for (auto& of_weights : on_) {
    size_ -= std::erase_if(of_weights.second, [&](const Entry& entry) { return entry.first == node; });
  }
  std::erase_if(on_, [](const auto& of_weights) { return of_weights.second.empty(); });
}

const std::vector<uint32_t>* Residency::of(uint32_t weights, size_t nodes) {
  const auto known = on_.find(weights);
  if (known == on_.end()) return nullptr;
  by_node_.assign(nodes, 0);
  for (const Entry& entry : known->second) {
    if (entry.first < nodes) by_node_[entry.first] = entry.second;
  }
  return &by_node_;
}

}  // namespace tweendeck::placement
