#include "app/cli/command.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/units.h"

namespace tweendeck::cli {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

const std::vector<Command>& commands() {
  static const std::vector<Command> all = {
      {.name = "serve",
       .args = {{.name = "MODEL", .help = "what to serve"}},
       .flags = {{.name = "replicas", .letter = 'n', .kind = FlagKind::Count, .fallback = "1", .max = 1000},
                 {.name = "memory", .kind = FlagKind::Bytes, .fallback = "1Gi", .env = "T_MEMORY"},
                 {.name = "drain", .kind = FlagKind::Duration, .fallback = "30s"},
                 {.name = "rate", .kind = FlagKind::Number},
                 {.name = "priority", .kind = FlagKind::Integer, .max = 50},
                 {.name = "percent", .kind = FlagKind::Count, .min = 1, .max = 100},
                 {.name = "policy", .kind = FlagKind::Choice, .choices = {"prefix", "round-robin"}},
                 {.name = "device", .kind = FlagKind::List},
                 {.name = "no-wait"}}},
      {.name = "stop", .args = {{.name = "NAME", .help = "names", .rest = true}}},
      {.name = "exec",
       .args = {{.name = "PROGRAM", .help = "what to run", .rest = true, .verbatim = true}},
       .flags = {{.name = "quiet", .letter = 'q'}}},
      {.name = "version"},
      {.name = "help", .args = {{.name = "COMMAND", .help = "which", .required = false}}},
      {.name = "__secret", .hidden = true},
  };
  return all;
}

Result<Invocation> parse_words(const std::vector<std::string>& words,
                               const std::map<std::string, std::string>& variables = {}) {
  return parse(commands(), words, [&](std::string_view name) -> std::optional<std::string> {
    auto found = variables.find(std::string(name));
    return found == variables.end() ? std::nullopt : std::optional(found->second);
  });
}

Error refusal(const std::vector<std::string>& words) {
  auto parsed = parse_words(words);
  EXPECT_FALSE(parsed);
  return parsed ? Error{} : parsed.error();
}

TEST(Parse, TakesFlagsBeforeBetweenAndAfterArguments) {
  auto in = parse_words(
      {"--state-dir", "/s", "serve", "-n", "3", "--memory=2Gi", "smollm2", "--no-wait", "-ojson"});
  ASSERT_TRUE(in) << in.error().message;
  EXPECT_EQ(in->command().name, "serve");
  EXPECT_EQ(in->text("state-dir"), "/s");
  EXPECT_EQ(in->count("replicas"), 3);
  EXPECT_EQ(in->bytes("memory"), 2 * kGiB);
  EXPECT_TRUE(in->on("no-wait"));
  EXPECT_EQ(in->text("output"), "json");
  EXPECT_THAT(in->args(), ElementsAre("smollm2"));
}

TEST(Parse, FallbacksHoldWhenNothingIsGiven) {
  auto in = parse_words({"serve", "m"});
  ASSERT_TRUE(in);
  EXPECT_EQ(in->count("replicas"), 1);
  EXPECT_EQ(in->duration("drain"), 30 * kSecond);
  EXPECT_FALSE(in->is_set("drain"));
  EXPECT_FALSE(in->on("no-wait"));
  EXPECT_TRUE(in->list("device").empty());
}

TEST(Parse, FlagWinsOverEnvironmentAndEnvironmentOverFallback) {
  EXPECT_EQ(parse_words({"serve", "m"}, {{"T_MEMORY", "3Gi"}})->bytes("memory"), 3 * kGiB);
  EXPECT_EQ(parse_words({"serve", "m", "--memory", "4Gi"}, {{"T_MEMORY", "3Gi"}})->bytes("memory"), 4 * kGiB);
  EXPECT_EQ(parse_words({"serve", "m"}, {{"T_MEMORY", ""}})->bytes("memory"), kGiB);
  auto bad = parse_words({"serve", "m"}, {{"T_MEMORY", "lots"}});
  ASSERT_FALSE(bad);
  EXPECT_THAT(bad.error().message, HasSubstr("T_MEMORY"));
}

TEST(Parse, ListsTakeCommasAndRepetition) {
  auto in = parse_words({"serve", "m", "--device", "cpu0,soft", "--device", " gpu0 "});
  ASSERT_TRUE(in);
  EXPECT_THAT(in->list("device"), ElementsAre("cpu0", "soft", "gpu0"));
}

TEST(Parse, DoubleDashEndsFlags) {
  auto in = parse_words({"stop", "a", "--", "--replicas", "-x"});
  ASSERT_TRUE(in);
  EXPECT_THAT(in->args(), ElementsAre("a", "--replicas", "-x"));
}

TEST(Parse, IntegersMayBeNegative) {
  EXPECT_EQ(parse_words({"serve", "m", "--priority", "-7"})->integer("priority"), -7);
  EXPECT_EQ(parse_words({"serve", "m", "--priority=50"})->integer("priority"), 50);
  EXPECT_EQ(parse_words({"serve", "m"})->integer("priority"), 0);
}

TEST(Parse, WhatFollowsAProgramIsItsOwn) {
  for (const std::vector<std::string>& words : std::vector<std::vector<std::string>>{
           {"exec", "--quiet", "python3", "-c", "--lr", "-q", "--", "x"},
           {"exec", "--quiet", "--", "python3", "-c", "--lr", "-q", "--", "x"}}) {
    auto in = parse_words(words);
    ASSERT_TRUE(in);
    EXPECT_TRUE(in->on("quiet"));
    EXPECT_THAT(in->args(), ElementsAre("python3", "-c", "--lr", "-q", "--", "x"));
  }
}

TEST(Parse, NearMissesAreNamed) {
  EXPECT_THAT(refusal({"serve", "m", "--replcas", "2"}).message, HasSubstr("--replcas"));
  EXPECT_EQ(refusal({"serve", "m", "--replcas", "2"}).hint, "did you mean --replicas?");
  EXPECT_EQ(refusal({"serv"}).hint, "did you mean serve?");
  EXPECT_THAT(refusal({"xyzzyxyzzy"}).hint, HasSubstr("tweendeck help"));
  EXPECT_THAT(refusal({"__secre"}).hint, HasSubstr("tweendeck help")) << "hidden commands are not suggested";
}

TEST(Parse, MalformedValuesNameTheFlag) {
  for (const std::vector<std::string>& words :
       std::vector<std::vector<std::string>>{{"serve", "m", "--memory", "lots"},
                                             {"serve", "m", "--replicas", "-1"},
                                             {"serve", "m", "--replicas", "1001"},
                                             {"serve", "m", "--drain", "soon"},
                                             {"serve", "m", "--rate", "nan"},
                                             {"serve", "m", "--rate", "-2"},
                                             {"serve", "m", "--policy", "best"},
                                             {"serve", "m", "--priority", "51"},
                                             {"serve", "m", "--priority", "-51"},
                                             {"serve", "m", "--priority", "0.5"},
                                             {"serve", "m", "--priority", "--5"},
                                             {"serve", "m", "--priority", "-"},
                                             {"serve", "m", "--percent", "0"},
                                             {"serve", "m", "--no-wait=maybe"},
                                             {"serve", "m", "--memory"}}) {
    Error error = refusal(words);
    EXPECT_EQ(error.reason, Reason::InvalidArgument);
    EXPECT_THAT(error.message, HasSubstr(words[2].substr(0, words[2].find('=')))) << words[2];
    EXPECT_GT(error.message.size() + error.hint.size(), 30) << words[2];
  }
}

TEST(Parse, CountsArguments) {
  EXPECT_THAT(refusal({"serve"}).message, HasSubstr("MODEL"));
  EXPECT_THAT(refusal({"serve", ""}).message, HasSubstr("MODEL")) << "an unset variable";
  EXPECT_THAT(refusal({"serve", "a", "b"}).message, HasSubstr("'b'"));
  EXPECT_TRUE(parse_words({"serve", "--help"})) << "help needs no arguments";
  EXPECT_THAT(parse_words({"stop", "a", "b", "c"})->args(), ElementsAre("a", "b", "c"));
}

TEST(Parse, NothingIsHelpAndVersionIsAFlagToo) {
  EXPECT_EQ(parse_words({})->command().name, "help");
  EXPECT_EQ(parse_words({"--help"})->command().name, "help");
  EXPECT_EQ(parse_words({"--version"})->command().name, "version");
}

}  // namespace
}  // namespace tweendeck::cli
