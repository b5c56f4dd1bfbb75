// Writes a log of random events, or replays one: what the engine made of it, as one number.
#include <cstdio>
#include <cstring>
#include <fstream>
#include <memory>
#include <string>

#include "bench/placement/random_events.h"
#include "placement/event_log.h"
#include "placement/policy/make_policy.h"

namespace {

using namespace tweendeck;
using namespace tweendeck::placement;

int stop(const std::string& message) {
  std::fprintf(stderr, "%s\n", message.c_str());
  return 2;
}

std::unique_ptr<Engine> make_engine(const char* policy) {
  auto made = make_policy({policy, {}});
  if (!made) return nullptr;
  EngineSettings settings;
  settings.preempt = true;
  settings.bind_timeout_ms = 2'000;
  settings.tries_per_event = 64;
  return std::make_unique<Engine>(std::move(*made), settings);
}

int write(Engine& engine, const char* path, uint64_t events, uint64_t seed) {
  std::ofstream file(path);
  bench::RandomEvents random(seed);
  std::vector<ClaimDecision> decisions;
  const auto apply = [&](const Event& event) {
    file << to_line(event) << '\n';
    decisions.clear();
    (void)engine.apply(event, decisions);  // an error is an answer, too
    random.heed(decisions);
  };
  for (const Event& event : random.begin()) apply(event);
  for (uint64_t i = 0; i < events; ++i) apply(random.next());
  if (!file.flush()) return stop(std::string("cannot write ") + path);
  return 0;
}

int replay(Engine& engine, const char* path) {
  std::ifstream file(path);
  if (!file) return stop(std::string("cannot read ") + path);
  uint64_t events = 0;
  uint64_t placed = 0;
  std::vector<ClaimDecision> decisions;
  for (std::string line; std::getline(file, line);) {
    if (!is_event_line(line)) continue;
    const Result<Event> event = parse_event(line);
    if (!event) return stop(event.error().message);
    decisions.clear();
    (void)engine.apply(*event, decisions);
    ++events;
    for (const ClaimDecision& decision : decisions) placed += decision.verdict == Verdict::Placed;
  }
  std::printf("events %lu placed %lu running %zu waiting %zu hash %016lx\n", events, placed, engine.bound(),
              engine.pending(), engine.hash());
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  const bool writes = argc == 6 && std::strcmp(argv[1], "write") == 0;
  if (!writes && (argc != 4 || std::strcmp(argv[1], "replay") != 0)) {
    return stop("usage: tw_placement_same_bits write POLICY FILE EVENTS SEED | replay POLICY FILE");
  }
  const std::unique_ptr<Engine> engine = make_engine(argv[2]);
  if (engine == nullptr) return stop(std::string("no policy ") + argv[2]);
  return writes ? write(*engine, argv[3], std::stoull(argv[4]), std::stoull(argv[5]))
                : replay(*engine, argv[3]);
}
