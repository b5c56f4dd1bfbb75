// Runs test/scenarios/placement/*.txt; the format is told in test/scenarios/README.md.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <map>

#include "base/scenario_testing.h"
#include "base/text.h"
#include "base/units.h"
#include "placement/machine.h"

namespace tweendeck::placement {
namespace {

using scenario::Line;

uint64_t bytes_of(const Line& line) {
  return parse_bytes(line.text("memory", "0")).value();
}

Share share_of(const Line& line) {
  return {bytes_of(line), static_cast<uint32_t>(line.number("compute")),
          static_cast<int32_t>(line.number("priority"))};
}

class Runner {
 public:
  // What the line says back; "" when it only sets things up.
  std::string run(const Line& line) {
    const std::string& verb = line.words.at(0);
    if (verb == "device") return add_device(line), "";
    if (verb == "slice") return hold(line.words.at(1), line.text("device"), share_of(line)), "";
    if (verb == "stop") return stop(line.words.at(1)), "";
    if (verb == "claim") return claim(line);
    ADD_FAILURE() << "unknown verb " << verb;
    return "";
  }

 private:
  void add_device(const Line& line) {
    Device d;
    d.id = line.words.at(1);
    std::erase_if(devices_, [&](const Device& known) { return known.id == d.id; });
    d.provider = line.text("provider", "cpu");
    d.vendor = line.text("vendor", "AMD");
    d.model = line.text("model", "AMD EPYC");
    d.memory_bytes = bytes_of(line);
    EXPECT_TRUE(parse_isolation(line.text("isolation", "kernel"), d.isolation));
    d.isolation_reason = parse_reason(line.text("because", "None")).value();
    d.health_reason = parse_reason(line.text("unhealthy", "None")).value();
    d.healthy = d.health_reason == Reason::None;
    devices_.push_back(d);
  }

  void hold(const std::string& owner, const std::string& device, Share share) {
    Slice s;
    s.id = owner + "." + std::to_string(slices_.size());
    s.owner = owner;
    s.deployment = owner.substr(0, owner.rfind('-'));
    s.device_id = device;
    s.share = share;
    slices_.push_back(s);
  }

  void stop(const std::string& owner) {
    EXPECT_NE(std::erase_if(slices_, [&](const Slice& s) { return s.owner == owner; }), 0u) << owner;
  }

  std::string claim(const Line& line) {
    MachineClaim c;
    c.name = line.words.at(1);
    c.count = static_cast<uint32_t>(line.number("count", 1));
    c.share = share_of(line);
    c.vendor = line.text("vendor");
    c.model = line.text("model");
    if (line.values.contains("on")) {
      for (std::string_view id : split(line.text("on"), ',')) c.device_ids.emplace_back(id);
    }
    EXPECT_TRUE(parse_isolation(line.text("isolation", "none"), c.min_isolation));
    c.spread = line.has("pack") ? Spread::Pack : Spread::Spread;
    c.distinct_devices = line.has("distinct");
    std::vector<std::string> ids;
    for (uint32_t i = 0; i < c.count; ++i) ids.push_back("new" + std::to_string(slices_.size() + i));
    machine_.observe(devices_, slices_);
    const Decision decision = machine_.place(c, ids);
    if (!decision.placed()) return explain(*decision.refusal, c);
    for (size_t i = 0; i < ids.size(); ++i) {
      machine_.confirm(ids[i]);
      hold(c.name + "-" + std::to_string(++replicas_[c.name]), decision.device_ids[i], c.share);
      slices_.back().id = ids[i];
    }
    return "placed " + join(decision.device_ids, " ");
  }

  Machine machine_;  // lives through all of it, as the daemon's does
  std::vector<Device> devices_;
  std::vector<Slice> slices_;
  std::map<std::string, int> replicas_;
};

class PlacementScenario : public testing::TestWithParam<std::filesystem::path> {};

TEST_P(PlacementScenario, DecidesAsWritten) {
  Runner runner;
  scenario::run_file(GetParam(), [&runner](const Line& line) { return runner.run(line); });
}

TEST(PlacementScenarios, AreFound) {
  EXPECT_GE(scenario::files_of("placement").size(), 15u) << "run by ctest or in the source folder";
}

INSTANTIATE_TEST_SUITE_P(All, PlacementScenario, testing::ValuesIn(scenario::files_of("placement")),
                         scenario::test_name);

}  // namespace
}  // namespace tweendeck::placement
