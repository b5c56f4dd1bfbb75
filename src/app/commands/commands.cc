#include "app/commands/commands.h"

namespace tweendeck::commands {

const std::vector<cli::Command>& all_commands() {
  static const std::vector<cli::Command> commands = {
      version_command(), completion_command(), help_command(),
      complete_words_command(), reference_command(),
  };
  return commands;
}

}  // namespace tweendeck::commands
