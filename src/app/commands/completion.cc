#include "app/cli/completion.h"

#include <fmt/format.h>

#include "app/cli/terminal.h"
#include "app/client/local_api.h"
#include "app/commands/commands.h"
#include "app/commands/show.h"

namespace tweendeck::commands {
namespace {

Result<int> run_script(const cli::Invocation& in, cli::Output& output) {
  Result<std::string> script = cli::completion_script(in.arg(0));
  if (!script) return fail(script.error());
  output.print(*script);
  return 0;
}

// Names that the daemon knows; none when it does not answer.
std::vector<cli::Candidate> names_of(client::LocalApi& api, cli::Complete kind) {
  std::vector<cli::Candidate> names;
  if (kind == cli::Complete::Model) {
    Result<client::ApiAnswer> catalog = api.get("/v1/catalog");
    if (!catalog) return names;
    for (const net::JsonValue& model : catalog->json["models"].items()) {
      names.push_back({text_of(model, "name"), text_of(model, "description")});
    }
    return names;
  }
  if (kind == cli::Complete::Device) {
    Result<client::ApiAnswer> devices = api.get("/v1/devices");
    if (!devices) return names;
    for (const net::JsonValue& device : devices->json["devices"].items()) {
      names.push_back({text_of(device, "id"), text_of(device, "model")});
    }
    return names;
  }
  Result<client::ApiAnswer> deployments = api.get("/v1/deployments");
  if (!deployments) return names;
  for (const net::JsonValue& deployment : deployments->json["deployments"].items()) {
    names.push_back({text_of(deployment, "name"), text_of(deployment, "model")});
    if (kind != cli::Complete::Replica) continue;
    for (const net::JsonValue& replica : deployment["replicas"].items()) {
      names.push_back({text_of(replica, "id"), text_of(replica, "phase")});
    }
  }
  return names;
}

Result<int> run_words(const cli::Invocation& in, cli::Output& output) {
  Result<client::LocalApi> api = client::LocalApi::of(in);
  auto names = [&](cli::Complete kind) { return api ? names_of(*api, kind) : std::vector<cli::Candidate>(); };
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
