#include "app/commands/commands.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "app/cli/help.h"
#include "app/cli/terminal.h"
#include "app/commands/screen.h"
#include "app/commands/serve_spec.h"
#include "app/commands/show.h"
#include "app/commands/wait_ready.h"
#include "base/text.h"
#include "base/units.h"

namespace tweendeck::commands {
namespace {

using testing::HasSubstr;
using testing::Not;

net::JsonValue json(std::string_view text) {
  Result<net::JsonValue> value = net::parse_json(text);
  EXPECT_TRUE(value) << text;
  return value.value_or(net::JsonValue());
}

TEST(CommandTable, IsComplete) {
  std::set<std::string_view> names;
  for (const cli::Command& command : all_commands()) {
    EXPECT_TRUE(names.insert(command.name).second) << command.name << " is there twice";
    EXPECT_TRUE(command.run) << command.name;
    EXPECT_FALSE(command.summary.empty()) << command.name;
    std::set<std::string_view> flags;
    std::set<char> letters;
    for (const std::vector<cli::Flag>* list : {&command.flags, &cli::common_flags()}) {
      for (const cli::Flag& flag : *list) {
        EXPECT_TRUE(flags.insert(flag.name).second) << command.name << " --" << flag.name;
        EXPECT_FALSE(flag.help.empty()) << command.name << " --" << flag.name;
        if (flag.letter != 0) {
          EXPECT_TRUE(letters.insert(flag.letter).second) << command.name << " -" << flag.letter;
        }
        EXPECT_THAT(cli::help_of(command), HasSubstr("--" + std::string(flag.name)));
      }
    }
  }
  for (std::string_view name :
       {"up", "down", "devices", "serve", "apply", "scale", "stop", "ps", "run", "top", "logs", "why",
        "events", "doctor", "bench", "version", "completion", "help"}) {
    EXPECT_TRUE(names.contains(name)) << name;
  }
}

TEST(CommandTable, FallbacksAndExamplesAreValid) {
  auto nothing = [](std::string_view) { return std::optional<std::string>(); };
  for (const cli::Command& command : all_commands()) {
    for (const cli::Flag& flag : command.flags) {
      if (flag.fallback.empty() || flag.kind == cli::FlagKind::Switch) continue;
      std::vector<std::string> words = {std::string(command.name), "--" + std::string(flag.name),
                                        std::string(flag.fallback), "--help"};
      EXPECT_TRUE(cli::parse(all_commands(), words, nothing)) << command.name << " --" << flag.name;
    }
    for (const cli::Example& example : command.examples) {
      std::vector<std::string> words;
      std::string line(example.line.substr(0, example.line.find_first_of("<>\"")));
      for (std::string_view word : split(line, ' ')) {
        if (!word.empty()) words.emplace_back(word);
      }
      auto parsed = cli::parse(all_commands(), words, nothing);
      EXPECT_TRUE(parsed) << example.line << ": " << (parsed ? "" : parsed.error().message);
    }
  }
}

TEST(ServeSpec, NamesComeFromModels) {
  EXPECT_EQ(*name_from_model("smollm2"), "smollm2");
  EXPECT_EQ(*name_from_model("/models/Big Model.Q4.gguf"), "big-model-q4");
  EXPECT_EQ(*name_from_model("models/dir/"), "dir");
  EXPECT_LE(name_from_model(std::string(300, 'x'))->size(), 40);
  EXPECT_FALSE(name_from_model("..."));
  EXPECT_EQ(absolute_model("smollm2", "/w"), "smollm2");
  EXPECT_EQ(absolute_model("./a/../m.gguf", "/w"), "/w/m.gguf");
  EXPECT_EQ(absolute_model("m.gguf", "/w"), "/w/m.gguf");
  EXPECT_EQ(absolute_model("/x/m.gguf", "/w"), "/x/m.gguf");
}

std::string deployment_with(std::string_view replicas, int wanted) {
  return "{\"name\":\"chat\",\"model\":\"m\",\"spec\":{\"replicas\":" + std::to_string(wanted) +
         "},\"replicas\":[" + std::string(replicas) + "]}";
}

TEST(Judge, ReadyNeedsExactlyTheWantedReplicas) {
  EXPECT_TRUE(judge(json(deployment_with(R"({"id":"chat-1","phase":"ready"})", 1))).ready);
  EXPECT_FALSE(judge(json(deployment_with(R"({"id":"chat-1","phase":"ready"})", 2))).ready);
  EXPECT_FALSE(
      judge(json(deployment_with(R"({"id":"a","phase":"ready"},{"id":"b","phase":"draining"})", 1))).ready);
  EXPECT_TRUE(judge(json(deployment_with("", 0))).ready);
}

TEST(Judge, HopelessOnlyWhenNothingMoves) {
  std::string refused =
      R"({"id":"chat-2","phase":"pending","reason":"InsufficientMemory","message":"cpu0 lacks 1 GiB"})";
  Standing alone = judge(json(deployment_with(refused, 1)));
  EXPECT_TRUE(alone.hopeless);
  EXPECT_EQ(alone.error.reason, Reason::InsufficientMemory);
  EXPECT_THAT(alone.error.message, HasSubstr("cpu0 lacks 1 GiB"));
  EXPECT_FALSE(judge(json(deployment_with(refused + R"(,{"id":"chat-1","phase":"starting"})", 2))).hopeless);
  EXPECT_FALSE(
      judge(json(deployment_with(R"({"id":"a","phase":"backoff","reason":"ReplicaExited"})", 1))).hopeless)
      << "one crash may cure itself";
  Standing small = judge(json(deployment_with(
      R"({"id":"a","phase":"backoff","reason":"ReplicaExited","last_exit":{"reason":"SliceTooSmall","message":"needs 2 GiB","hint":"more"}})",
      1)));
  EXPECT_TRUE(small.hopeless);
  EXPECT_EQ(small.error.reason, Reason::SliceTooSmall);
  EXPECT_EQ(small.error.hint, "more");
}

TEST(Judge, WhatAModelServerRefusesItselfIsFinalWhateverTheOthersDo) {
  for (const char* reason : {"InvalidArgument", "SliceTooSmall", "ModelCorrupt", "ModelNotFound",
                             "EngineCannotServe", "DriverMissing"}) {
    std::string refused = std::string(R"({"id":"chat-1","phase":"backoff","reason":")") + reason +
                          R"(","last_exit":{"reason":")" + reason +
                          R"(","message":"no argument --wrong","hint":"leave it out"}})";
    Standing standing = judge(json(deployment_with(refused + R"(,{"id":"chat-2","phase":"starting"})", 2)));
    EXPECT_TRUE(standing.refused) << reason;
    EXPECT_TRUE(standing.hopeless) << reason;
    EXPECT_EQ(to_string(standing.error.reason), reason);
    EXPECT_EQ(standing.error.hint, "leave it out");
    EXPECT_THAT(standing.line, HasSubstr(std::string("no argument --wrong [") + reason + "]"));
  }
  // That is how the daemon shows it: no back-off, for nothing is going to change by itself.
  Standing unhealthy = judge(json(deployment_with(
      R"({"id":"a","phase":"unhealthy","reason":"ModelCorrupt","message":"is cut off; retrying will not help","last_exit":{"reason":"ModelCorrupt","message":"is cut off","hint":""}})",
      1)));
  EXPECT_TRUE(unhealthy.refused);
  EXPECT_TRUE(unhealthy.failed_starts.empty()) << "it ends the wait, it is not told while waiting";
  Standing deaf = judge(json(
      deployment_with(R"({"id":"a","phase":"unhealthy","reason":"HealthCheckFailed","message":"deaf"})", 1)));
  EXPECT_FALSE(deaf.refused);
  EXPECT_FALSE(deaf.hopeless) << "it may come back";
  Standing crash = judge(json(
      deployment_with(R"({"id":"a","phase":"backoff","reason":"ReplicaExited","message":"exit 3"})", 1)));
  EXPECT_FALSE(crash.refused);
  EXPECT_THAT(crash.line, HasSubstr("[ReplicaExited]"));
  EXPECT_EQ(crash.failed_starts.at("a").reason, Reason::ReplicaExited);
}

TEST(Show, AgesAndBars) {
  Nanos five_past = Nanos{1795366800 + 300} * kSecond;
  EXPECT_EQ(show_age("2026-11-22T17:00:00.000Z", five_past), format_duration(300 * kSecond));
  EXPECT_EQ(show_age("", 0), "-");
  EXPECT_EQ(show_clock("2026-11-22T17:00:03.000Z"), "17:00:03");
  EXPECT_EQ(show_bar(0.5, 4), "##..");
  EXPECT_EQ(show_bar(7, 4), "####");
}

Snapshot snapshot(Nanos at, int64_t compute_ns, int64_t dispatched) {
  Snapshot s;
  s.at = at;
  s.devices = json(
      R"({"devices":[{"id":"cpu0","provider":"cpu","model":"AMD EPYC","memory_bytes":1000,"free_memory_bytes":500,
    "free_compute_percent":60,"compute_units":2,"isolation":"kernel","isolation_reason":null,"slices":[{"id":"s1","device":"cpu0",
    "owner":"chat-1","memory_bytes":500,"compute_percent":40,"isolation":"kernel","use":{"memory_bytes":250,"compute_ns":)" +
      std::to_string(compute_ns) + R"(,"throttled_ns":0,"oom_kills":0}}]}]})");
  s.deployments = json(
      R"({"deployments":[{"name":"chat","model":"m","replicas":[{"id":"chat-1","phase":"ready","engine":"sim","simulated":true}]}]})");
  s.endpoints = json(
      R"({"endpoints":[{"id":"chat-1","in_flight":3,"dispatched_total":)" + std::to_string(dispatched) +
      R"(,"reported":{"running":1,"waiting":2,"kv_cache_usage":0.25}}],"queues":[{"model":"chat","waiting":4}]})");
  return s;
}

TEST(Screen, ShowsRatesBetweenTwoMoments) {
  // 0.4 s of CPU in one second of a device with two CPUs: 20 %.
  std::string frame =
      draw(snapshot(0, 0, 10), snapshot(kSecond, 400'000'000, 15), {.columns = 200, .rows = 50});
  EXPECT_THAT(frame, HasSubstr("20.0 of 40 %"));
  EXPECT_THAT(frame, HasSubstr("5.0"));
  EXPECT_THAT(frame, HasSubstr("25 %"));
  EXPECT_THAT(frame, HasSubstr("sim (simulated)"));
  EXPECT_THAT(frame, HasSubstr("4 requests of chat wait"));
}

TEST(Screen, ANarrowTerminalShowsLessOfEachLineInsteadOfCuttingIt) {
  Snapshot before = snapshot(0, 0, 10), now = snapshot(kSecond, 400'000'000, 15);
  std::string wide = draw(before, now, {.columns = 200, .rows = 50});
  EXPECT_THAT(wide, HasSubstr("AMD EPYC"));
  EXPECT_THAT(wide, HasSubstr("|########........|"));
  for (size_t columns : {110, 100, 80, 60}) {
    std::string frame = draw(before, now, {.columns = columns, .rows = 50});
    for (std::string_view line : split(frame, '\n')) EXPECT_LE(cli::display_width(line), columns);
    // Of every line, what it is there for.
    EXPECT_THAT(frame, HasSubstr("500 B of 1000 B held")) << columns;
    EXPECT_THAT(frame, HasSubstr("40 % held")) << columns;
    EXPECT_THAT(frame, HasSubstr("20.0 of 40 %\n")) << columns;
    EXPECT_THAT(frame, HasSubstr("IN FLIGHT")) << columns;
  }
  EXPECT_THAT(draw(before, now, {.columns = 60, .rows = 50}), Not(HasSubstr("ENGINE")));
}

TEST(Screen, FitsTheTerminal) {
  for (bool color : {false, true}) {
    std::string frame =
        draw(snapshot(0, 0, 0), snapshot(kSecond, 1, 1), {.columns = 40, .rows = 3, .color = color});
    std::vector<std::string_view> lines = split(frame, '\n');
    EXPECT_EQ(lines.size(), 4) << "three lines and what follows the last line feed";
    for (std::string_view line : lines) EXPECT_LE(cli::display_width(line), 40) << line;
  }
  EXPECT_EQ(cut_line("日本語", 5), "日本");
  EXPECT_EQ(cut_line("abc", 3), "abc");
}

}  // namespace
}  // namespace tweendeck::commands
