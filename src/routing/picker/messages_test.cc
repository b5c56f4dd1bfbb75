// Our messages against those of the original protocol files (test/data/ext_proc).
#include "routing/picker/messages.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <map>

#include "routing/picker/refusal.h"
#include "routing/picker/render_testing.h"

namespace tweendeck::routing::picker {
namespace {

std::map<std::string, std::string> vectors() {
  const char* root = std::getenv("TWEENDECK_SOURCE_DIR");
  std::ifstream in(std::string(root == nullptr ? "." : root) + "/test/data/ext_proc/vectors.txt");
  std::map<std::string, std::string> out;
  for (std::string name, hex; in >> name >> hex;) {
    std::string& bytes = out[name];
    for (size_t i = 0; i + 1 < hex.size(); i += 2)
      bytes += static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16));
  }
  EXPECT_FALSE(out.empty()) << "TWEENDECK_SOURCE_DIR does not name the source tree";
  return out;
}

using Kind = FromProxy::Kind;

TEST(Messages, OfAProxyAreRead) {
  auto all = vectors();
  FromProxy in;
  ASSERT_TRUE(parse_from_proxy(all["in-request-headers"], in));
  EXPECT_EQ(in.kind, Kind::RequestHeaders);
  EXPECT_FALSE(in.end_of_stream);
  EXPECT_EQ(in.headers.size(), 2u);
  EXPECT_EQ(in.header(":method"), "POST");
  EXPECT_EQ(in.header("x-a"), "b");
  EXPECT_EQ(in.header("none"), "");
  EXPECT_TRUE(in.has_subset);
  EXPECT_EQ(in.subset, (std::vector<std::string_view>{"10.0.0.1:8000", "10.0.0.2"}));

  ASSERT_TRUE(parse_from_proxy(all["in-old-headers"], in));
  EXPECT_EQ(in.header("x-a"), "b");
  EXPECT_TRUE(in.end_of_stream);
  EXPECT_TRUE(in.has_subset);
  EXPECT_TRUE(in.subset.empty());

  ASSERT_TRUE(parse_from_proxy(all["in-request-body"], in));
  EXPECT_EQ(in.kind, Kind::RequestBody);
  EXPECT_EQ(in.body, R"({"model":"m"})");
  EXPECT_TRUE(in.end_of_stream);
  EXPECT_FALSE(in.has_subset);
  EXPECT_TRUE(in.headers.empty());

  ASSERT_TRUE(parse_from_proxy(all["in-request-trailers"], in));
  EXPECT_EQ(in.kind, Kind::RequestTrailers);
  EXPECT_EQ(in.header("t"), "u");
  ASSERT_TRUE(parse_from_proxy(all["in-response-headers"], in));
  EXPECT_EQ(in.kind, Kind::ResponseHeaders);
  EXPECT_EQ(in.served, "10.0.0.1:8000");
  ASSERT_TRUE(parse_from_proxy(all["in-response-body"], in));
  EXPECT_EQ(in.kind, Kind::ResponseBody);
  EXPECT_EQ(in.body.size(), 256u);
  EXPECT_FALSE(in.end_of_stream);
  ASSERT_TRUE(parse_from_proxy(all["in-response-body-without-message"], in));
  EXPECT_TRUE(in.end_of_stream);
  ASSERT_TRUE(parse_from_proxy(all["in-response-trailers"], in));
  EXPECT_EQ(in.kind, Kind::ResponseTrailers);
}

TEST(Messages, ThatAreCutOrDoubledAreRefused) {
  FromProxy in;
  for (const auto& [name, bytes] : vectors()) {
    if (!name.starts_with("in-")) continue;
    for (size_t size = 1; size < bytes.size(); ++size) {
      parse_from_proxy(std::string_view(bytes).substr(0, size),
                       in);  // no crash; a cut between fields is whole
    }
    if (bytes.size() > 2)
      EXPECT_FALSE(parse_from_proxy(std::string_view(bytes).substr(0, bytes.size() - 1), in)) << name;
    EXPECT_FALSE(parse_from_proxy(bytes + bytes, in)) << name;
  }
  ASSERT_TRUE(parse_from_proxy("", in));
  EXPECT_EQ(in.kind, Kind::Nothing);
}

TEST(Messages, HaveBounds) {
  FromProxy in;
  net::ProtoWriter many;
  write_header_map(Pairs(FromProxy::kMaxHeaders + 1, {"a", "b"}), many);
  many.message(1, 0);
  many.message(2, 0);
  EXPECT_FALSE(parse_from_proxy(many.head(), in));
  net::ProtoWriter subset;
  write_metadata(kSubsetNamespace, kSubsetKey, std::vector<std::string_view>(FromProxy::kMaxSubset + 1, "a"),
                 true, subset);
  EXPECT_FALSE(parse_from_proxy(subset.head(), in));
  std::string nested;  // a list in a list, deeper than anybody needs
  for (int i = 0; i < 100; ++i) {
    net::ProtoWriter list;
    const size_t mark = list.size();
    list.field(1, nested);
    list.message(6, mark);
    nested = list.head();
  }
  net::ProtoWriter deep;
  deep.field(2, nested);
  deep.field(1, kSubsetKey);
  deep.message(1, 0);
  deep.message(2, 0);
  deep.field(1, kSubsetNamespace);
  deep.message(1, 0);
  deep.message(8, 0);
  EXPECT_FALSE(parse_from_proxy(deep.head(), in));
}

TEST(Messages, ToAProxyAreWhatTheOriginalWrites) {
  auto all = vectors();
  net::ProtoWriter out;
  const Mutation mutation{{{kDestinationKey, "10.0.0.1:8000"}, {"content-length", "13"}},
                          {"x-gateway-inference-objective"}};
  write_request_headers(mutation, "10.0.0.1:8000", out);
  EXPECT_EQ(out.head(), all["request-headers"]);
  write_response_headers({{{kResponseSeen, "true"}}, {}}, out);
  EXPECT_EQ(out.head(), all["response-headers"]);
  auto with_body = [&](bool of_request, const std::string& body, bool end) {
    write_body(of_request, body.size(), end, out);
    return std::string(out.head()).append(body).append(out.tail());
  };
  EXPECT_EQ(with_body(true, std::string(300, 'x'), true), all["request-body"]);
  EXPECT_EQ(with_body(true, "", true), all["request-body-empty"]);
  EXPECT_EQ(with_body(false, std::string(1000, 'x'), false), all["response-body"]);
  write_trailers(true, out);
  EXPECT_EQ(out.head(), all["request-trailers"]);
  write_trailers(false, out);
  EXPECT_EQ(out.head(), all["response-trailers"]);
  write_immediate(429, {{{"retry-after", "1"}}, {}}, R"({"error":1})", "QueueFull", out);
  EXPECT_EQ(out.head(), all["immediate"]);
}

TEST(Messages, ARefusalIsAnOpenAiError) {
  net::ProtoWriter out;
  write_refusal({Reason::QueueFull, "8 \"wait\"", "try again"}, 1500 * kMillisecond, out);
  const Told told = read_told(out.head());
  EXPECT_EQ(told.status, 429u);
  EXPECT_EQ(told.body,
            R"({"error":{"message":"8 \"wait\"; try again","type":"rate_limit_error","param":null,)"
            R"("code":"QueueFull","hint":"try again"}})");
  EXPECT_EQ(told.set[1], (std::pair<std::string, std::string>("retry-after", "2")));
}

}  // namespace
}  // namespace tweendeck::routing::picker
