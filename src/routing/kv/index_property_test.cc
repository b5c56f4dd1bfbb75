// Random histories of engines against a plain model: what the index says is what the engines hold.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <map>
#include <set>

#include "routing/kv/index.h"

namespace tweendeck::routing::kv {
namespace {

constexpr uint32_t kBlock = 2;
constexpr uint32_t kEndpoints = 4;
constexpr int kHistories = 100'000;
constexpr int kSoakHistories = 1'000'000;

class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed * 2 + 1) {}
  uint32_t below(uint32_t bound) {
    state_ = state_ * 6364136223846793005ull + 1442695040888963407ull;
    return static_cast<uint32_t>((state_ >> 33) % bound);
  }

 private:
  uint64_t state_;
};

// An engine's block, named by its whole past: adapter, then the letters of its blocks.
using Prompt = std::string;

// What one endpoint holds, without any cleverness.
struct Plain {
  std::map<std::pair<Prompt, int>, int> held[2];  // by tier: (prompt, group) -> copies
  std::set<int> groups;

  bool holds(const Prompt& prompt, bool device_only) const {
    return std::ranges::all_of(groups, [&](int group) {
      return held[0].contains({prompt, group}) || (!device_only && held[1].contains({prompt, group}));
    });
  }
};

class History {
 public:
  History(KvIndex& index, KvIndex::Reader& reader, uint64_t seed)
      : index_(index), reader_(reader), random_(seed) {
    for (uint32_t e = 0; e < kEndpoints; ++e) endpoints_[e] = *index.add_endpoint();
  }
  ~History() {
    for (const EndpointNumber endpoint : endpoints_) index_.remove_endpoint(endpoint);
    index_.tidy(SIZE_MAX);
  }

  void play() {
    const uint32_t steps = 5 + random_.below(25);
    for (uint32_t i = 0; i < steps; ++i) {
      step();
      if (random_.below(4) == 0) check();
    }
    check();
  }

 private:
  // The engine's name of a block is its own: another per endpoint and incarnation.
  uint64_t key(uint32_t e, const Prompt& prompt) const {
    return std::hash<std::string>()(prompt + "@" + std::to_string(e) + "#" + std::to_string(incarnation_[e]));
  }
  static void put_tokens(std::vector<uint32_t>& tokens, char letter) {
    for (uint32_t i = 0; i < kBlock; ++i) tokens.push_back(static_cast<uint32_t>(letter) * 10 + i);
  }

  void step() {
    const uint32_t e = random_.below(kEndpoints);
    const uint32_t what = random_.below(20);
    if (what < 10) return store(e);
    if (what < 16) return remove(e);
    if (what < 18) return offload(e);
    if (what == 18) {
      Event cleared;
      cleared.type = Event::Type::Cleared;
      index_.apply(endpoints_[e], cleared);
    } else {
      index_.clear(endpoints_[e]);  // a restart
      ++incarnation_[e];
    }
    plain_[e] = {};
  }

  // A continuation of something that the endpoint holds, or of nothing.
  void store(uint32_t e) {
    Plain& plain = plain_[e];
    const int group = random_.below(6) == 0 ? 1 : 0;
    const char adapter = random_.below(4) == 0 ? 'L' : '-';
    Prompt prompt(1, adapter);
    Event event;
    event.type = Event::Type::Stored;
    event.group = static_cast<uint32_t>(group);
    event.block_tokens = kBlock;
    std::vector<Prompt> parents;
    for (const auto& held : plain.held) {
      for (const auto& [at, _] : held) {
        if (at.second == group && at.first[0] == adapter) parents.push_back(at.first);
      }
    }
    const bool orphan = random_.below(12) == 0;
    if (!parents.empty() && random_.below(3) > 0)
      prompt = parents[random_.below(static_cast<uint32_t>(parents.size()))];
    if (orphan) prompt += "?";  // nobody stored that
    if (prompt.size() > 1) {
      event.has_parent = true;
      event.parent = key(e, prompt);
    }
    if (adapter == 'L') {
      event.has_lora = true;
      event.lora_name = "ad1";
    }
    const uint32_t blocks = 1 + random_.below(4);
    for (uint32_t i = 0; i < blocks; ++i) {
      const char letter = static_cast<char>('a' + random_.below(2));
      prompt += letter;
      put_tokens(event.tokens, letter);
      event.hashes.push_back(key(e, prompt));
      if (orphan) continue;
      ++plain.held[0][{prompt, group}];
    }
    if (!orphan) plain.groups.insert(group);
    index_.apply(endpoints_[e], event);
  }

  // A few of its blocks, anywhere, and now and then one that it does not hold.
  void remove(uint32_t e) {
    const int tier = random_.below(4) == 0 ? 1 : 0;
    auto& held = plain_[e].held[tier];
    Event event;
    event.type = Event::Type::Removed;
    event.tier = tier == 0 ? Tier::Device : Tier::Host;
    if (held.empty() || random_.below(10) == 0) event.hashes.push_back(12345);
    const int group =
        held.empty()
            ? 0
            : std::next(held.begin(), random_.below(static_cast<uint32_t>(held.size())))->first.second;
    event.group = static_cast<uint32_t>(group);
    for (uint32_t i = random_.below(3) + 1; i > 0 && !held.empty(); --i) {
      const auto victim = std::next(held.begin(), random_.below(static_cast<uint32_t>(held.size())));
      if (victim->first.second != group) continue;
      event.hashes.push_back(key(e, victim->first.first));
      if (--victim->second == 0) held.erase(victim);
    }
    index_.apply(endpoints_[e], event);
  }

  void offload(uint32_t e) {
    Plain& plain = plain_[e];
    Event event;
    event.type = Event::Type::Stored;
    event.tier = Tier::Host;
    for (const auto& [at, _] : plain.held[0]) {
      if (at.second != 0 || random_.below(2) == 0) continue;
      event.hashes.push_back(key(e, at.first));
      ++plain.held[1][at];
    }
    index_.apply(endpoints_[e], event);
  }

  void check() {
    for (const char adapter : {'-', 'L'}) {
      Prompt letters;
      std::vector<uint32_t> tokens;
      const uint32_t blocks = 1 + random_.below(8);
      for (uint32_t i = 0; i < blocks; ++i) {
        letters += static_cast<char>('a' + random_.below(2));
        put_tokens(tokens, letters.back());
      }
      std::vector<Fingerprint> chain;
      fingerprinter_.chain(Fingerprinter::root(adapter == 'L' ? "ad1" : ""), tokens, kBlock, {}, chain);
      std::vector<KvIndex::Match> found;
      reader_.match(chain, found);
      for (uint32_t e = 0; e < kEndpoints; ++e) {
        uint32_t wanted[2] = {0, 0};
        for (const bool device_only : {false, true}) {
          uint32_t& n = wanted[device_only];
          while (n < blocks && !plain_[e].groups.empty() &&
                 plain_[e].holds(Prompt(1, adapter) + letters.substr(0, n + 1), device_only)) {
            ++n;
          }
        }
        const auto match = std::ranges::find(found, endpoints_[e], &KvIndex::Match::endpoint);
        const KvIndex::Match none{endpoints_[e], 0, 0};
        ASSERT_EQ(match == found.end() ? none : *match,
                  (KvIndex::Match{endpoints_[e], wanted[0], wanted[1]}));
      }
    }
  }

  KvIndex& index_;
  KvIndex::Reader& reader_;
  Random random_;
  EndpointNumber endpoints_[kEndpoints];
  int incarnation_[kEndpoints] = {};
  Plain plain_[kEndpoints];
  Fingerprinter fingerprinter_;
};

TEST(KvIndexProperty, EqualsAPlainModel) {
  const int histories = getenv("TWEENDECK_SOAK") != nullptr ? kSoakHistories : kHistories;
  KvIndex index({.max_bytes = 4 << 20, .max_endpoints = 64});
  auto reader = *KvIndex::Reader::join(index);
  for (int seed = 0; seed < histories; ++seed) {
    History(index, reader, static_cast<uint64_t>(seed)).play();
    if (testing::Test::HasFatalFailure()) FAIL() << "seed " << seed;
  }
  const KvIndexStats stats = index.stats();
  EXPECT_EQ(stats.holdings, 0);
  EXPECT_EQ(stats.fingerprints, 0);
  EXPECT_EQ(stats.holder_sets, 0);
  EXPECT_EQ(stats.refused, 0);
  EXPECT_GT(stats.stored, 100'000);
}

}  // namespace
}  // namespace tweendeck::routing::kv
