#include "app/cli/terminal.h"
#include "app/client/local_api.h"
#include "app/commands/commands.h"
#include "app/commands/show.h"

namespace tweendeck::commands {
namespace {

Result<int> run(const cli::Invocation& in, cli::Output& output) {
  Result<client::LocalApi> api = client::LocalApi::of(in);
  if (!api) return fail(api.error());
  Result<client::ApiAnswer> answer = api->get("/v1/devices");
  if (!answer) return fail(answer.error());
  if (output.json) {
    output.line(answer->text);
    return 0;
  }
  output.print(devices_table(answer->json).render(output.out_color));
  cli::Table slices({"SLICE", "DEVICE", "OWNER", "SHARE", "ISOLATION"});
  for (const net::JsonValue& device : answer->json["devices"].items()) {
    for (const net::JsonValue& slice : device["slices"].items()) {
      slices.row({text_of(slice, "id"), text_of(slice, "device"), text_of(slice, "owner"), show_share(slice),
                  show_isolation(slice)});
    }
  }
  if (answer->json["devices"].items().empty())
    output.note("no device can be used here; `tweendeck doctor` says why");
  else if (slices.empty())
    output.note("no slices yet; `tweendeck serve smollm2 --memory 1Gi --compute 40` makes one");
  else
    output.print("\n" + slices.render(output.out_color));
  return 0;
}

}  // namespace

cli::Command devices_command() {
  return {
      .name = "devices",
      .group = kGroupLook,
      .summary = "List the devices of this machine and the slices on them",
      .about =
          "Isolation says what keeps a slice inside its share: hardware, kernel (cgroup), driver, library, "
          "or none with\n"
          "the reason.",
      .examples = {{"devices", "memory, compute and isolation of each"}, {"devices -o json", "for programs"}},
      .run = run};
}

}  // namespace tweendeck::commands
