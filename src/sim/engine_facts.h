// A trace's nodes and pods as the placement engine knows them.
#pragma once

#include "placement/cluster/facts.h"
#include "sim/trace/cluster_trace.h"

namespace tweendeck::sim {

placement::NodeFacts facts_of(const TraceNode& node, const NodeList& list);
// A GPU share of a trace asks for compute; the trace does not say how much of a GPU's memory.
placement::Request request_of(const TracePod& pod, const NodeList& list);

}  // namespace tweendeck::sim
