#include <cstdio>
#include <cstring>

#include "serving/shim/layout.h"
#include "serving/shim/options.h"
#include "serving/shim/supervisor.h"

// The parent of one model server. Started by the daemon, outlives it. See layout.h for the contract.
int main(int argc, char** argv) {
  using namespace tweendeck::shim;
  if (argc == 2 && std::strcmp(argv[1], "--check-sandbox") == 0) {
    const std::string problem = check_sandbox();
    if (!problem.empty()) std::fprintf(stderr, "%s\n", problem.c_str());
    return problem.empty() ? 0 : 1;
  }
  Options options;
  if (const std::string problem = parse_options(argc, argv, options); !problem.empty()) {
    std::fprintf(stderr, "tweendeck-shim: %s\n", problem.c_str());
    return kExitUsage;
  }
  return supervise(options);
}
