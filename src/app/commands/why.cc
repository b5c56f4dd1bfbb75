#include <fmt/format.h>

#include "app/cli/terminal.h"
#include "app/client/local_api.h"
#include "app/commands/commands.h"
#include "app/commands/show.h"
#include "base/units.h"

namespace tweendeck::commands {
namespace {

void show_replica(const net::JsonValue& report, cli::Output& output) {
  const net::JsonValue& replica = report["replica"];
  const net::JsonValue& slice = replica["slice"];
  std::string line = fmt::format("  {}  {}", text_of(replica, "id"),
                                 show_phase(text_of(replica, "phase"), output.out_color));
  if (std::string reason = text_of(replica, "reason"); !reason.empty()) line += fmt::format(" [{}]", reason);
  if (std::string message = text_of(replica, "message"); !message.empty()) line += "  " + message;
  output.line(line);
  if (const std::string tried = text_of(replica, "tried"); !tried.empty())
    output.line(fmt::format("    last asked for a slice at {}", show_clock(tried)));
  if (slice.is_object()) {
    std::string use;
    if (slice["use"].is_object()) {
      use = fmt::format(", uses {}", format_bytes(count_of(slice["use"], "memory_bytes")));
    }
    output.line(fmt::format("    slice {} on {}: {}{}, isolation {}", text_of(slice, "id"),
                            text_of(slice, "device"), show_share(slice), use, show_isolation(slice)));
  }
  if (const net::JsonValue& exit = replica["last_exit"]; exit.is_object()) {
    output.line(fmt::format("    last exit {}: {} [{}], {} restarts", show_clock(exit["time"].text_or("")),
                            text_of(exit, "message"), text_of(exit, "reason"),
                            count_of(replica, "restarts")));
    for (const net::JsonValue& text : report["last_log_lines"].items()) {
      output.line(output.dim(fmt::format("      | {}", text.text_or(""))));
    }
  }
}

Result<int> run(const cli::Invocation& in, cli::Output& output) {
  Result<client::LocalApi> api = client::LocalApi::of(in);
  if (!api) return fail(api.error());
  Result<client::ApiAnswer> answer = api->get("/v1/why/" + net::url_encode(in.arg(0)));
  if (!answer) return fail(answer.error());
  std::string reason = text_of(answer->json, "reason");
  int code = reason.empty() ? 0 : static_cast<int>(ExitCode::General);
  if (output.json) {
    output.line(answer->text);
    return code;
  }
  output.line(fmt::format("{}{}", text_of(answer->json, "sentence"),
                          reason.empty() ? "" : fmt::format(" [{}]", reason)));
  for (const net::JsonValue& hint : answer->json["hints"].items())
    output.line(fmt::format("  hint: {}", hint.text_or("")));
  for (const net::JsonValue& report : answer->json["replicas"].items()) show_replica(report, output);
  if (!answer->json["events"].items().empty()) output.line("\nEvents:");
  for (const net::JsonValue& event : answer->json["events"].items()) {
    output.line("  " + event_line(event, output.out_color));
  }
  return code;
}

}  // namespace

cli::Command why_command() {
  return {
      .name = "why",
      .group = kGroupLook,
      .summary = "Tell how a deployment or replica stands, why, and what would change it",
      .args = {{.name = "NAME", .help = "a deployment or a replica", .complete = cli::Complete::Deployment}},
      .examples = {{"why smollm2", "its replicas, slices, last exits and events"}},
      .exit_note = "0 when all is well, 1 when something is wrong",
      .run = run};
}

}  // namespace tweendeck::commands
