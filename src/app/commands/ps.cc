#include "app/cli/terminal.h"
#include "app/client/local_api.h"
#include "app/commands/commands.h"
#include "app/commands/show.h"

namespace tweendeck::commands {
namespace {

Result<int> run(const cli::Invocation& in, cli::Output& output) {
  Result<client::LocalApi> api = client::LocalApi::of(in);
  if (!api) return fail(api.error());
  Result<client::ApiAnswer> answer = api->get("/v1/deployments");
  if (!answer) return fail(answer.error());
  if (output.json) {
    output.line(answer->text);
    return 0;
  }
  cli::Table table = deployments_table(answer->json, SystemClock().wall_now(), output.out_color);
  if (answer->json["stopping"].bool_or(false))
    output.note("the daemon is stopping: it takes no changes and no new requests");
  if (table.empty()) {
    output.note("nothing is served yet; try `tweendeck serve smollm2 --memory 1Gi --compute 40`");
    return 0;
  }
  output.print(table.render(output.out_color));
  return 0;
}

}  // namespace

cli::Command ps_command() {
  return {.name = "ps",
          .group = kGroupLook,
          .summary = "List deployments and their replicas",
          .examples = {{"ps", "every replica with its phase, slice and process"},
                       {"ps -o json", "the same for programs"}},
          .run = run};
}

}  // namespace tweendeck::commands
