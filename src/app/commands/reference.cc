#include "app/cli/help.h"
#include "app/cli/terminal.h"
#include "app/commands/commands.h"

namespace tweendeck::commands {
namespace {

Result<int> run(const cli::Invocation& in, cli::Output& output) {
  if (in.arg(0) == "cli")
    output.print(cli::cli_reference(all_commands()));
  else if (in.arg(0) == "exit-codes")
    output.print(cli::exit_code_reference());
  else if (in.arg(0) == "reasons")
    output.print(cli::reason_reference());
  else
    return fail(Reason::InvalidArgument, "no page '" + in.arg(0) + "'", "use cli, exit-codes or reasons");
  return 0;
}

}  // namespace

cli::Command reference_command() {
  return {.name = "__reference",
          .group = kGroupOther,
          .summary = "Write a generated page of docs/reference to stdout",
          .args = {{.name = "PAGE", .help = "cli, exit-codes or reasons"}},
          .hidden = true,
          .run = run};
}

}  // namespace tweendeck::commands
