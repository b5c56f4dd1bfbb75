// The things that `simulate placement` can do. Each prints its result, or one JSON value with -o json, and returns the
// exit code.
#pragma once

#include "app/simulate/choices.h"

namespace tweendeck::simulate {

// Published rows against the replay of the published policies. Exit code 1 when a row differs.
Result<int> run_gate(const Context& context);
// The published experiment: pods arrive and never leave.
Result<int> run_inflation(const Context& context);
// --defrag: what moving pods would gain after it.
Result<int> run_defrag(const Context& context);
// --load: pods arrive at offered loads, wait, run and leave.
Result<int> run_load(const Context& context);
// --log, --why, --what-if: the placement engine fed with a log or a trace.
Result<int> run_replay(const Context& context);
// --events: an event log.
Result<int> run_events(const Context& context);

}  // namespace tweendeck::simulate
