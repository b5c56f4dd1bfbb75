#include <fmt/format.h>

#include "app/cli/terminal.h"
#include "app/commands/commands.h"

namespace tweendeck::commands {
namespace {

Result<int> run(const cli::Invocation&, cli::Output& output) {
  if (output.json) output.line(fmt::format(R"({{"version":"{}"}})", TWEENDECK_VERSION));
  else output.line(fmt::format("tweendeck {}", TWEENDECK_VERSION));
  return 0;
}

}  // namespace

cli::Command version_command() {
  return {.name = "version",
          .group = kGroupOther,
          .summary = "Show the versions of the program and of the running daemon",
          .run = run};
}

}  // namespace tweendeck::commands
