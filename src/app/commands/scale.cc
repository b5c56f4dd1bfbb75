#include <fmt/format.h>

#include "app/cli/terminal.h"
#include "app/client/local_api.h"
#include "app/commands/commands.h"
#include "app/commands/wait_ready.h"
#include "base/text.h"
#include "base/units.h"
#include "serving/spec/deployment_spec.h"

namespace tweendeck::commands {
namespace {

Result<int> run(const cli::Invocation& in, cli::Output& output) {
  Result<uint64_t> replicas = parse_count(in.arg(1), serving::kMaxReplicas, "REPLICAS");
  if (!replicas) return fail(replicas.error());
  Result<client::LocalApi> api = client::LocalApi::of(in);
  if (!api) return fail(api.error());
  std::string name = in.arg(0);
  Result<client::ApiAnswer> answer =
      api->call("POST", fmt::format("/v1/deployments/{}/scale", net::url_encode(name)),
                fmt::format(R"({{"replicas":{}}})", *replicas));
  if (!answer) return fail(answer.error());
  if (!in.on("no-wait")) {
    if (Status ready = wait_ready(*api, {name}, in.duration("timeout"), output); !ready)
      return fail(ready.error());
  }
  if (output.json)
    output.line(answer->text);
  else
    output.note(fmt::format("{} has {}", name, counted(*replicas, "replica")));
  return 0;
}

}  // namespace

cli::Command scale_command() {
  return {.name = "scale",
          .group = kGroupServe,
          .summary = "Change how many replicas a deployment has",
          .about = "Replicas that go finish their running requests first.",
          .args = {{.name = "NAME", .help = "the deployment", .complete = cli::Complete::Deployment},
                   {.name = "REPLICAS", .help = "how many; 0 keeps the deployment known without any"}},
          .flags = {{.name = "no-wait", .help = "return as soon as it is accepted"},
                    {.name = "timeout",
                     .kind = cli::FlagKind::Duration,
                     .fallback = "180s",
                     .help = "how long to wait until it is so"}},
          .examples = {{"scale smollm2 3", "three replicas"}},
          .run = run};
}

}  // namespace tweendeck::commands
