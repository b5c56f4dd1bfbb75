// What stands between the engine and the machine. All of it runs in the engine's process before exec.
#pragma once

#include <string>
#include <vector>

#include "serving/shim/options.h"

namespace tweendeck::shim {

// Each returns "" or what failed, with the system's reason. enter_sandbox must come before drop_privileges.
std::string enter_slice(const std::vector<std::string>& cgroup_procs);
// A private mount namespace with a small tmpfs at kSandboxTop, read-only after the bind mounts are made below
// kSandboxRoot. Expects umask 022.
std::string enter_sandbox(const std::vector<BindMount>& mounts);
// Own user and group without supplementary groups, no capabilities, no way to gain any (no_new_privs), no
// core dumps.
std::string drop_privileges(unsigned uid);

}  // namespace tweendeck::shim
