#include "net/http1.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/clock.h"

namespace tweendeck::net {
namespace {

const HttpLimits kLimits;

Result<RequestHead> parse(std::string_view text, const HttpLimits& limits = kLimits) {
  size_t scanned = 0;
  auto size = head_size(text, scanned, limits);
  if (!size) return fail(size.error());
  EXPECT_NE(*size, 0U) << text;
  RequestHead head;
  if (auto ok = parse_request_head(text.substr(0, *size), limits, head); !ok) return fail(ok.error());
  return head;
}

TEST(Http1, ReadsARequest) {
  auto head =
      parse("POST /v1/completions?x=1 HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nX-A:  b c \t\r\n\r\n");
  ASSERT_TRUE(head) << head.error().message;
  EXPECT_EQ(head->method, "POST");
  EXPECT_EQ(head->target, "/v1/completions?x=1");
  EXPECT_EQ(head->framing, Framing::Length);
  EXPECT_EQ(head->content_length, 5U);
  EXPECT_TRUE(head->keep_alive);
  EXPECT_EQ(head->find("x-a"), "b c");
  EXPECT_EQ(head->find("absent").data(), nullptr);
}

TEST(Http1, KeepAliveFollowsVersionAndConnection) {
  EXPECT_FALSE(parse("GET / HTTP/1.1\r\nHost: a\r\nConnection: foo, Close\r\n\r\n")->keep_alive);
  EXPECT_FALSE(parse("GET / HTTP/1.0\r\n\r\n")->keep_alive);
  EXPECT_TRUE(parse("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")->keep_alive);
}

TEST(Http1, RefusesWhatTwoParsersCouldReadDifferently) {
  const char* bad[] = {
      "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
      "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 1\r\n\r\n",
      "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\n",
      "GET / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\n",
      "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 9999999999999999999\r\n\r\n",
      "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
      "GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n",
      "GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
      "GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
      "GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
      "GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\n\r\n",
      "GET / HTTP/1.1\r\nHost : a\r\n\r\n",
      "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
      "GET / HTTP/1.1\r\n\r\n",
      "GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n",
      "GET / HTTP/1.1\r\nHost: a\r\nno colon\r\n\r\n",
      "GET / HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n",
      "GET / HTTP/1.1\r\nHost: a\r\nX: b\rc\r\n\r\n",
      "GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
      "GET / HTTP/1.1 \r\nHost: a\r\n\r\n",
      "GET / HTTP/2.0\r\nHost: a\r\n\r\n",
      "GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n",
      "G\"T / HTTP/1.1\r\nHost: a\r\n\r\n",
      "GET /\x01 HTTP/1.1\r\nHost: a\r\n\r\n",
      "GET / HTTP/1.1\r\nHost: a\r\nExpect: magic\r\n\r\n",
      "\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
  };
  for (const char* text : bad) {
    auto head = parse(text);
    ASSERT_FALSE(head) << text;
    EXPECT_EQ(head.error().reason, Reason::MalformedRequest) << text;
  }
}

TEST(Http1, HeaderBombsAreTooLarge) {
  std::string many = "GET / HTTP/1.1\r\nHost: a\r\n";
  for (size_t i = 0; i < kLimits.fields; ++i) many += "a: b\r\n";
  EXPECT_EQ(parse(many + "\r\n").error().reason, Reason::HeadersTooLarge);
  size_t scanned = 0;
  std::string endless = "GET / HTTP/1.1\r\nHost: " + std::string(kLimits.head_bytes, 'a');
  EXPECT_EQ(head_size(endless, scanned, kLimits).error().reason, Reason::HeadersTooLarge);
}

TEST(Http1, ReadsResponses) {
  ResponseHead head;
  ASSERT_TRUE(parse_response_head("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", kLimits, false, head));
  EXPECT_EQ(head.status, 200);
  EXPECT_EQ(head.framing, Framing::Length);
  ASSERT_TRUE(parse_response_head("HTTP/1.1 204\r\n\r\n", kLimits, false, head));
  EXPECT_EQ(head.framing, Framing::None);
  ASSERT_TRUE(parse_response_head("HTTP/1.1 200 OK\r\n\r\n", kLimits, false, head));
  EXPECT_EQ(head.framing, Framing::UntilClose);
  EXPECT_FALSE(head.keep_alive);
  for (const char* bad : {"HTTP/1.1 20 OK\r\n\r\n", "HTTP/1.1 2000\r\n\r\n", "HTP/1.1 200 OK\r\n\r\n",
                          "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n"}) {
    auto ok = parse_response_head(bad, kLimits, false, head);
    ASSERT_FALSE(ok) << bad;
    EXPECT_EQ(ok.error().reason, Reason::UpstreamFailed);
  }
}

TEST(Http1, HopByHopFieldsAreKnown) {
  auto head =
      parse("GET / HTTP/1.1\r\nHost: a\r\nConnection: x-hop\r\nX-Hop: 1\r\nX-End: 2\r\nTE: trailers\r\n\r\n");
  ASSERT_TRUE(head);
  std::vector<std::string> kept;
  for (const auto& field : head->fields) {
    if (!is_hop_by_hop(field, *head)) kept.emplace_back(field.name);
  }
  EXPECT_THAT(kept, testing::ElementsAre("Host", "X-End"));
}

// What a body read yields, so that splits can be compared.
struct BodyResult {
  std::string content;
  size_t consumed = 0;
  bool done = false;
  bool ok = true;
  bool operator==(const BodyResult&) const = default;
};

BodyResult read_body(std::string_view text, const std::vector<size_t>& cuts) {
  BodyReader reader(Framing::Chunked, 0, kLimits);
  BodyResult result;
  size_t begin = 0;
  std::vector<size_t> ends = cuts;
  ends.push_back(text.size());
  for (size_t end : ends) {
    std::string_view part = text.substr(begin, end - begin);
    while (!part.empty() && !reader.done()) {
      BodyReader::Piece piece;
      if (!reader.next(part, piece)) return result.ok = false, result;
      result.content += piece.content;
      result.consumed += piece.consumed;
      part.remove_prefix(piece.consumed);
    }
    begin = end;
  }
  result.done = reader.done();
  return result;
}

TEST(BodyReader, ReadsChunksExtensionsAndTrailers) {
  std::string body = "5;a=b\r\nhello\r\n1\r\n \r\n5\r\nworld\r\n0\r\nX-T: 1\r\n\r\nNEXT";
  BodyResult result = read_body(body, {});
  EXPECT_TRUE(result.ok);
  EXPECT_TRUE(result.done);
  EXPECT_EQ(result.content, "hello world");
  EXPECT_EQ(result.consumed, body.size() - 4);
}

TEST(BodyReader, RefusesBrokenChunks) {
  for (const char* bad :
       {"\r\n", "g\r\n", "5\nhello", "5\r\nhello!", "5\r\nhello\rX", "0\r\n\n", "1 \r\na\r\n", "-1\r\n",
        "0x5\r\n", "fffffffffffffffff\r\n", "5;\x01\r\n", "0\r\nA: \x02\r\n"}) {
    EXPECT_FALSE(read_body(bad, {}).ok) << bad;
  }
  std::string bomb = "5;" + std::string(kLimits.trailer_bytes + 1, 'x');
  EXPECT_FALSE(read_body(bomb, {}).ok);
}

TEST(BodyReader, SplitsDoNotMatter) {
  Random random(7);
  const std::string texts[] = {"5;a=b\r\nhello\r\n10\r\n0123456789abcdef\r\n0\r\nX-T: 1\r\nY: 2\r\n\r\nrest",
                               "3\r\nabc\r\n0\r\n\r\n", "3\r\nabcd\r\n", "ff\r\nshort"};
  for (const std::string& text : texts) {
    BodyResult whole = read_body(text, {});
    for (int round = 0; round < 200; ++round) {
      std::vector<size_t> cuts;
      for (size_t at = random.below(4); at < text.size(); at += 1 + random.below(6)) cuts.push_back(at);
      BodyResult split = read_body(text, cuts);
      if (!whole.ok) {
        EXPECT_FALSE(split.ok) << text;
      } else {
        EXPECT_EQ(split, whole) << text;
      }
    }
  }
}

TEST(HeadSize, SplitsDoNotMatter) {
  HttpLimits small;
  small.head_bytes = 40;
  Random random(8);
  for (std::string text : {std::string("GET / HTTP/1.1\r\nHost: a\r\n\r\nbody"),
                           std::string("GET / HTTP/1.1\r\nHost: aaaaaaaaaaaaaaaaa\r\n\r\n"),
                           std::string("GET / HTTP/1.1\n\r\n\r\nabc"), std::string("\r\n\r\n")}) {
    size_t scanned = 0;
    auto whole = head_size(text, scanned, small);
    for (int round = 0; round < 100; ++round) {
      scanned = 0;
      Result<size_t> split = size_t{0};
      for (size_t end = 0; split && *split == 0 && end < text.size();) {
        end = std::min(text.size(), end + 1 + random.below(5));
        split = head_size(std::string_view(text).substr(0, end), scanned, small);
      }
      EXPECT_EQ(split, whole) << text;
    }
  }
}

}  // namespace
}  // namespace tweendeck::net
