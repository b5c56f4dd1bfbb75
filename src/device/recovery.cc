#include "device/recovery.h"

namespace tweendeck::device {
namespace {

RecoveryStep step_for(const SliceEntry& entry, bool is_on_machine) {
  switch (entry.state) {
    case SliceState::Preparing:
      return RecoveryStep::Undo;
    case SliceState::Releasing:
      return RecoveryStep::FinishRelease;
    case SliceState::Prepared:
      break;
  }
  // A slice without isolation leaves nothing on the machine that could be found again.
  return is_on_machine || entry.slice.isolation == Isolation::None ? RecoveryStep::Adopt
                                                                   : RecoveryStep::Rebuild;
}

}  // namespace

std::vector<RecoveryAction> plan_recovery(const SliceTable& table, const std::set<std::string>& on_machine) {
  std::vector<RecoveryAction> actions;
  for (const std::string& id : on_machine) {
    if (table.find(id) == nullptr) actions.push_back({RecoveryStep::RemoveLeaked, id});
  }
  for (bool kept : {false, true}) {
    for (const auto& [id, entry] : table.entries()) {
      if ((entry.state == SliceState::Prepared) == kept)
        actions.push_back({step_for(entry, on_machine.contains(id)), id});
    }
  }
  return actions;
}

}  // namespace tweendeck::device
