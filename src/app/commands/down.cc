#include <fmt/format.h>

#include <chrono>
#include <thread>

#include "app/cli/terminal.h"
#include "app/client/local_api.h"
#include "app/client/process_end.h"
#include "app/commands/commands.h"
#include "app/commands/show.h"
#include "base/text.h"
#include "base/units.h"

namespace tweendeck::commands {
namespace {

constexpr auto kPollInterval = std::chrono::milliseconds(100);
constexpr Nanos kEndMargin = 60 * kSecond;  // beyond drain and grace: for killed processes to end

Nanos seconds_of(const net::JsonValue& json, std::string_view field) {
  return static_cast<Nanos>(json[field].number_or(0) * static_cast<double>(kSecond));
}

// What is left to do, for progress.
std::string what_is_left(client::LocalApi& api) {
  Result<client::ApiAnswer> answer = api.get("/v1/deployments");
  if (!answer) return "stopping the daemon";
  size_t left = 0;
  for (const net::JsonValue& deployment : answer->json["deployments"].items())
    left += deployment["replicas"].items().size();
  return left == 0 ? std::string("stopping the daemon")
                   : fmt::format("stopping, {} left", counted(left, "replica"));
}

Result<int> run(const cli::Invocation& in, cli::Output& output) {
  Result<client::LocalApi> api = client::LocalApi::of(in);
  if (!api) return fail(api.error());
  net::JsonWriter body;
  body.object();
  if (in.is_set("drain"))
    body.field("drain_s", static_cast<double>(in.duration("drain")) / static_cast<double>(kSecond));
  body.end();
  Result<client::ApiAnswer> answer = api->call("POST", "/v1/down", body.text());
  if (!answer) return fail(answer.error());
  Nanos limit = seconds_of(answer->json, "drain_s") + seconds_of(answer->json, "grace_s") + kEndMargin;
  auto pid = static_cast<int64_t>(count_of(answer->json, "pid"));
  SystemClock clock;
  Nanos started = clock.now();
  {
    cli::Progress progress(output);
    while (!client::process_ended(pid)) {
      if (clock.now() - started > limit) {
        return fail(Reason::Timeout,
                    fmt::format("the daemon (pid {}) is still there: {}", pid, what_is_left(*api)),
                    "it goes on ending them; `tweendeck ps` tells what is left, `tweendeck down --drain 0s` "
                    "does not wait for requests");
      }
      progress.update(what_is_left(*api));
      std::this_thread::sleep_for(kPollInterval);
    }
  }
  if (output.json)
    output.line(answer->text);
  else
    output.note(fmt::format("tweendeck on {} is down", api->state_dir()));
  return 0;
}

}  // namespace

cli::Command down_command() {
  return {
      .name = "down",
      .group = kGroupDaemon,
      .summary = "Stop everything: running requests finish, model servers end, then the daemon",
      .flags = {{.name = "drain",
                 .kind = cli::FlagKind::Duration,
                 .fallback = "30s",
                 .help =
                     "how long running requests may still take (default when not given: the daemon's own)"}},
      .examples = {{"down", "after at most 30 s of draining"},
                   {"down --drain 0s", "at once; also when one is under way"}},
      .run = run};
}

}  // namespace tweendeck::commands
