// Devices, slices and replicas as metric series, refreshed from snapshots; what is gone disappears. One
// thread.
#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "app/daemon/api_json.h"
#include "base/metrics.h"

namespace tweendeck::daemon {

class StateMetrics {
 public:
  explicit StateMetrics(Registry& registry) : registry_(registry) {}

  void update(const std::vector<Device>& devices, const std::vector<Slice>& slices, const UseBySlice& use,
              const std::vector<serving::DeploymentView>& deployments);

 private:
  void update_slice(const Slice& slice, const serving::SliceUse* use);
  void update_deployment(const serving::DeploymentView& deployment);
  void forget_all_but(std::string_view label, std::set<std::string>& known, std::set<std::string> now);

  Registry& registry_;
  std::set<std::string> devices_, slices_, deployments_;
};

}  // namespace tweendeck::daemon
