#include "serving/spec/engine_spec.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>

#include "serving/spec/catalog.h"

namespace tweendeck::serving {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr char kGood[] = R"(apiVersion: tweendeck/v1
kind: Engine
name: demo
description: a demo
simulated: true
requires: {python: [json], programs: [sh], hint: "install it"}
models: {formats: [gguf], names: [demo-1b]}
devices: [cpu, soft]
command: ["{python}", "{engine}/server.py", "--port={port}"]
env: {MODE: "{model_name}"}
adapter_args: ["--lora={adapter}"]
ready: {path: /ready, timeout_s: 90}
health: {path: /health, interval_s: 3, timeout_s: 1, failures: 4}
metrics: {path: /metrics, running: r, waiting: w, kv_cache_usage: k}
abilities: [chat, streaming]
stop: {signal: SIGINT, grace_s: 7}
)";

std::string with(const std::string& from, const std::string& to) {
  std::string text = kGood;
  const size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return text.replace(at, from.size(), to);
}

Error error_of(const std::string& text) {
  const auto engine = parse_engine(text, "/engines/demo");
  EXPECT_FALSE(engine) << text;
  return engine ? Error{} : engine.error();
}

TEST(EngineSpec, ReadsEverything) {
  const auto engine = parse_engine(kGood, "/engines/demo");
  ASSERT_TRUE(engine) << to_string(engine.error());
  EXPECT_EQ(engine->name, "demo");
  EXPECT_TRUE(engine->simulated);
  EXPECT_THAT(engine->needs.python, ElementsAre("json"));
  EXPECT_EQ(engine->ready_timeout, 90 * kSecond);
  EXPECT_EQ(engine->health_interval, 3 * kSecond);
  EXPECT_EQ(engine->health_failures, 4u);
  EXPECT_EQ(engine->metric_kv_cache_usage, "k");
  EXPECT_EQ(engine->stop_signal, 2);
  EXPECT_EQ(engine->stop_grace, 7 * kSecond);
  EXPECT_EQ(engine->env.at("MODE"), "{model_name}");
  EXPECT_THAT(engine->adapter_args, ElementsAre("--lora={adapter}"));
}

TEST(EngineSpec, NamesTheLineAndTheKeyThatWasMeant) {
  const Error error = error_of(with("grace_s: 7", "grase_s: 7"));
  EXPECT_EQ(error.reason, Reason::EngineInvalid);
  EXPECT_THAT(error.message, HasSubstr("/engines/demo/engine.yaml:16"));
  EXPECT_THAT(error.hint, HasSubstr("grace_s"));
}

TEST(EngineSpec, RefusesWhatIsOutOfRange) {
  EXPECT_THAT(error_of(with("timeout_s: 90", "timeout_s: 0")).message, HasSubstr("at least 1"));
  EXPECT_THAT(error_of(with("timeout_s: 90", "timeout_s: -5")).message, HasSubstr("timeout_s"));
  EXPECT_THAT(error_of(with("timeout_s: 90", "timeout_s: [1]")).message, HasSubstr("whole number"));
  EXPECT_THAT(error_of(with("devices: [cpu, soft]", "devices: [tpu]")).message, HasSubstr("tpu"));
  EXPECT_THAT(error_of(with("devices: [cpu, soft]\n", "")).message, HasSubstr("lacks 'devices'"));
  EXPECT_THAT(error_of(with("SIGINT", "STOP")).hint, HasSubstr("TERM"));
  EXPECT_THAT(error_of(with("path: /ready", "path: ready")).message, HasSubstr("starts with /"));
  EXPECT_THAT(error_of(with("simulated: true", "simulated: yes")).message, HasSubstr("true or false"));
  EXPECT_THAT(error_of(with("name: demo", "name: other")).message, HasSubstr("folder"));
  EXPECT_THAT(error_of(with("kind: Engine", "kind: Motor")).message, HasSubstr("Motor"));
  EXPECT_THAT(error_of(with("kind: Engine", "kind: Engine\nkind: Engine")).message, HasSubstr("twice"));
  EXPECT_THAT(error_of(with("[\"{python}\", \"{engine}/server.py\", \"--port={port}\"]", "[]")).message,
              HasSubstr("empty"));
  EXPECT_THAT(error_of(with("--lora={adapter}", "--lora")).hint, HasSubstr("{adapter}"));
  EXPECT_THAT(error_of("just text").message, HasSubstr("map"));
  EXPECT_THAT(error_of("{").message, HasSubstr("engine.yaml:"));
  EXPECT_THAT(error_of(std::string(kMaxEngineFileBytes + 1, ' ')).message, HasSubstr("the most is"));
}

TEST(EngineSpec, ExpandsWhatItKnowsAndLeavesTheRest) {
  const Placeholders values{{"port", "80"}, {"model", "/m {port}"}};
  EXPECT_EQ(expand("--port={port}", values), "--port=80");
  EXPECT_EQ(expand("{\"a\":{port}}", values), "{\"a\":80}");
  EXPECT_EQ(expand("{unknown} {", values), "{unknown} {");
  EXPECT_EQ(expand("{model}", values), "/m {port}") << "values are not expanded again";
}

TEST(EngineCatalog, TheShippedFoldersAreValid) {
  const char* source = std::getenv("TWEENDECK_SOURCE_DIR");
  if (source == nullptr) GTEST_SKIP() << "TWEENDECK_SOURCE_DIR is not set";
  const auto catalog = EngineCatalog::load(std::string(source) + "/engine", "", "");
  ASSERT_TRUE(catalog) << to_string(catalog.error());
  for (const Error& broken : catalog->broken()) ADD_FAILURE() << to_string(broken);
  EXPECT_TRUE(catalog->find("llamacpp"));
}

}  // namespace
}  // namespace tweendeck::serving
