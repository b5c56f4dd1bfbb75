// resize, pause and resume: limits of slices whose processes go on running.
#include <fmt/format.h>

#include "app/cli/terminal.h"
#include "app/client/local_api.h"
#include "app/commands/commands.h"
#include "app/commands/show.h"
#include "base/units.h"
#include "serving/spec/deployment_spec.h"

namespace tweendeck::commands {
namespace {

Result<int> send(const cli::Invocation& in, const std::string& body, cli::Output& output) {
  Result<client::LocalApi> api = client::LocalApi::of(in);
  if (!api) return fail(api.error());
  Result<client::ApiAnswer> answer =
      api->call("POST", fmt::format("/v1/slices/{}/resize", net::url_encode(in.arg(0))), body);
  if (!answer) return fail(answer.error());
  if (output.json) {
    output.line(answer->text);
    return 0;
  }
  for (const net::JsonValue& slice : answer->json["slices"].items()) {
    output.note(fmt::format("{} has {}{}", text_of(slice, "id"), show_share(slice),
                            slice["paused"].bool_or(false) ? " and is paused" : ""));
    const uint64_t held = count_of(slice["use"], "memory_bytes"), limit = count_of(slice, "memory_bytes");
    if (held > limit) {
      output.note(fmt::format("{} holds {}: it gets no more until it has freed {}", text_of(slice, "id"),
                              format_bytes(held), format_bytes(held - limit)));
    }
  }
  return 0;
}

Result<int> resize(const cli::Invocation& in, cli::Output& output) {
  net::JsonWriter w;
  w.object();
  const std::pair<std::string_view, std::string_view> counts[] = {
      {"compute", "compute_percent"}, {"compute-max", "ceiling_percent"}, {"weight", "weight"}};
  bool anything = false;
  for (const auto& [flag, field] : counts) {
    if (!in.is_set(flag)) continue;
    w.field(field, in.count(flag));
    anything = true;
  }
  if (in.is_set("memory")) w.field("memory_bytes", in.bytes("memory"));
  if (in.is_set("memory-wait")) w.field("memory_wait_ms", in.duration("memory-wait") / kMillisecond);
  if (in.is_set("priority")) w.field("priority", in.integer("priority"));
  anything = anything || in.is_set("memory") || in.is_set("memory-wait") || in.is_set("priority");
  if (!anything) {
    return fail(Reason::InvalidArgument, "resize needs to know what to change",
                "for example `tweendeck resize NAME --memory 8Gi --compute 40`");
  }
  w.end();
  return send(in, w.take(), output);
}

cli::Arg name_argument() {
  return {.name = "NAME",
          .help = "a slice, a replica, or a deployment (all of its replicas)",
          .complete = cli::Complete::Deployment};
}

}  // namespace

std::vector<cli::Flag> tuning_flags() {
  return {{.name = "compute-max",
           .kind = cli::FlagKind::Count,
           .value = "PERCENT",
           .help = "compute it may use while others are idle; 0 = its own share only",
           .max = 100},
          {.name = "weight",
           .kind = cli::FlagKind::Count,
           .help = "its part of idle compute beside others that want some; 0 = as its own share",
           .max = 1000},
          {.name = "priority",
           .kind = cli::FlagKind::Integer,
           .help = "higher goes first, below 0 is possible; 0 is the default",
           .max = serving::kMaxPriority},
          {.name = "memory-wait",
           .kind = cli::FlagKind::Duration,
           .help = "how long an allocation that finds no room waits for some"}};
}

cli::Command resize_command() {
  cli::Command command{
      .name = "resize",
      .group = kGroupServe,
      .summary = "Change the share of a slice while its processes run",
      .about =
          "In force within milliseconds, without a restart. Less memory than is in use refuses new "
          "allocations "
          "until enough\nis freed (`tweendeck events` tells). A deployment's replicas that are made later "
          "start "
          "with the deployment's own share.",
      .args = {name_argument()},
      .flags = {{.name = "memory", .kind = cli::FlagKind::Bytes, .help = "device memory"},
                {.name = "compute",
                 .kind = cli::FlagKind::Count,
                 .value = "PERCENT",
                 .help = "share of the device's compute that is its own",
                 .min = 1,
                 .max = 100}},
      .examples = {{"resize chat --memory 8Gi --compute 40", "every replica of a deployment"},
                   {"resize chat-1 --compute-max 100", "let it use what others leave idle"}},
      .run = resize};
  for (cli::Flag& flag : tuning_flags()) command.flags.push_back(flag);
  return command;
}

cli::Command pause_command() {
  return {.name = "pause",
          .group = kGroupServe,
          .summary = "Hold back new GPU work of a slice until `resume`; memory and processes stay",
          .args = {name_argument()},
          .examples = {{"pause chat-1", "its idle share can be borrowed meanwhile"}},
          .run = [](const cli::Invocation& in, cli::Output& output) {
            return send(in, R"({"paused":true})", output);
          }};
}

cli::Command resume_command() {
  return {.name = "resume",
          .group = kGroupServe,
          .summary = "Let a paused slice go on",
          .args = {name_argument()},
          .examples = {{"resume chat-1", "at once"}},
          .run = [](const cli::Invocation& in, cli::Output& output) {
            return send(in, R"({"paused":false})", output);
          }};
}

}  // namespace tweendeck::commands
