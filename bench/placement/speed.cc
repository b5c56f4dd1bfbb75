// What decisions of the default policy cost, and what they pack, on the published inflation experiment.
#include <algorithm>
#include <cstdio>
#include <cstring>
#include <string>

#include "bench/placement/runs.h"

namespace {

constexpr char kUsage[] =
    "usage: %s NODES PODS ARRIVALS [--engine] [--copies N] [--seeds N] [--repeats N] [--check]\n";

}  // namespace

int main(int argc, char** argv) {
  using namespace tweendeck::bench;
  if (argc < 4) {
    std::fprintf(stderr, kUsage, argv[0]);
    return 2;
  }
  Options options;
  size_t seeds = SIZE_MAX;
  bool engine = false;
  for (int i = 4; i < argc; ++i) {
    const auto number = [&]() -> uint32_t {
      return i + 1 < argc ? static_cast<uint32_t>(std::stoul(argv[++i])) : 0;
    };
    if (std::strcmp(argv[i], "--engine") == 0) {
      engine = true;
    } else if (std::strcmp(argv[i], "--check") == 0) {
      options.check = true;
    } else if (std::strcmp(argv[i], "--copies") == 0) {
      options.copies = std::max(1u, number());
    } else if (std::strcmp(argv[i], "--repeats") == 0) {
      options.repeats = std::max(1u, number());
    } else if (std::strcmp(argv[i], "--seeds") == 0) {
      seeds = number();
    } else {
      std::fprintf(stderr, kUsage, argv[0]);
      return 2;
    }
  }
  const Trace trace = read_trace(argv[1], argv[2], argv[3]);
  for (size_t i = 0; i < std::min(seeds, trace.runs.size()); ++i) {
    (engine ? run_engine : run_policy)(trace, trace.runs[i], options);
  }
}
