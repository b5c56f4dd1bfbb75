#include "app/cli/completion.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace tweendeck::cli {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::IsEmpty;
using testing::Not;

std::vector<Command> commands() {
  return {{.name = "serve",
           .args = {{.name = "MODEL", .complete = Complete::Model}},
           .flags = {{.name = "replicas", .kind = FlagKind::Count},
                     {.name = "policy", .kind = FlagKind::Choice, .choices = {"prefix", "round-robin"}},
                     {.name = "device", .kind = FlagKind::List, .complete = Complete::Device}}},
          {.name = "stop", .args = {{.name = "NAME", .rest = true, .complete = Complete::Deployment}}},
          {.name = "scale", .args = {{.name = "NAME", .complete = Complete::Deployment}, {.name = "N"}}},
          {.name = "__complete", .hidden = true}};
}

std::vector<std::string> words(const std::vector<std::string>& typed) {
  auto names = [](Complete kind) -> std::vector<Candidate> {
    if (kind == Complete::Deployment) return {{"chat", ""}, {"code", ""}};
    if (kind == Complete::Device) return {{"cpu0", ""}};
    return {};
  };
  std::vector<std::string> out;
  for (const Candidate& candidate : complete(commands(), typed, names).candidates)
    out.push_back(candidate.word);
  return out;
}

TEST(Completion, CommandsThenArgumentsThenFlags) {
  EXPECT_THAT(words({"s"}), ElementsAre("serve", "stop", "scale"));
  EXPECT_THAT(words({""}), Not(Contains("__complete")));
  EXPECT_THAT(words({"stop", ""}), ElementsAre("chat", "code"));
  EXPECT_THAT(words({"stop", "chat", "co"}), ElementsAre("code")) << "a rest argument repeats";
  EXPECT_THAT(words({"scale", "chat", ""}), IsEmpty());
  EXPECT_THAT(words({"serve", "--re"}), ElementsAre("--replicas"));
}

TEST(Completion, ValuesOfFlags) {
  EXPECT_THAT(words({"serve", "--policy", ""}), ElementsAre("prefix", "round-robin"));
  EXPECT_THAT(words({"serve", "--policy=r"}), ElementsAre("--policy=round-robin"));
  EXPECT_THAT(words({"serve", "--device", "c"}), ElementsAre("cpu0"));
  EXPECT_THAT(words({"--output", "j"}), ElementsAre("json"));
  EXPECT_THAT(words({"serve", "--replicas", ""}), IsEmpty()) << "a number is not completed";
}

TEST(Completion, FilesAreLeftToTheShell) {
  EXPECT_EQ(
      complete(commands(), {"--state-dir", ""}, [](Complete) { return std::vector<Candidate>(); }).files,
      Complete::Directory);
}

TEST(Completion, KnowsThreeShells) {
  for (const char* shell : {"bash", "zsh", "fish"}) {
    ASSERT_TRUE(completion_script(shell));
    EXPECT_NE(completion_script(shell)->find("__complete"), std::string::npos);
  }
  EXPECT_FALSE(completion_script("tcsh"));
}

}  // namespace
}  // namespace tweendeck::cli
