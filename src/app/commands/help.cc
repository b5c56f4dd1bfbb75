#include "app/cli/help.h"

#include "app/cli/terminal.h"
#include "app/commands/commands.h"

namespace tweendeck::commands {
namespace {

Result<int> run(const cli::Invocation& in, cli::Output& output) {
  if (in.arg_count() == 0) {
    output.print(cli::overview(all_commands()));
    return 0;
  }
  const cli::Command* command = cli::find_command(all_commands(), in.arg(0));
  if (command == nullptr) {
    return fail(Reason::NotFound, "there is no command '" + in.arg(0) + "'",
                "`tweendeck help` lists the commands");
  }
  output.print(cli::help_of(*command));
  return 0;
}

}  // namespace

cli::Command help_command() {
  return {.name = "help",
          .group = kGroupOther,
          .summary = "Explain the commands",
          .args = {{.name = "COMMAND",
                    .help = "the command to explain",
                    .required = false,
                    .complete = cli::Complete::Command}},
          .examples = {{"help serve", "all flags of serve"}},
          .run = run};
}

}  // namespace tweendeck::commands
