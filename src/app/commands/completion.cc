#include "app/cli/completion.h"

#include <fmt/format.h>

#include "app/cli/terminal.h"
#include "app/commands/commands.h"

namespace tweendeck::commands {
namespace {

Result<int> run_script(const cli::Invocation& in, cli::Output& output) {
  Result<std::string> script = cli::completion_script(in.arg(0));
  if (!script) return fail(script.error());
  output.print(*script);
  return 0;
}

Result<int> run_words(const cli::Invocation& in, cli::Output& output) {
  auto names = [](cli::Complete) { return std::vector<cli::Candidate>(); };
  cli::Completion found = cli::complete(all_commands(), in.args(), names);
  for (const cli::Candidate& candidate : found.candidates) {
    output.line(fmt::format("{}\t{}", candidate.word, candidate.says));
  }
  if (found.files == cli::Complete::File) output.line(":file");
  if (found.files == cli::Complete::Directory) output.line(":directory");
  return 0;
}

}  // namespace

cli::Command completion_command() {
  return {.name = "completion",
          .group = kGroupOther,
          .summary = "Print the completion script of a shell",
          .about = "Completes commands, flags, choices, and the names of what runs now.",
          .args = {{.name = "SHELL", .help = "bash, zsh or fish"}},
          .examples = {{"completion bash > /etc/bash_completion.d/tweendeck", "for every user of bash"}},
          .run = run_script};
}

cli::Command complete_words_command() {
  return {.name = "__complete",
          .group = kGroupOther,
          .summary = "Candidates for the last word, one per line: word, tab, explanation",
          .args = {{.name = "WORD", .help = "the words typed so far", .required = false, .rest = true}},
          .hidden = true,
          .run = run_words};
}

}  // namespace tweendeck::commands
