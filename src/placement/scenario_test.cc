// Runs test/scenarios/placement/*.txt; the format is told in test/scenarios/README.md.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>

#include "base/text.h"
#include "base/units.h"
#include "placement/placement.h"

namespace tweendeck::placement {
namespace {

std::filesystem::path scenario_folder() {
  const char* root = std::getenv("TWEENDECK_SOURCE_DIR");
  return std::filesystem::path(root != nullptr ? root : ".") / "test/scenarios/placement";
}

// "device cpu0 memory=4Gi unhealthy" -> words {device, cpu0, unhealthy}, values {memory: 4Gi}. '_' stands for
// a space.
struct Line {
  std::vector<std::string> words;
  std::map<std::string, std::string> values;

  explicit Line(const std::string& text) {
    std::istringstream in(text);
    for (std::string word; in >> word;) {
      std::ranges::replace(word, '_', ' ');
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
  uint64_t bytes(const std::string& key) const { return parse_bytes(text(key, "0")).value(); }
  uint32_t number(const std::string& key, uint32_t otherwise = 0) const {
    return values.contains(key) ? static_cast<uint32_t>(std::stoul(text(key))) : otherwise;
  }
  bool has(const std::string& word) const { return std::ranges::find(words, word) != words.end(); }
  Share share() const {
    return {bytes("memory"), number("compute"), static_cast<int32_t>(number("priority"))};
  }
};

class Runner {
 public:
  // What the line says back; "" when it only sets things up.
  std::string run(const Line& line) {
    const std::string& verb = line.words.at(0);
    if (verb == "device") return add_device(line), "";
    if (verb == "slice") return hold(line.words.at(1), line.text("device"), line.share()), "";
    if (verb == "stop") return stop(line.words.at(1)), "";
    if (verb == "claim") return claim(line);
    ADD_FAILURE() << "unknown verb " << verb;
    return "";
  }

 private:
  void add_device(const Line& line) {
    Device d;
    d.id = line.words.at(1);
    std::erase_if(snapshot_.devices, [&](const Device& known) { return known.id == d.id; });
    d.provider = line.text("provider", "cpu");
    d.vendor = line.text("vendor", "AMD");
    d.model = line.text("model", "AMD EPYC");
    d.memory_bytes = line.bytes("memory");
    EXPECT_TRUE(parse_isolation(line.text("isolation", "kernel"), d.isolation));
    d.isolation_reason = parse_reason(line.text("because", "None")).value();
    d.health_reason = parse_reason(line.text("unhealthy", "None")).value();
    d.healthy = d.health_reason == Reason::None;
    snapshot_.devices.push_back(d);
  }

  void hold(const std::string& owner, const std::string& device, Share share) {
    Slice s;
    s.owner = owner;
    s.deployment = owner.substr(0, owner.rfind('-'));
    s.device_id = device;
    s.share = share;
    snapshot_.slices.push_back(s);
  }

  void stop(const std::string& owner) {
    EXPECT_NE(std::erase_if(snapshot_.slices, [&](const Slice& s) { return s.owner == owner; }), 0u) << owner;
  }

  std::string claim(const Line& line) {
    Claim c;
    c.name = line.words.at(1);
    c.count = line.number("count", 1);
    c.share = line.share();
    c.vendor = line.text("vendor");
    c.model = line.text("model");
    if (line.values.contains("on")) {
      for (std::string_view id : split(line.text("on"), ',')) c.device_ids.emplace_back(id);
    }
    EXPECT_TRUE(parse_isolation(line.text("isolation", "none"), c.min_isolation));
    c.spread = line.has("pack") ? Spread::Pack : Spread::Spread;
    c.distinct_devices = line.has("distinct");
    const Decision decision = place(snapshot_, c);
    if (!decision.placed()) return explain(*decision.refusal, c);
    for (const std::string& id : decision.device_ids) {
      hold(c.name + "-" + std::to_string(++replicas_[c.name]), id, c.share);
    }
    return "placed " + join(decision.device_ids, " ");
  }

  Snapshot snapshot_;
  std::map<std::string, int> replicas_;
};

class PlacementScenario : public testing::TestWithParam<std::filesystem::path> {};

TEST_P(PlacementScenario, DecidesAsWritten) {
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

TEST(PlacementScenarios, AreFound) {
  EXPECT_GE(scenarios().size(), 15u) << "run by ctest or in the source folder";
}

INSTANTIATE_TEST_SUITE_P(All, PlacementScenario, testing::ValuesIn(scenarios()), [](const auto& scenario) {
  std::string name = scenario.param.stem().string();
  std::ranges::replace(name, '-', '_');
  return name;
});

}  // namespace
}  // namespace tweendeck::placement
