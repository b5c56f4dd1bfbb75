// Which processes run inside a slice, and ending them. A usage page is written by the tenant, so a pid found
// there is believed only when that process has this very page mapped. Linux only; blocking.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/result.h"

namespace tweendeck::device::nvml {

// True when process `pid` maps the file at `path`.
bool maps_file(uint32_t pid, const std::string& path);

// The candidates that map the file, each once.
std::vector<uint32_t> tenants(const std::vector<uint32_t>& candidates, const std::string& usage_path);

// Start time of a living process in clock ticks since boot; nothing when it has ended (a zombie has).
std::optional<uint64_t> start_ticks(uint32_t pid);

// SIGKILLs them and waits until they are gone. Errors: Timeout.
Status kill_tenants(const std::vector<uint32_t>& pids, const std::string& usage_path, Nanos wait);

}  // namespace tweendeck::device::nvml
