// Which requests of a trace belong together: turns of one conversation, and conversations that cannot be told
// apart. Pure.
//
// The prompts form a tree of blocks. Below a block that is followed by different ones, each branch is a
// family of its own: a common beginning (a system prompt) does not make one family of all. A family that
// would be more than one of `parts` fair shares of the trace is divided at its next fork; smaller ones keep
// their forks, for those are conversations that were taken up again from an earlier turn. A last block that
// is not full counts for nothing: the next turn has another in its place.
#pragma once

#include <cstddef>
#include <vector>

#include "app/bench/trace.h"

namespace tweendeck::bench {

// A number per request; equal numbers are one family.
std::vector<size_t> families_of(const std::vector<TraceRequest>& trace, size_t parts);

}  // namespace tweendeck::bench
