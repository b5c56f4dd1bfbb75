// Runs test/scenarios/routing/*.txt; the format is told in test/scenarios/README.md.
#include <gtest/gtest.h>

#include <filesystem>
#include <map>

#include "base/scenario_testing.h"
#include "base/text.h"
#include "base/units.h"
#include "routing/router.h"

namespace tweendeck::routing {
namespace {

using scenario::Line;

EndpointState parse_state(const std::string& name) {
  for (EndpointState state : {EndpointState::Starting, EndpointState::Ready, EndpointState::Draining}) {
    if (to_string(state) == name) return state;
  }
  EXPECT_EQ(name, "unhealthy");
  return EndpointState::Unhealthy;
}

// "s:2000+a:400": 2000 times s, then 400 times a.
std::string prompt(const std::string& text) {
  std::string bytes;
  for (std::string_view part : split(text, '+'))
    bytes.append(std::stoul(std::string(part.substr(2))), part[0]);
  return bytes;
}

// "Hi|Hello!|ok": the messages of a chat, the user's and the assistant's in turn.
std::string chat(const std::string& text, const std::string& system) {
  std::string bytes = "[";
  auto add = [&](std::string_view role, std::string_view content) {
    bytes.append(bytes.size() > 1 ? "," : "").append(R"({"role":")").append(role);
    bytes.append(R"(","content":")").append(content).append("\"}");
  };
  if (!system.empty()) add("system", system);
  bool user = true;
  for (std::string_view part : split(text, '|')) {
    add(user ? "user" : "assistant", part);
    user = !user;
  }
  return bytes + "]";
}

class Runner {
 public:
  std::string run(const Line& line) {
    const std::string& verb = line.words.at(0);
    const std::string name = line.word(1);
    if (verb == "router") return configure(line), "";
    if (verb == "deployed") return router_.set_deployed_models({name}), "";
    if (verb == "endpoint") return upsert(name, line), "";
    if (verb == "remove") return router_.remove(name), "";
    if (verb == "clear") return router_.clear_cache(name), "";
    if (verb == "wait") return now_ += parse_duration(name).value(), "";
    if (verb == "load") return report(name, line), "";
    if (verb == "request") return request(name, line);
    if (verb == "first") return router_.first_byte(tickets_.at(name), now_), "";
    if (verb == "done") return router_.finished(tickets_.at(name), true, 0, line.number("output"), now_), "";
    if (verb == "failed") return router_.finished(tickets_.at(name), false, 0, 0, now_), "";
    ADD_FAILURE() << "unknown verb " << verb;
    return "";
  }

 private:
  void configure(const Line& line) {
    EXPECT_TRUE(parse_policy(line.text("policy", "prefix"), config_.policy));
    config_.saturation_tokens = line.number("saturation");
    router_ = Router(config_);
  }

  void upsert(const std::string& id, const Line& line) {
    Endpoint e;
    e.id = id;
    e.deployment = id.substr(0, id.rfind('-'));
    e.models = {e.deployment};
    if (line.values.contains("adapter")) e.models.push_back(line.text("adapter"));
    e.state = parse_state(line.text("state", "ready"));
    e.max_in_flight = static_cast<uint32_t>(line.number("max"));
    router_.upsert(e);
  }

  void report(const std::string& id, const Line& line) {
    router_.set_load(id,
                     {.running = static_cast<int64_t>(line.number("running")),
                      .waiting = static_cast<int64_t>(line.number("waiting")),
                      .kv_cache_usage = -1},
                     now_);
  }

  std::string request(const std::string& name, const Line& line) {
    const std::string model = line.text("model", "chat");
    const std::string text = line.values.contains("chat") ? chat(line.text("chat"), line.text("system"))
                                                          : prompt(line.text("prompt", "x:4"));
    const std::string exclude = line.text("not");
    PrefixHasher hasher(config_, model);
    hasher.update(text);
    Request r;
    r.model = model;
    r.prefix = hasher.finish();
    r.prompt_tokens = text.size() / kBytesPerToken;
    r.max_output_tokens = line.number("output");
    r.exclude = exclude;
    const Pick pick = router_.pick(r, now_);
    const std::string reason(to_string(pick.reason));
    if (pick.kind == Pick::Kind::Refuse) return "refused " + reason;
    if (pick.kind == Pick::Kind::Hold)
      return "held " + reason + (pick.endpoint_id.empty() ? "" : " " + pick.endpoint_id);
    tickets_[name] = pick.ticket;
    return pick.endpoint_id + " cached " + std::to_string(pick.cached_tokens);
  }

  RouterConfig config_;
  Router router_{config_};
  Nanos now_ = kSecond;
  std::map<std::string, Ticket> tickets_;
};

class RoutingScenario : public testing::TestWithParam<std::filesystem::path> {};

TEST_P(RoutingScenario, DecidesAsWritten) {
  Runner runner;
  scenario::run_file(GetParam(), [&runner](const Line& line) { return runner.run(line); });
}

TEST(RoutingScenarios, AreFound) {
  EXPECT_GE(scenario::files_of("routing").size(), 10u) << "run by ctest or in the source folder";
}

INSTANTIATE_TEST_SUITE_P(All, RoutingScenario, testing::ValuesIn(scenario::files_of("routing")),
                         scenario::test_name);

}  // namespace
}  // namespace tweendeck::routing
