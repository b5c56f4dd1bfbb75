// Which software GPUs a daemon has: what `--soft-gpus` asks for, against what the state directory remembers
// and holds.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "device/slice_table.h"

namespace tweendeck::daemon {

inline constexpr std::string_view kNoSoftCards = "none";

// `asked`: "" = as remembered, "none" = none, else a spec such as "2:H100-80G". `held`: every slice of the
// journal. Answers the spec, "" for none. Error: DeviceGone where other cards are asked for while slices
// on software GPUs are held: a slice must never find its device gone or smaller; the message names the
// deployments. Where nothing is remembered although slices are held, what is asked for may bring their
// devices back.
Result<std::string> choose_soft_cards(const std::string& asked, const std::string& remembered,
                                      const std::vector<device::SliceEntry>& held);

}  // namespace tweendeck::daemon
