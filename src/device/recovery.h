// What to do with every slice after a start: the journal says what should exist, the machine what does.
//
// A prepare that was never acknowledged is undone (its caller asks again with the same id), a begun release
// is finished, a prepared slice is kept and re-verified (rebuilt when the machine lost it, for example by a
// reboot), and what nobody knows is removed. Pure; the order of the answer depends on the arguments only.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "device/slice_table.h"

namespace tweendeck::device {

enum class RecoveryStep : uint8_t {
  Undo,           // begun, never acknowledged
  FinishRelease,  // a release was begun
  Adopt,          // prepared and present
  Rebuild,        // prepared, but the machine does not have it
  RemoveLeaked,   // on the machine, unknown to the journal
};

struct RecoveryAction {
  RecoveryStep step;
  std::string slice_id;
  bool operator==(const RecoveryAction&) const = default;
};

// `on_machine`: ids that any provider or cgroup tree reports. Removals come before adoptions, so that what is
// to be rebuilt finds its memory free.
std::vector<RecoveryAction> plan_recovery(const SliceTable& table, const std::set<std::string>& on_machine);

}  // namespace tweendeck::device
