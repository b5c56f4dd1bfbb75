// F of FGD (Weng et al., "Beware of Fragmentation", ATC'23, section 3, and pkg/utils/frag.go of its simulator): how
// much of a node's idle GPU the typical pods cannot use. Pure.
#pragma once

#include <vector>

#include "sim/replay/typical.h"

namespace tweendeck::sim {

// In thousandths of a GPU. For a typical pod that cannot run here, or that needs no GPU, all idle GPU counts; for one
// that can, the GPUs too small for one unit of it. Summed in the published order, so that its last bit is the
// published one.
double fragmented_milli(const NodeState& node, const std::vector<TypicalPod>& typical);

}  // namespace tweendeck::sim
