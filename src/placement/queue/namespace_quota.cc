#include "placement/queue/namespace_quota.h"

#include <algorithm>

#include "base/units.h"

namespace tweendeck::placement {
namespace {

struct Key {
  std::string_view suffix;
  Resource resource;
  int64_t unit;
};

// Of HAMi's pkg/device/quota.go and its documentation of resource quotas.
constexpr std::array<Key, 3> kKeys = {{{"nvidia.com/gpu", kDevices, 1},
                                       {"nvidia.com/gpumem", kMemory, static_cast<int64_t>(kMiB)},
                                       {"nvidia.com/gpucores", kCompute, 10}}};

const Key* key_of(std::string_view name) {
  for (const std::string_view kind : {"limits.", "requests."}) {
    if (!name.starts_with(kind)) continue;
    for (const Key& key : kKeys) {
      if (name.substr(kind.size()) == key.suffix) return &key;
    }
  }
  return nullptr;
}

}  // namespace

NamespaceId NamespaceQuotas::find(std::string_view name) const {
  const auto known = ids_.find(std::string(name));
  return known == ids_.end() ? kNoNamespace : known->second;
}

Result<NamespaceId> NamespaceQuotas::put(std::string_view name,
                                         const std::vector<std::pair<std::string, std::string>>& hard) {
  Amounts limit;
  limit.fill(kUnlimited);
  for (const auto& [field, quantity] : hard) {
    const Key* key = key_of(field);
    if (key == nullptr) continue;
    // Kubernetes' quantities are those of bytes: "20", "20k", "20Ki".
    const Result<uint64_t> amount = parse_bytes(quantity);
    if (!amount) {
      return fail(Reason::InvalidArgument,
                  "quota of namespace '" + std::string(name) + "': " + field + " is '" + quantity + "'",
                  "give a whole number, for example \"2\" or \"64Ki\"");
    }
    const __int128_t scaled = static_cast<__int128_t>(*amount) * key->unit;
    limit[key->resource] =
        std::min(limit[key->resource], static_cast<int64_t>(std::min<__int128_t>(scaled, kUnlimited)));
  }
  NamespaceId id = find(name);
  if (id == kNoNamespace) {
    if (entries_.size() == kMaxNamespaces) {
      return fail(Reason::LimitExceeded,
                  "there are quotas for " + std::to_string(kMaxNamespaces) + " namespaces already");
    }
    id = static_cast<NamespaceId>(entries_.size());
    entries_.push_back({std::string(name), {}, {}});
    ids_.emplace(name, id);
  }
  entries_[id].limit = limit;
  return id;
}

Admission NamespaceQuotas::admit(NamespaceId id, const Amounts& ask) const {
  Admission admission;
  if (id == kNoNamespace) return admission;
  const Entry& entry = entries_[id];
  for (uint8_t r = 0; r < kFirstModel; ++r) {
    if (ask[r] == 0 || entry.used[r] <= entry.limit[r] - ask[r]) continue;
    const bool never = ask[r] > entry.limit[r];
    if (admission.tier == QuotaTier::Never || (admission.tier == QuotaTier::Waiting && !never)) continue;
    admission.tier = never ? QuotaTier::Never : QuotaTier::Waiting;
    admission.reason = never ? Reason::ExceedsNamespaceQuota : Reason::NamespaceQuotaReached;
    admission.resource = r;
    admission.lack = never ? ask[r] - entry.limit[r] : entry.used[r] - (entry.limit[r] - ask[r]);
  }
  return admission;
}

void NamespaceQuotas::charge(NamespaceId id, const Amounts& ask) {
  if (id != kNoNamespace) add(entries_[id].used, ask);
}

void NamespaceQuotas::refund(NamespaceId id, const Amounts& ask) {
  if (id != kNoNamespace) subtract(entries_[id].used, ask);
}

}  // namespace tweendeck::placement
