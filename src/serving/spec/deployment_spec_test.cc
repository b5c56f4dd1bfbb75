#include "serving/spec/deployment_spec.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/units.h"

namespace tweendeck::serving {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

constexpr char kFile[] = R"(deployments:
  - name: chat
    model: smollm2
    replicas: 2
    memory: 1Gi
    compute: 40
    device: cpu
    aliases: [gpt-4o-mini]
  - name: sim
    model: sim-8b
    engine: sim
    memory: 40Gi
    compute: 50
    device: [soft0, soft1]
    spread: pack
    isolation: library
    priority: -3
    distinct_devices: true
    max_in_flight: 8
    engine_args: [--fast]
    adapters: [sql, poetry]
)";

Error error_of(std::string from, const std::string& to) {
  std::string text = kFile;
  const size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  text.replace(at, from.size(), to);
  const auto specs = parse_apply_file(text, "apps.yaml");
  EXPECT_FALSE(specs) << to;
  return specs ? Error{} : specs.error();
}

TEST(ApplyFile, WantsAdaptersWithNamesOfTheirOwn) {
  EXPECT_NE(error_of("[sql, poetry]", "[sql, sql]").message.find("adapter 'sql' twice"), std::string::npos);
  EXPECT_EQ(error_of("[sql, poetry]", "[sim]").reason, Reason::InvalidArgument);
}

TEST(ApplyFile, ReadsEverything) {
  const auto specs = parse_apply_file(kFile, "apps.yaml");
  ASSERT_TRUE(specs) << to_string(specs.error());
  ASSERT_EQ(specs->size(), 2u);
  EXPECT_EQ(specs->at(0).replicas, 2u);
  EXPECT_EQ(specs->at(0).claim.share.memory_bytes, kGiB);
  EXPECT_THAT(specs->at(0).claim.device_ids, ElementsAre("cpu"));
  const DeploymentSpec& sim = specs->at(1);
  EXPECT_EQ(sim.replicas, 1u);
  EXPECT_EQ(sim.claim.spread, Spread::Pack);
  EXPECT_EQ(sim.claim.min_isolation, Isolation::Library);
  EXPECT_EQ(sim.claim.share.priority, -3);
  EXPECT_TRUE(sim.claim.distinct_devices);
  EXPECT_THAT(sim.engine_args, ElementsAre("--fast"));
  EXPECT_THAT(sim.adapters, ElementsAre("sql", "poetry"));
  auto back = parse_deployment_json(to_json(sim));
  ASSERT_TRUE(back) << to_string(back.error());
  EXPECT_EQ(*back, sim);
}

TEST(ApplyFile, AShareThatIsNotGivenIsTheOneOfServe) {
  auto file = parse_apply_file("deployments: [{name: chat, model: m}]", "f");
  ASSERT_TRUE(file) << to_string(file.error());
  EXPECT_EQ(file->at(0).claim.share, default_spec().claim.share);
  EXPECT_EQ(file->at(0).claim.share.memory_bytes, kGiB);
  auto json = parse_deployment_json(R"({"name":"chat","model":"m"})");
  ASSERT_TRUE(json) << to_string(json.error());
  EXPECT_EQ(*json, file->at(0));
}

TEST(ApplyFile, SaysWhereAndWhatWasMeant) {
  const Error error = error_of("replicas: 2", "replics: 2");
  EXPECT_EQ(error.reason, Reason::InvalidArgument);
  EXPECT_THAT(error.message, HasSubstr("apps.yaml:4"));
  EXPECT_THAT(error.hint, HasSubstr("replicas"));
  EXPECT_THAT(error_of("memory: 1Gi", "memory: much").message, HasSubstr("apps.yaml:5"));
}

TEST(ApplyFile, RefusesWhatCannotBe) {
  EXPECT_THAT(error_of("compute: 40", "compute: 140").message, HasSubstr("between 1 and 100"));
  EXPECT_THAT(error_of("replicas: 2", "replicas: 100000").message, HasSubstr("256"));
  EXPECT_THAT(error_of("replicas: 2", "replicas: -1").message, HasSubstr("replicas"));
  EXPECT_THAT(error_of("name: chat", "name: Chat_1").message, HasSubstr("Chat_1"));
  EXPECT_THAT(error_of("name: sim", "name: chat").message, HasSubstr("twice"));
  EXPECT_THAT(error_of("memory: 1Gi", "memory: 1Ki").message, HasSubstr("16 MiB"));
  EXPECT_THAT(error_of("    model: smollm2\n", "").message, HasSubstr("lacks 'model'"));
  EXPECT_THAT(error_of("spread: pack", "spread: wide").hint, HasSubstr("pack"));
  EXPECT_THAT(error_of("isolation: library", "isolation: strong").hint, HasSubstr("kernel"));
  EXPECT_THAT(error_of("deployments:", "deployment:").hint, HasSubstr("deployments"));
  EXPECT_FALSE(parse_apply_file("deployments: []", "f"));
  EXPECT_FALSE(parse_apply_file("", "f"));
  EXPECT_FALSE(parse_apply_file(std::string(2000, '['), "f")) << "deep nesting";
  EXPECT_FALSE(parse_apply_file(std::string(kMaxApplyFileBytes + 1, '#'), "f"));
}

TEST(DeploymentJson, KeepsEverything) {
  for (const DeploymentSpec& spec : *parse_apply_file(kFile, "f")) {
    const auto again = parse_deployment_json(to_json(spec));
    ASSERT_TRUE(again) << to_string(again.error());
    EXPECT_EQ(*again, spec);
  }
}

TEST(DeploymentJson, IsAsStrict) {
  const auto error = [](const char* json) {
    const auto spec = parse_deployment_json(json);
    EXPECT_FALSE(spec) << json;
    return spec ? std::string() : to_string(spec.error());
  };
  EXPECT_THAT(error(R"({"name":"a","modle":"x"})"), HasSubstr("did you mean 'model'"));
  EXPECT_THAT(error(R"({"name":"a","model":1})"), HasSubstr("a text"));
  EXPECT_THAT(error(R"({"name":"a","model":"m","memory":-1,"compute":1})"), HasSubstr("memory"));
  EXPECT_THAT(error(R"({"name":"a","model":"m","memory":"1Gi","compute":1.5})"), HasSubstr("compute"));
  EXPECT_THAT(error(R"({"name":"a","model":"m","memory":"1Gi","compute":10,"priority":99999999})"),
              HasSubstr("priority"));
  EXPECT_THAT(error(R"({"name":"a","model":"m","priority":-9223372036854775808})"), HasSubstr("priority"));
  EXPECT_THAT(error(R"([1])"), HasSubstr("object"));
  EXPECT_THAT(error("{"), HasSubstr("MalformedRequest"));
}

}  // namespace
}  // namespace tweendeck::serving
