#include "app/commands/commands.h"

namespace tweendeck::commands {

const std::vector<cli::Command>& all_commands() {
  static const std::vector<cli::Command> commands = {
      up_command(),         down_command(),     serve_command(),
      apply_command(),      scale_command(),    stop_command(),
      resize_command(),     pause_command(),    resume_command(),
      exec_command(),       run_command(),      bench_command(),
      picker_command(),     ps_command(),       top_command(),
      devices_command(),    slices_command(),   why_command(),
      events_command(),     logs_command(),     doctor_command(),
      simulate_command(),   tokenize_command(), version_command(),
      completion_command(), help_command(),     complete_words_command(),
      reference_command(),
  };
  return commands;
}

}  // namespace tweendeck::commands
