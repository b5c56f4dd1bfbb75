#include <fmt/format.h>

#include "app/cli/terminal.h"
#include "app/client/local_api.h"
#include "app/commands/commands.h"

namespace tweendeck::commands {
namespace {

Result<int> run(const cli::Invocation& in, cli::Output& output) {
  Result<client::LocalApi> api = client::LocalApi::of(in);
  if (!api) return fail(api.error());
  std::string path = fmt::format("/v1/logs/{}?tail={}", net::url_encode(in.arg(0)), in.count("tail"));
  if (in.on("follow")) path += "&follow=1";
  std::string collected;
  bool any = false;
  bool as_json = output.json && !in.on("follow");
  Status followed = api->follow(path, [&](std::string_view data) {
    any = any || !data.empty();
    if (as_json) {
      collected += data;
      return true;
    }
    output.print(data);
    output.flush();
    return std::ferror(output.out) == 0;
  });
  if (!followed) return fail(followed.error());
  if (as_json) {
    net::JsonWriter w;
    w.object().field("replica", in.arg(0)).field("text", collected).end();
    output.line(w.text());
  }
  if (!any)
    output.note(fmt::format("{} has written nothing yet; `tweendeck why {}` tells how it stands", in.arg(0),
                            in.arg(0)));
  return 0;
}

}  // namespace

cli::Command logs_command() {
  return {
      .name = "logs",
      .group = kGroupLook,
      .summary = "Show what a replica's model server wrote",
      .args = {{.name = "REPLICA", .help = "for example smollm2-1", .complete = cli::Complete::Replica}},
      .flags = {{.name = "follow", .letter = 'f', .help = "wait for further lines"},
                {.name = "tail",
                 .kind = cli::FlagKind::Count,
                 .value = "LINES",
                 .fallback = "1000",
                 .help = "how many of the last lines",
                 .max = 100'000}},
      .examples = {{"logs smollm2-1 --tail 20", "the last 20 lines"}, {"logs smollm2-1 -f", "as they come"}},
      .run = run};
}

}  // namespace tweendeck::commands
