#include "app/daemon/soft_cards.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <set>

namespace tweendeck::daemon {

Result<std::string> choose_soft_cards(const std::string& asked, const std::string& remembered,
                                      const std::vector<device::SliceEntry>& held) {
  if (asked.empty() || asked == remembered) return remembered;
  std::string wanted = asked == kNoSoftCards ? "" : asked;
  std::set<std::string> holders;
  for (const device::SliceEntry& entry : held) {
    if (entry.provider == "soft")
      holders.insert(entry.slice.deployment.empty() ? entry.slice.owner : entry.slice.deployment);
  }
  if (holders.empty() || wanted == remembered || remembered.empty()) return wanted;
  std::string names = fmt::format("{}", fmt::join(holders, ", "));
  return fail(
      Reason::DeviceGone,
      fmt::format("--soft-gpus {} differs from the software GPUs {} whose slices are held by {}", asked,
                  remembered, names),
      fmt::format("start without --soft-gpus to keep them; to change them stop these deployments first: {}",
                  names));
}

}  // namespace tweendeck::daemon
