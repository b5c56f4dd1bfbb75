#include "net/json.h"

#include <gtest/gtest.h>

#include <cmath>

namespace tweendeck::net {
namespace {

TEST(Json, ReadsAndChainsLookups) {
  auto v = parse_json(
      R"({"a":{"b":"x\u00e9"},"n":-3,"f":1.5,"t":true,"l":[1,"2",null],"big":18446744073709551615})");
  ASSERT_TRUE(v) << v.error().message;
  EXPECT_EQ((*v)["a"]["b"].text_or(""), "xé");
  EXPECT_EQ((*v)["n"].integer_or(0), -3);
  EXPECT_DOUBLE_EQ((*v)["f"].number_or(0), 1.5);
  EXPECT_DOUBLE_EQ((*v)["n"].number_or(0), -3);
  EXPECT_TRUE((*v)["t"].bool_or(false));
  EXPECT_EQ((*v)["l"].items().size(), 3U);
  EXPECT_GT((*v)["big"].number_or(0), 1e19);
  EXPECT_TRUE((*v)["missing"]["deeper"].is_null());
  EXPECT_EQ((*v)["n"].text_or("other kind"), "other kind");
}

TEST(Json, RefusesWhatIsNotStrictJson) {
  for (const char* bad : {"", "{", "{\"a\":1,}", "{'a':1}", "[1 2]", "nul", "{\"a\":1}x", "\"\x01\"", "01",
                          "\"\xff\"", "{\"a\":1,\"a\":2}"}) {
    auto v = parse_json(bad);
    ASSERT_FALSE(v) << bad;
    EXPECT_EQ(v.error().reason, Reason::MalformedRequest);
  }
  EXPECT_FALSE(parse_json(std::string(100, '[') + std::string(100, ']')));
}

TEST(Json, WriterPutsCommas) {
  JsonWriter w;
  w.object().field("name", "a\"b").array("ports").value(80).value(uint64_t{81}).object().end().end();
  w.field("ok", true).field("share", 0.5).field("bad", std::nan("")).object("empty").end().end();
  EXPECT_EQ(w.text(), R"({"name":"a\"b","ports":[80,81,{}],"ok":true,"share":0.5,"bad":null,"empty":{}})");
}

TEST(Json, WrittenTreesReadBackEqual) {
  const std::string text = R"({"a":[1,2.5,{"b":null}],"c":{"d":[]},"e":"\u0001"})";
  JsonWriter w;
  w.value(*parse_json(text));
  EXPECT_EQ(w.text(), text);
}

TEST(Json, ErrorsSurviveTheTrip) {
  Error error{Reason::InsufficientMemory, "cpu0 lacks 1 GiB", "stop chat"};
  EXPECT_EQ(error_from_json(error_json(error), 409), error);
  EXPECT_EQ(error_from_json("<html>", 500).reason, Reason::Internal);
  EXPECT_EQ(error_from_json(R"({"error":{"message":"m","code":"UnknownModel"}})", 404).reason,
            Reason::UnknownModel);
}

}  // namespace
}  // namespace tweendeck::net
