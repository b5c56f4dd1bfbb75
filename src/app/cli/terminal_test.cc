#include "app/cli/terminal.h"

#include <gtest/gtest.h>

namespace tweendeck::cli {
namespace {

TEST(Color, NeedsATerminalAndNobodyWhoForbidsIt) {
  ColorRules terminal{.is_terminal = true, .term = "xterm"};
  EXPECT_TRUE(use_color(terminal));
  EXPECT_FALSE(use_color({.is_terminal = false, .term = "xterm"}));
  EXPECT_FALSE(use_color({.is_terminal = true, .term = "dumb"}));
  EXPECT_FALSE(use_color({.is_terminal = true, .no_color = "1", .term = "xterm"}));
  EXPECT_FALSE(
      use_color({.is_terminal = true, .no_color_flag = true, .term = "xterm", .clicolor_force = "1"}));
  EXPECT_TRUE(use_color({.is_terminal = false, .clicolor_force = "1"}));
  EXPECT_FALSE(use_color({.is_terminal = false, .clicolor_force = "0"}));
}

TEST(Width, CountsWhatTheEyeSees) {
  EXPECT_EQ(display_width("abc"), 3);
  EXPECT_EQ(display_width("µs"), 2);
  EXPECT_EQ(display_width("日本"), 4);
  EXPECT_EQ(display_width(paint("abc", Style::Good, true)), 3);
  EXPECT_EQ(display_width("\xff\xfe"), 2) << "malformed bytes count one each";
  EXPECT_EQ(display_width("\xe6\x97"), display_width("\xe6\x97")) << "a cut sequence ends at the end";
}

TEST(Table, AlignsAndTrims) {
  Table table({"NAME", "SIZE", "NOTE"});
  table.right_align(1);
  table.row({"a", "1", "日"});
  table.row({"longer", "1000", ""});
  EXPECT_EQ(table.render(false),
            "NAME    SIZE  NOTE\n"
            "a          1  日\n"
            "longer  1000\n");
}

TEST(Table, ColourDoesNotMoveColumns) {
  Table plain({"A", "B"});
  Table painted({"A", "B"});
  plain.row({"ready", "x"});
  painted.row({paint("ready", Style::Good, true), "x"});
  std::string text = painted.render(false);
  EXPECT_EQ(display_width(text), display_width(plain.render(false)));
}

}  // namespace
}  // namespace tweendeck::cli
