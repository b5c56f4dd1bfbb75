// tweendeck: one binary for the daemon and every command.
#include <signal.h>

#include <cstdlib>
#include <exception>
#include <string>
#include <vector>

#include "app/cli/command.h"
#include "app/cli/help.h"
#include "app/cli/terminal.h"
#include "app/commands/commands.h"

namespace {

using namespace tweendeck;

std::optional<std::string> environment(std::string_view name) {
  const char* value = std::getenv(std::string(name).c_str());
  return value == nullptr ? std::nullopt : std::optional<std::string>(value);
}

int run(const std::vector<std::string>& words) {
  Result<cli::Invocation> invocation = cli::parse(commands::all_commands(), words, environment);
  cli::Output output = cli::terminal_output(invocation ? &*invocation : nullptr, environment);
  if (!invocation) {
    output.error(invocation.error());
    return static_cast<int>(exit_code(invocation.error().reason));
  }
  if (invocation->help()) {
    output.print(invocation->command().name == "help" ? cli::overview(commands::all_commands())
                                                      : cli::help_of(invocation->command()));
    return 0;
  }
  Result<int> code = invocation->command().run(*invocation, output);
  if (!code) {
    output.error(code.error());
    return static_cast<int>(exit_code(code.error().reason));
  }
  output.flush();
  return *code;
}

}  // namespace

int main(int argc, char** argv) {
  // A reader that went away (| head) is seen as a failed write, not as a signal.
  signal(SIGPIPE, SIG_IGN);
  try {
    return run({argv + 1, argv + argc});
  } catch (const std::exception& error) {
    cli::terminal_output(nullptr, environment)
        .error(
            {Reason::Internal, error.what(), "this is a defect; please report the command and this message"});
    return static_cast<int>(ExitCode::General);
  }
}
