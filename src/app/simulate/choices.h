// What the flags of `simulate placement` choose: traces, policies, seeds, threads.
#pragma once

#include <atomic>
#include <string>
#include <vector>

#include "app/cli/command.h"
#include "app/cli/terminal.h"
#include "sim/dataset.h"

namespace tweendeck::simulate {

inline constexpr uint64_t kMaxThreads = 256;

// What a run is given: the command line, where to write, and a flag that an interrupt sets.
struct Context {
  const cli::Invocation& in;
  const cli::Output& output;
  const std::atomic<bool>& stop;
};

// An interrupt ends as 128 + SIGINT, like any program; other errors keep theirs.
Result<int> ended(const Error& error);

unsigned threads_of(const cli::Invocation& in);  // --threads; 0 = one per CPU

// --seeds: "42-51,60". Errors: InvalidArgument.
Result<std::vector<uint32_t>> seeds_of(const cli::Invocation& in);

// --nodes, --pods and --order, or --data and --workload. Errors: as the loaders; InvalidArgument when one of the
// three is missing. Without `with_orders` no order is asked for.
Result<std::vector<sim::Workload>> workloads_of(const cli::Invocation& in, bool with_orders);

// --policy's names, then those of --compare that are not among them.
struct Policies {
  std::vector<std::string> names;
  size_t compare_from = 0;
};
// Errors: NotFound with the near miss.
Result<Policies> policies_of(const cli::Invocation& in);

}  // namespace tweendeck::simulate
