#include <fmt/format.h>

#include "app/cli/terminal.h"
#include "app/client/local_api.h"
#include "app/commands/commands.h"
#include "app/commands/show.h"

namespace tweendeck::commands {
namespace {

Result<int> run(const cli::Invocation& in, cli::Output& output) {
  Result<client::LocalApi> api = client::LocalApi::of(in);
  if (!api) return fail(api.error());
  Result<client::ApiAnswer> daemon = api->get("/v1/version");
  if (!daemon && daemon.error().reason != Reason::DaemonUnreachable) return fail(daemon.error());
  if (output.json) {
    net::JsonWriter w;
    w.object().field("version", TWEENDECK_VERSION);
    if (daemon) w.name("daemon").raw(daemon->text);
    w.end();
    output.line(w.text());
    return 0;
  }
  output.line(fmt::format("tweendeck version {}", TWEENDECK_VERSION));
  if (daemon) {
    output.line(fmt::format("daemon version {}, pid {}, gateway {}, state {}{}",
                            text_of(daemon->json, "version"), count_of(daemon->json, "pid"),
                            text_of(daemon->json, "gateway"), text_of(daemon->json, "state_dir"),
                            daemon->json["stopping"].bool_or(false) ? ", stopping" : ""));
  } else {
    output.line(daemon.error().message);
  }
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
