#include <fmt/format.h>

#include <chrono>
#include <thread>

#include "app/cli/terminal.h"
#include "app/client/local_api.h"
#include "app/commands/commands.h"
#include "app/commands/show.h"
#include "base/units.h"

namespace tweendeck::commands {
namespace {

constexpr auto kPollInterval = std::chrono::milliseconds(100);
constexpr Nanos kEndMargin = 30 * kSecond;  // beyond the drain: for processes to end

// Waits until the deployment is gone.
Status wait_gone(client::LocalApi& api, const std::string& name, Nanos limit, cli::Output& output) {
  SystemClock clock;
  cli::Progress progress(output);
  for (Nanos started = clock.now(); clock.now() - started < limit;) {
    Result<client::ApiAnswer> answer = api.get("/v1/deployments/" + net::url_encode(name));
    if (!answer && answer.error().reason == Reason::NotFound) return {};
    if (!answer) return fail(answer.error());
    progress.update(fmt::format("{}: {}", name, phases_line(answer->json)));
    std::this_thread::sleep_for(kPollInterval);
  }
  return fail(Reason::Timeout, fmt::format("{} has not ended within {}", name, format_duration(limit)),
              fmt::format("`tweendeck why {}` tells how it stands", name));
}

Result<int> run(const cli::Invocation& in, cli::Output& output) {
  Result<client::LocalApi> api = client::LocalApi::of(in);
  if (!api) return fail(api.error());
  Nanos drain = in.duration("drain");
  std::string query =
      in.is_set("drain")
          ? fmt::format("?drain_s={}", static_cast<double>(drain) / static_cast<double>(kSecond))
          : "";
  net::JsonWriter w;
  w.object().array("stopped");
  for (const std::string& name : in.args()) {
    Result<client::ApiAnswer> answer =
        api->call("DELETE", fmt::format("/v1/deployments/{}{}", net::url_encode(name), query));
    if (!answer) return fail(answer.error());
    w.value(name);
  }
  for (const std::string& name : in.args()) {
    if (in.on("no-wait")) continue;
    if (Status gone = wait_gone(*api, name, drain + kEndMargin, output); !gone) return fail(gone.error());
    output.note(fmt::format("{} is stopped", name));
  }
  w.end().end();
  if (output.json) output.line(w.text());
  return 0;
}

}  // namespace

cli::Command stop_command() {
  return {.name = "stop",
          .group = kGroupServe,
          .summary = "Stop deployments: no new requests, running ones finish, then the model servers end",
          .args = {{.name = "NAME",
                    .help = "the deployments",
                    .rest = true,
                    .complete = cli::Complete::Deployment}},
          .flags = {{.name = "drain",
                     .kind = cli::FlagKind::Duration,
                     .fallback = "30s",
                     .help = "how long running requests may still take"},
                    {.name = "no-wait", .help = "return as soon as it is accepted"}},
          .examples = {{"stop smollm2", "after at most 30 s of draining"},
                       {"stop smollm2 --drain 0s", "at once"}},
          .run = run};
}

}  // namespace tweendeck::commands
