#include <fmt/format.h>

#include <cerrno>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>

#include "app/cli/terminal.h"
#include "app/client/local_api.h"
#include "app/commands/commands.h"
#include "app/commands/serve_spec.h"
#include "app/commands/show.h"
#include "app/commands/wait_ready.h"
#include "serving/spec/deployment_spec.h"

namespace tweendeck::commands {
namespace {

// At most one byte more than the limit, so that the parser can refuse a larger file.
Result<std::string> read_file(const std::string& path) {
  std::string text(serving::kMaxApplyFileBytes + 1, '\0');
  if (path == "-") {
    std::cin.read(text.data(), static_cast<std::streamsize>(text.size()));
    text.resize(static_cast<size_t>(std::cin.gcount()));
    return text;
  }
  errno = 0;
  std::ifstream file(path, std::ios::binary);
  if (!file) return fail(system_error(errno, fmt::format("cannot read {}", path)));
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<size_t>(file.gcount()));
  return text;
}

Result<int> run(const cli::Invocation& in, cli::Output& output) {
  std::string path = in.text("file");
  if (path.empty())
    return fail(Reason::InvalidArgument, "apply needs a file", "write apply -f FILE, or -f - for stdin");
  Result<std::string> text = read_file(path);
  if (!text) return fail(text.error());
  Result<std::vector<serving::DeploymentSpec>> specs =
      serving::parse_apply_file(*text, path == "-" ? "stdin" : path);
  if (!specs) return fail(specs.error());
  std::error_code ignored;
  std::string base = path == "-" ? std::filesystem::current_path(ignored).string()
                                 : std::filesystem::absolute(path, ignored).parent_path().string();
  std::vector<std::string> names;
  for (serving::DeploymentSpec& spec : *specs) {
    spec.model = absolute_model(spec.model, base);
    names.push_back(spec.name);
  }
  Result<client::LocalApi> api = client::LocalApi::of(in);
  if (!api) return fail(api.error());
  Result<client::ApiAnswer> answer = api->call("POST", "/v1/apply", apply_body(*specs));
  if (!answer) return fail(answer.error());
  for (const net::JsonValue& applied : answer->json["deployments"].items()) {
    output.note(fmt::format("{} {}", text_of(applied, "name"), text_of(applied, "result")));
  }
  if (!in.on("no-wait") && !names.empty()) {
    if (Status ready = wait_ready(*api, names, in.duration("timeout"), output); !ready)
      return fail(ready.error());
    output.note(
        fmt::format("{} ready; `tweendeck ps` lists them", names.size() == 1 ? names[0] + " is" : "all are"));
  }
  if (output.json) output.line(answer->text);
  return 0;
}

}  // namespace

cli::Command apply_command() {
  return {.name = "apply",
          .group = kGroupServe,
          .summary = "Serve what a file describes: all of it or, when something is wrong, nothing",
          .about =
              "The file is YAML: a list `deployments` whose entries have the keys name, model, replicas, "
              "memory, compute, device\n"
              "and so on, as the flags of `serve`. Deployments that it does not name stay as they are.",
          .flags = {{.name = "file",
                     .letter = 'f',
                     .kind = cli::FlagKind::Text,
                     .value = "FILE",
                     .help = "the file; - is stdin",
                     .complete = cli::Complete::File},
                    {.name = "no-wait", .help = "return as soon as it is accepted"},
                    {.name = "timeout",
                     .kind = cli::FlagKind::Duration,
                     .fallback = "300s",
                     .help = "how long to wait until all are ready"}},
          .examples = {{"apply -f deck.yaml", "serve several models at once"}},
          .exit_note = "2 when the file is malformed, 5 when something in it cannot be served",
          .run = run};
}

}  // namespace tweendeck::commands
