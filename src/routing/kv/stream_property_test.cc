// Random engines, networks and replays: what the index says is what the engine held at the last message that
// arrived.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <map>

#include "routing/kv/stream.h"

namespace tweendeck::routing::kv {
namespace {

constexpr int kHistories = 100'000;
constexpr int kSoakHistories = 1'000'000;
constexpr uint32_t kLetters = 3;
constexpr size_t kBuffer = 6;  // messages that an engine keeps

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

using Cache = std::map<std::string, int>;  // prompt, a letter a block -> copies

// An engine with its publisher.
class Engine {
 public:
  explicit Engine(Random& random) : random_(random) {}

  void restart() {
    ++incarnation_;
    cache_.clear();
    log_.clear();
  }
  // One step of its scheduler; the message that it publishes is the last of log().
  void step() {
    std::string events;
    const uint32_t count = 1 + random_.below(3);
    for (uint32_t i = 0; i < count; ++i) {
      const uint32_t what = random_.below(12);
      events += what == 0 ? clear() : what < 5 && !cache_.empty() ? evict() : store();
    }
    std::string payload = "\x93\xcb";  // [time, events, rank]; the time makes messages differ
    for (int shift = 56; shift >= 0; shift -= 8) payload += static_cast<char>(++clock_ >> shift & 0xFF);
    payload += static_cast<char>(0x90 | count);
    payload += events + '\0';
    log_.push_back(payload);
  }
  const std::vector<std::string>& log() const { return log_; }  // payloads; place = number
  const Cache& cache() const { return cache_; }

 private:
  static std::string text(std::string_view text) {
    return static_cast<char>(0xa0 | text.size()) + std::string(text);
  }
  std::string key(const std::string& prompt) const {  // each incarnation has its own hashes
    uint64_t hash = std::hash<std::string>()(prompt) ^ static_cast<uint64_t>(incarnation_) << 40;
    std::string out = "\xcf";
    for (int shift = 56; shift >= 0; shift -= 8) out += static_cast<char>(hash >> shift & 0xFF);
    return out;
  }
  std::string clear() {
    cache_.clear();
    return "\x81" + text("type") +
           "\xb0"
           "AllBlocksCleared";
  }
  std::string evict() {
    const auto victim = std::next(cache_.begin(), random_.below(static_cast<uint32_t>(cache_.size())));
    const std::string event = "\x92" + text("BlockRemoved") + "\x91" + key(victim->first);
    if (--victim->second == 0) cache_.erase(victim);
    return event;
  }
  std::string store() {
    std::string prompt;
    if (!cache_.empty() && random_.below(2) == 0) {
      prompt = std::next(cache_.begin(), random_.below(static_cast<uint32_t>(cache_.size())))->first;
    }
    const std::string parent = prompt.empty() ? "\xc0" : key(prompt);
    const uint32_t blocks = 1 + random_.below(3);
    std::string hashes(1, static_cast<char>(0x90 | blocks)), tokens = hashes;
    for (uint32_t i = 0; i < blocks; ++i) {
      prompt += static_cast<char>('a' + random_.below(kLetters));
      hashes += key(prompt);
      tokens += prompt.back();
      ++cache_[prompt];
    }
    return "\x95" + text("BlockStored") + hashes + parent + tokens + "\x01";
  }

  Random& random_;
  int incarnation_ = 0;
  uint64_t clock_ = 0;
  Cache cache_;
  std::vector<std::string> log_;
};

class History {
 public:
  History(KvIndex& index, KvIndex::Reader& reader, uint64_t seed, bool can_replay)
      : index_(index),
        reader_(reader),
        random_(seed),
        engine_(random_),
        endpoint_(*index.add_endpoint()),
        stream_(index, endpoint_, can_replay) {}
  ~History() {
    index_.remove_endpoint(endpoint_);
    index_.tidy(SIZE_MAX);
  }

  void play() {
    if (random_.below(2) == 0) {
      for (uint32_t i = random_.below(10); i > 0; --i) engine_.step();  // before we knew of it
    }
    stream_.on_connected();
    const uint32_t steps = 5 + random_.below(20);
    for (uint32_t i = 0; i < steps; ++i) {
      step();
      check();
      if (testing::Test::HasFatalFailure()) return;
    }
    while (stream_.state() == EventStream::State::Replaying) answer(false);
    check();
  }
  const StreamStats& stats() const { return stream_.stats(); }
  int complete_checks = 0;

 private:
  void learn() { known_ = engine_.cache(); }

  void step() {
    if (const auto request = stream_.take_request()) asked_ = request;
    if (asked_ && random_.below(3) == 0) answer(random_.below(4) == 0);
    const uint32_t what = random_.below(30);
    if (what < 24) {
      engine_.step();
      const uint64_t seq = engine_.log().size() - 1;
      if (connected_ && random_.below(8) > 0) {
        stream_.on_message(seq, engine_.log()[seq]);
        learn();
        if (random_.below(10) == 0) stream_.on_message(seq, engine_.log()[seq]);
      }
    } else if (what < 27) {
      if (connected_) disconnect();
      if (random_.below(2) == 0) engine_.restart();
    } else if (!connected_) {
      connected_ = true;
      asked_.reset();
      if (random_.below(4) == 0) {  // a message is faster than the news of the connection
        engine_.step();
        stream_.on_message(engine_.log().size() - 1, engine_.log().back());
        learn();
      }
      stream_.on_connected();
    } else if (what == 29) {
      engine_.restart();
      stream_.on_other_process();
      asked_.reset();
      known_ = {};
    }
  }

  void disconnect() {
    connected_ = false;
    asked_.reset();
    stream_.on_disconnected();
  }

  // What the engine still has of what was asked for; some of it is lost where `fails`.
  void answer(bool fails) {
    if (const auto request = stream_.take_request()) asked_ = request;
    if (!asked_) return stream_.on_replay_failed();
    const uint64_t from = *asked_;
    asked_.reset();
    const auto& log = engine_.log();
    const size_t kept = log.size() > kBuffer ? log.size() - kBuffer : 0;
    for (uint64_t seq = std::max<uint64_t>(from, kept); seq < log.size(); ++seq) {
      if (fails && random_.below(3) == 0) return stream_.on_replay_failed();
      stream_.on_replayed(seq, log[seq]);
      if ((asked_ = stream_.take_request())) return;  // this answer no longer counts
    }
    stream_.on_replay_end();
    if (from < log.size()) learn();  // else it said nothing of what it holds
  }

  void check() {
    if (!index_.visible(endpoint_)) return;
    const bool complete = stream_.complete();
    complete_checks += complete;
    for (int i = 0; i < 3; ++i) {
      std::string prompt;
      std::vector<uint32_t> tokens;
      for (uint32_t n = 1 + random_.below(6); n > 0; --n) {
        prompt += static_cast<char>('a' + random_.below(kLetters));
        tokens.push_back(static_cast<uint32_t>(prompt.back()));
      }
      std::vector<Fingerprint> chain;
      fingerprinter_.chain(Fingerprinter::root(""), tokens, 1, {}, chain);
      reader_.match(chain, found_);
      uint32_t wanted = 0;
      while (wanted < prompt.size() && known_.contains(prompt.substr(0, wanted + 1))) ++wanted;
      const uint32_t blocks = found_.empty() ? 0 : found_[0].blocks;
      if (complete) {
        ASSERT_EQ(blocks, wanted) << prompt;
      }
      ASSERT_LE(blocks, wanted) << "a phantom: " << prompt;
    }
  }

  KvIndex& index_;
  KvIndex::Reader& reader_;
  Random random_;
  Engine engine_;
  EndpointNumber endpoint_;
  EventStream stream_;
  bool connected_ = true;
  std::optional<uint64_t> asked_;
  Cache known_;  // what the engine held at the last message that arrived
  Fingerprinter fingerprinter_;
  std::vector<KvIndex::Match> found_;
};

TEST(EventStreamProperty, NoPhantomsWhateverIsLostRepeatedOrRestarted) {
  const int histories = getenv("TWEENDECK_SOAK") != nullptr ? kSoakHistories : kHistories;
  KvIndex index({.max_bytes = 4 << 20, .max_endpoints = 64});
  auto reader = *KvIndex::Reader::join(index);
  StreamStats sum;
  int complete = 0;
  for (int seed = 0; seed < histories; ++seed) {
    History history(index, reader, static_cast<uint64_t>(seed), seed % 4 != 0);
    history.play();
    if (testing::Test::HasFatalFailure()) FAIL() << "seed " << seed;
    sum.gaps += history.stats().gaps;
    sum.restarts += history.stats().restarts;
    sum.losses += history.stats().losses;
    sum.duplicates += history.stats().duplicates;
    sum.malformed += history.stats().malformed;
    complete += history.complete_checks;
  }
  EXPECT_EQ(sum.malformed, 0);
  EXPECT_GT(sum.gaps, histories / 10);
  EXPECT_GT(sum.restarts, histories / 10);
  EXPECT_GT(sum.losses, histories / 10);
  EXPECT_GT(sum.duplicates, histories / 10);
  EXPECT_GT(complete, histories);
}

}  // namespace
}  // namespace tweendeck::routing::kv
