// Quotas of namespaces in the form that HAMi and Kubernetes use: a ResourceQuota whose `hard` names
//   limits.nvidia.com/gpu       devices
//   limits.nvidia.com/gpumem    MiB of device memory, times the devices of a claim
//   limits.nvidia.com/gpucores  percent of a device's compute, times the devices of a claim
// (`requests.` in place of `limits.` means the same.) They apply beside the queues: a namespace may use several
// queues, and a claim must satisfy both. Other keys are Kubernetes' own and not looked at here.
#pragma once

#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/result.h"
#include "placement/queue/queues.h"

namespace tweendeck::placement {

using NamespaceId = uint32_t;  // dense, never used again
inline constexpr NamespaceId kNoNamespace = UINT32_MAX;
inline constexpr size_t kMaxNamespaces = 100'000;

class NamespaceQuotas {
 public:
  // All of a namespace's quota; an empty list means no limit. What is used stays, also above a new limit. Errors:
  // InvalidArgument (a malformed quantity), LimitExceeded.
  Result<NamespaceId> put(std::string_view name,
                          const std::vector<std::pair<std::string, std::string>>& hard);
  NamespaceId find(std::string_view name) const;  // kNoNamespace when unknown

  // Reasons NamespaceQuotaReached and ExceedsNamespaceQuota; `queue` is not set. kNoNamespace is always admitted.
  Admission admit(NamespaceId id, const Amounts& ask) const;
  void charge(NamespaceId id, const Amounts& ask);
  void refund(NamespaceId id, const Amounts& ask);
  const Amounts& used(NamespaceId id) const { return entries_[id].used; }
  const Amounts& limit(NamespaceId id) const { return entries_[id].limit; }
  const std::string& name(NamespaceId id) const { return entries_[id].name; }
  size_t size() const { return entries_.size(); }

 private:
  struct Entry {
    std::string name;
    Amounts limit{}, used{};
  };
  std::vector<Entry> entries_;
  std::unordered_map<std::string, NamespaceId> ids_;  // looked up only
};

}  // namespace tweendeck::placement
