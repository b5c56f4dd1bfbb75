// The shim's life: take the lock, start the engine, pump its output, obey stop and kill, leave nothing
// behind.
#pragma once

#include "serving/shim/options.h"

namespace tweendeck::shim {

// Runs to the engine's end; returns the shim's exit status.
int supervise(const Options& options);

// Tries what the sandbox needs in a child process: "" when it works here, else what failed.
std::string check_sandbox();

}  // namespace tweendeck::shim
