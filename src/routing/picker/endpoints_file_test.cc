#include "routing/picker/endpoints_file.h"

#include <gtest/gtest.h>

namespace tweendeck::routing::picker {
namespace {

TEST(EndpointsFile, IsYamlOrJson) {
  auto yaml = parse_endpoints(
      "endpoints:\n"
      "- {name: one, address: 10.0.0.1, port: \"8000\", labels: {llm-d.ai/engine-type: sglang, rack: r1}}\n"
      "- {name: one, namespace: other, address: 10.0.0.2, port: 8001}\n"
      "- {name: one, address: 10.0.0.3, port: 8002}\n");
  ASSERT_TRUE(yaml) << yaml.error().message;
  ASSERT_EQ(yaml->size(), 2u);
  EXPECT_EQ((*yaml)[0].id, "other/one");
  EXPECT_EQ((*yaml)[1].id, "default/one");  // the later of two with one name
  EXPECT_EQ((*yaml)[1].address, "10.0.0.3");
  EXPECT_EQ((*yaml)[1].port, 8002);
  EXPECT_EQ((*yaml)[1].state, EndpointState::Ready);
  auto json = parse_endpoints(R"({"endpoints": [{"name": "a", "address": "127.0.0.1", "port": "9"}]})");
  ASSERT_TRUE(json);
  EXPECT_EQ((*json)[0].id, "default/a");
  EXPECT_TRUE(parse_endpoints("endpoints:\n")->empty());
  EXPECT_EQ(parse_endpoints(
                "endpoints:\n- {name: a, address: 1.2.3.4, port: 1, labels: {llm-d.ai/engine-type: vllm}}")
                ->at(0)
                .engine,
            "vllm");
}

TEST(EndpointsFile, SaysWhichLineIsWrong) {
  const std::pair<const char*, const char*> cases[] = {
      {"", "\"endpoints\""},
      {"- a\n", "\"endpoints\""},
      {"endpoints: 3\n", "line 1: \"endpoints\" is no list"},
      {"endpoints:\n- name: a\n  port: 1\n", "line 2: an endpoint has no address"},
      {"endpoints:\n- name: a\n  address: host\n  port: 1\n", "line 3: host is no IPv4 address"},
      {"endpoints:\n- name: a\n  address: 1.2.3.4\n  port: 70000\n", "line 4: 70000 is no port"},
      {"endpoints:\n- name: a\n  address: 1.2.3.4\n  port: 0\n", "line 4: 0 is no port"},
      {"endpoints:\n- name: a\n  adress: 1.2.3.4\n  port: 1\n",
       "line 3: an endpoint has no field \"adress\""},
      {"endpoints:\n- {name: a, address: [1], port: 1}\n", "line 2: address is no plain value"},
      {"endpoints:\n- 3\n", "line 2: an endpoint is no map"},
      {"endpoints: [\n", "line 2"},
  };
  for (const auto& [text, expected] : cases) {
    auto parsed = parse_endpoints(text);
    ASSERT_FALSE(parsed) << text;
    EXPECT_EQ(parsed.error().reason, Reason::InvalidArgument);
    EXPECT_NE(parsed.error().message.find(expected), std::string::npos) << parsed.error().message;
  }
  EXPECT_EQ(load_endpoints("/nonexistent/endpoints.yaml").error().reason, Reason::NotFound);
  EXPECT_FALSE(parse_endpoints(std::string(kMaxEndpointsFileBytes + 1, '#')));
}

}  // namespace
}  // namespace tweendeck::routing::picker
