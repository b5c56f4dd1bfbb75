#include "app/simulate/choices.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <thread>

#include "base/text.h"
#include "base/units.h"
#include "sim/policies.h"

namespace tweendeck::simulate {

namespace {

constexpr int kInterruptedExit = 130;

Result<std::vector<sim::Workload>> named_files(const cli::Invocation& in, bool with_orders) {
  std::vector<std::string_view> wanted = {"nodes", "pods"};
  if (with_orders) wanted.push_back("order");
  for (std::string_view flag : wanted) {
    if (!in.is_set(flag)) {
      return fail(Reason::InvalidArgument, fmt::format("--{} is missing", flag),
                  "a trace is --nodes, --pods and --order, or a folder of --data");
    }
  }
  std::string name = std::filesystem::path(in.text("pods")).stem().string();
  Result<sim::Workload> workload =
      sim::load_workload(name, in.text("nodes"), in.text("pods"), with_orders ? in.text("order") : "");
  if (!workload) return fail(workload.error());
  std::vector<sim::Workload> one;
  one.push_back(std::move(*workload));
  return one;
}

}  // namespace

Result<int> ended(const Error& error) {
  if (error.reason == Reason::Cancelled) return kInterruptedExit;
  return fail(error);
}

unsigned threads_of(const cli::Invocation& in) {
  unsigned wanted = static_cast<unsigned>(in.count("threads"));
  return wanted != 0 ? wanted : std::max(1u, std::thread::hardware_concurrency());
}

Result<std::vector<uint32_t>> seeds_of(const cli::Invocation& in) {
  std::vector<uint32_t> seeds;
  for (const std::string& word : in.list("seeds")) {
    size_t dash = word.find('-');
    Result<uint64_t> first = parse_count(word.substr(0, dash), UINT32_MAX, "--seeds");
    if (!first) return fail(first.error());
    Result<uint64_t> last =
        dash == std::string::npos ? first : parse_count(word.substr(dash + 1), UINT32_MAX, "--seeds");
    if (!last) return fail(last.error());
    if (*last < *first || *last - *first >= sim::kMaxSeeds) {
      return fail(Reason::InvalidArgument, fmt::format("--seeds has the range {}", word),
                  fmt::format("write it like 42-51, with at most {} seeds", sim::kMaxSeeds));
    }
    for (uint64_t seed = *first; seed <= *last; ++seed) seeds.push_back(static_cast<uint32_t>(seed));
  }
  return seeds;
}

Result<std::vector<sim::Workload>> workloads_of(const cli::Invocation& in, bool with_orders) {
  if (in.is_set("nodes") || in.is_set("pods") || in.is_set("order")) return named_files(in, with_orders);
  std::vector<std::string> names = in.list("workload");
  if (names.empty()) {
    Result<std::vector<std::string>> all = sim::workloads_of(in.text("data"));
    if (!all) return fail(all.error());
    names = std::move(*all);
  }
  std::vector<sim::Workload> workloads;
  for (const std::string& name : names) {
    Result<sim::Workload> workload = sim::load_workload_of(in.text("data"), name);
    if (!workload) return fail(workload.error());
    workloads.push_back(std::move(*workload));
  }
  return workloads;
}

Result<Policies> policies_of(const cli::Invocation& in) {
  Policies policies;
  auto add = [&](const std::string& name) -> Status {
    if (Status known = sim::check_policy(name); !known) return known;
    if (std::ranges::find(policies.names, name) == policies.names.end()) policies.names.push_back(name);
    return {};
  };
  std::vector<std::string> wanted = in.list("policy");
  if (wanted.empty()) wanted.emplace_back(sim::default_policy());
  for (const std::string& name : wanted)
    if (Status added = add(name); !added) return fail(added.error());
  policies.compare_from = policies.names.size();
  for (const std::string& name : in.list("compare"))
    if (Status added = add(name); !added) return fail(added.error());
  return policies;
}

}  // namespace tweendeck::simulate
