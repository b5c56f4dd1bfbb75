#include <fmt/format.h>

#include "app/cli/terminal.h"
#include "app/client/local_api.h"
#include "app/commands/commands.h"
#include "app/commands/show.h"

namespace tweendeck::commands {
namespace {

cli::Style style_of(std::string_view severity) {
  if (severity == "error") return cli::Style::Bad;
  return severity == "warning" ? cli::Style::Warn : cli::Style::Dim;
}

Result<int> run(const cli::Invocation& in, cli::Output& output) {
  Result<client::LocalApi> api = client::LocalApi::of(in);
  if (!api) return fail(api.error());
  Result<client::ApiAnswer> answer = api->get("/v1/doctor");
  if (!answer) return fail(answer.error());
  bool healthy = answer->json["healthy"].bool_or(false);
  int code = healthy ? 0 : static_cast<int>(ExitCode::General);
  if (output.json) {
    output.line(answer->text);
    return code;
  }
  for (const net::JsonValue& finding : answer->json["findings"].items()) {
    std::string severity = text_of(finding, "severity");
    output.line(fmt::format(
        "{} {}: {} [{}]", cli::paint(fmt::format("{:8}", severity), style_of(severity), output.out_color),
        text_of(finding, "subject"), text_of(finding, "message"), text_of(finding, "reason")));
    if (std::string hint = text_of(finding, "hint"); !hint.empty())
      output.line(fmt::format("         hint: {}", hint));
  }
  output.line(healthy ? output.good("all is well") : "something is worse than it could be, see above");
  return code;
}

}  // namespace

cli::Command doctor_command() {
  return {.name = "doctor",
          .group = kGroupLook,
          .summary = "Check this machine and everything that runs for degraded modes and faults",
          .examples = {{"doctor", "what is wrong and how to make it right"}},
          .exit_note = "0 when all is well, 1 when something was found",
          .run = run};
}

}  // namespace tweendeck::commands
