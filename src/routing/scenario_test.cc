// Runs test/scenarios/routing/*.txt; the format is told in test/scenarios/README.md.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>

#include "base/text.h"
#include "base/units.h"
#include "routing/router.h"

namespace tweendeck::routing {
namespace {

std::filesystem::path scenario_folder() {
  const char* root = std::getenv("TWEENDECK_SOURCE_DIR");
  return std::filesystem::path(root != nullptr ? root : ".") / "test/scenarios/routing";
}

struct Line {
  std::vector<std::string> words;
  std::map<std::string, std::string> values;

  explicit Line(const std::string& text) {
    std::istringstream in(text);
    for (std::string word; in >> word;) {
      const size_t equals = word.find('=');
      if (equals == std::string::npos) {
        words.push_back(word);
      } else {
        values[word.substr(0, equals)] = word.substr(equals + 1);
      }
    }
  }
  std::string text(const std::string& key, std::string otherwise = "") const {
    const auto found = values.find(key);
    return found == values.end() ? otherwise : found->second;
  }
  uint64_t number(const std::string& key) const { return std::stoull(text(key, "0")); }
};

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

// "Hi|Hello!|ok", with _ for spaces: the messages of a chat, the user's and the assistant's in turn.
std::string chat(const std::string& text, const std::string& system) {
  std::string bytes = "[";
  auto add = [&](std::string_view role, std::string content) {
    std::ranges::replace(content, '_', ' ');
    bytes.append(bytes.size() > 1 ? "," : "").append(R"({"role":")").append(role);
    bytes.append(R"(","content":")").append(content).append("\"}");
  };
  if (!system.empty()) add("system", system);
  bool user = true;
  for (std::string_view part : split(text, '|')) {
    add(user ? "user" : "assistant", std::string(part));
    user = !user;
  }
  return bytes + "]";
}

class Runner {
 public:
  std::string run(const Line& line) {
    const std::string& verb = line.words.at(0);
    const std::string name = line.words.size() > 1 ? line.words[1] : "";
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
  std::ifstream file(GetParam());
  Runner runner;
  std::string text, answer;
  for (int number = 1; std::getline(file, text); ++number) {
    SCOPED_TRACE(GetParam().filename().string() + ":" + std::to_string(number));
    const std::string_view line = trim(text);
    if (line.empty() || line.front() == '#') continue;
    if (line.starts_with("= ")) {
      EXPECT_EQ(line.substr(2), answer);
      answer.clear();
      continue;
    }
    EXPECT_EQ(answer, "") << "the scenario does not say what it expects";
    answer = runner.run(Line(std::string(line)));
  }
  EXPECT_EQ(answer, "") << "the scenario ends before it says what it expects";
}

std::vector<std::filesystem::path> scenarios() {
  std::vector<std::filesystem::path> files;
  std::error_code missing;
  for (const auto& entry : std::filesystem::directory_iterator(scenario_folder(), missing)) {
    if (entry.path().extension() == ".txt") files.push_back(entry.path());
  }
  std::ranges::sort(files);
  return files;
}

TEST(RoutingScenarios, AreFound) {
  EXPECT_GE(scenarios().size(), 10u) << "run by ctest or in the source folder";
}

INSTANTIATE_TEST_SUITE_P(All, RoutingScenario, testing::ValuesIn(scenarios()), [](const auto& scenario) {
  std::string name = scenario.param.stem().string();
  std::ranges::replace(name, '-', '_');
  return name;
});

}  // namespace
}  // namespace tweendeck::routing
