#include "app/cli/help.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace tweendeck::cli {
namespace {

using testing::HasSubstr;
using testing::Not;

TEST(Help, NamesEveryVisibleFlagWithItsDefault) {
  Command command{
      .name = "serve",
      .summary = "Serve a model",
      .args = {{.name = "MODEL", .help = "what"},
               {.name = "MORE", .help = "x", .required = false, .rest = true}},
      .flags =
          {{.name = "replicas", .letter = 'n', .kind = FlagKind::Count, .fallback = "1", .help = "how many"},
           {.name = "inner", .help = "not for people", .hidden = true}},
      .examples = {{"serve smollm2", "a real model"}}};
  std::string help = help_of(command);
  EXPECT_THAT(help, HasSubstr("tweendeck serve MODEL [MORE...] [flags]"));
  EXPECT_THAT(help, HasSubstr("-n, --replicas N"));
  EXPECT_THAT(help, HasSubstr("how many (default 1)"));
  EXPECT_THAT(help, HasSubstr("--state-dir DIR"));
  EXPECT_THAT(help, Not(HasSubstr("inner")));
  std::string page = cli_reference({command});
  EXPECT_THAT(page, HasSubstr("## serve"));
  EXPECT_THAT(page, HasSubstr("`-n, --replicas N`"));
}

TEST(Help, FlagsStandBeforeAProgramThatHasItsOwn) {
  const Command command{.name = "exec", .args = {{.name = "PROGRAM", .rest = true, .verbatim = true}}};
  EXPECT_THAT(help_of(command), HasSubstr("tweendeck exec [flags] [--] PROGRAM...\n"));
}

TEST(Reference, EveryReasonIsListed) {
  std::string page = reason_reference();
  std::string codes = exit_code_reference();
  for (size_t i = 0; i < kReasonCount; ++i) {
    EXPECT_THAT(page, HasSubstr(std::string(to_string(static_cast<Reason>(i)))));
    EXPECT_THAT(codes, HasSubstr(std::string(to_string(static_cast<Reason>(i)))));
  }
}

}  // namespace
}  // namespace tweendeck::cli
