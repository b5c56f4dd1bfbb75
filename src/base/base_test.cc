// Results, reasons, units, text, clock and randomness: the small functions that every room relies on.
#include <cerrno>
#include <set>

#include <gtest/gtest.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/result.h"
#include "base/text.h"
#include "base/types.h"
#include "base/units.h"

namespace tweendeck {
namespace {

TEST(Reason, NamesAreUniqueAndRoundTrip) {
  std::set<std::string_view> names;
  for (size_t i = 0; i < kReasonCount; ++i) {
    Reason reason = static_cast<Reason>(i);
    EXPECT_TRUE(names.insert(to_string(reason)).second) << to_string(reason);
    EXPECT_EQ(parse_reason(to_string(reason)), reason);
    EXPECT_FALSE(describe(reason).empty());
  }
  EXPECT_EQ(parse_reason("NoSuchReason"), std::nullopt);
}

TEST(Result, SystemErrorPicksTheReasonOfErrno) {
  EXPECT_EQ(system_error(ENOSPC, "write state").reason, Reason::DiskFull);
  EXPECT_EQ(system_error(EACCES, "open").reason, Reason::PermissionDenied);
  EXPECT_EQ(to_string(Error{Reason::NotFound, "no model x", "see ps"}), "no model x (see ps) [NotFound]");
}

TEST(Units, BytesParseWhatPeopleWrite) {
  EXPECT_EQ(parse_bytes("512").value(), 512u);
  EXPECT_EQ(parse_bytes("1Gi").value(), kGiB);
  EXPECT_EQ(parse_bytes("1.5GiB").value(), kGiB + kGiB / 2);
  EXPECT_EQ(parse_bytes("20GB").value(), 20'000'000'000u);
  EXPECT_EQ(parse_bytes("100Ti").value(), 100 * kTiB);
  for (std::string_view bad :
       {"", "B", "-1Gi", "1Xi", "Gi", "1e400", "nan", "inf", "99999999999Pi", "1 Gi", "0x10"}) {
    EXPECT_FALSE(parse_bytes(bad)) << bad;
  }
}

TEST(Units, BytesFormatWithOneDecimal) {
  EXPECT_EQ(format_bytes(17), "17 B");
  EXPECT_EQ(format_bytes(kGiB + kGiB / 2), "1.5 GiB");
  EXPECT_EQ(format_bytes(80 * kGiB), "80 GiB");
}

TEST(Units, DurationsAndCounts) {
  EXPECT_EQ(parse_duration("30").value(), 30 * kSecond);
  EXPECT_EQ(parse_duration("250ms").value(), 250 * kMillisecond);
  EXPECT_FALSE(parse_duration("-1s"));
  EXPECT_FALSE(parse_duration("1 week"));
  EXPECT_EQ(format_duration(192 * kSecond), "3m12s");
  EXPECT_EQ(parse_count("40", 100, "--compute").value(), 40u);
  for (std::string_view bad : {"", "-1", "101", "4x", " 4", "4.0"})
    EXPECT_FALSE(parse_count(bad, 100, "n")) << bad;
}

TEST(Text, JsonQuoteIsAlwaysValid) {
  EXPECT_EQ(json_quote("a\"b\\\n\x01"), R"("a\"b\\\n\u0001")");
  EXPECT_EQ(json_quote("h\xc3\xa9"), "\"h\xc3\xa9\"");
  EXPECT_EQ(json_quote("\xff\xc0\x80"), "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\"");
}

TEST(Text, NearestSuggestsOnlyNearWords) {
  EXPECT_EQ(nearest("devcies", {"devices", "events", "serve"}), "devices");
  EXPECT_EQ(nearest("xyz", {"devices", "events"}), "");
}

TEST(Text, SplitTrimTime) {
  EXPECT_EQ(split("a,,b", ',').size(), 3u);
  EXPECT_EQ(trim(" \ta b\n"), "a b");
  EXPECT_EQ(counted(1, "replica"), "1 replica");
  EXPECT_EQ(counted(0, "replica"), "0 replicas");
  EXPECT_EQ(format_time(1'000'000'000'123'000'000), "2001-09-09T01:46:40.123Z");
}

TEST(Log, RecordsAreOneLineInBothFormats) {
  std::string text = log::render(log::Level::Info, "Started replica",
                                 {{"replica", "chat-1"}, {"why", "a b\n"}}, 0, log::Format::Text);
  EXPECT_EQ(text, "1970-01-01T00:00:00.000Z info    Started replica replica=chat-1 why=\"a b\\n\"");
  std::string json = log::render(log::Level::Warning, "x", {{"port", 80}}, 0, log::Format::Json);
  EXPECT_EQ(json, R"({"time":"1970-01-01T00:00:00.000Z","level":"warning","message":"x","port":"80"})");
}

TEST(Random, IsTheSameOnEveryMachineAndStaysBelowItsBound) {
  Random random(42);
  EXPECT_EQ(random.next(), 13679457532755275413u);
  for (int i = 0; i < 1000; ++i) EXPECT_LT(random.below(7), 7u);
}

TEST(Types, IsolationLevelsAreOrderedAndNamed) {
  EXPECT_LT(Isolation::Library, Isolation::Kernel);
  Isolation parsed{};
  EXPECT_TRUE(parse_isolation("hardware", parsed));
  EXPECT_EQ(parsed, Isolation::Hardware);
  EXPECT_FALSE(parse_isolation("Hardware", parsed));
}

}  // namespace
}  // namespace tweendeck
