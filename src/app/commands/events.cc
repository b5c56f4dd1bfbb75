#include <fmt/format.h>

#include <set>

#include "app/cli/terminal.h"
#include "app/client/local_api.h"
#include "app/commands/commands.h"
#include "app/commands/show.h"
#include "base/text.h"

namespace tweendeck::commands {
namespace {

// Prints every whole line of a growing NDJSON text; a record that fills no line yet stays.
class EventPrinter {
 public:
  EventPrinter(cli::Output& output, std::string subject) : output_(output), subject_(std::move(subject)) {}

  bool take(std::string_view data) {
    pending_ += data;
    for (size_t end; (end = pending_.find('\n')) != std::string::npos; pending_.erase(0, end + 1)) {
      print(pending_.substr(0, end));
    }
    output_.flush();
    return std::ferror(output_.out) == 0;
  }

 private:
  void print(const std::string& line) {
    Result<net::JsonValue> event = net::parse_json(line);
    if (!event || (!subject_.empty() && text_of(*event, "subject") != subject_)) return;
    output_.line(output_.json ? line : event_line(*event, output_.out_color));
  }

  cli::Output& output_;
  std::string subject_;
  std::string pending_;
};

Result<int> run(const cli::Invocation& in, cli::Output& output) {
  Result<client::LocalApi> api = client::LocalApi::of(in);
  if (!api) return fail(api.error());
  std::string path = fmt::format("/v1/events?since={}", in.count("since"));
  if (in.on("follow")) {
    EventPrinter printer(output, in.text("subject"));
    Status followed =
        api->follow(path + "&follow=1", [&](std::string_view data) { return printer.take(data); });
    if (!followed) return fail(followed.error());
    return 0;
  }
  Result<client::ApiAnswer> answer = api->get(path);
  if (!answer) return fail(answer.error());
  const std::string subject = in.text("subject");
  net::JsonWriter w;
  w.object().array("events");
  std::set<std::string> others;
  bool found = false;
  for (const net::JsonValue& event : answer->json["events"].items()) {
    if (in.is_set("subject") && text_of(event, "subject") != subject) {
      others.insert(text_of(event, "subject"));
      continue;
    }
    found = true;
    if (output.json)
      w.value(event);
    else
      output.line(event_line(event, output.out_color));
  }
  if (output.json) output.line(w.end().end().text());
  if (!in.is_set("subject") && !found)
    output.note(in.count("since") > 0 ? "no event since then; `tweendeck events --follow` waits for the next"
                                      : "nothing has happened yet; `tweendeck events --follow` waits for it");
  if (in.is_set("subject") && !found) {
    std::string_view near = nearest(subject, {others.begin(), others.end()});
    output.warn({Reason::NotFound, fmt::format("no event is about '{}'", subject),
                 near.empty() ? "`tweendeck events` shows all" : fmt::format("did you mean '{}'?", near)});
  }
  return 0;
}

}  // namespace

cli::Command events_command() {
  return {.name = "events",
          .group = kGroupLook,
          .summary = "Show what happened to devices, slices and replicas",
          .flags = {{.name = "follow", .letter = 'f', .help = "wait for further ones"},
                    {.name = "since",
                     .kind = cli::FlagKind::Count,
                     .value = "ID",
                     .fallback = "0",
                     .help = "only events with a higher id",
                     .max = UINT64_MAX},
                    {.name = "subject",
                     .kind = cli::FlagKind::Text,
                     .value = "NAME",
                     .help = "only of this deployment, replica or device",
                     .complete = cli::Complete::Replica}},
          .examples = {{"events -f", "as they happen"}, {"events -f -o json", "one JSON object per line"}},
          .run = run};
}

}  // namespace tweendeck::commands
