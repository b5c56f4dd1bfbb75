#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <deque>
#include <map>
#include <set>

#include "base/clock.h"
#include "engine/sim/batcher.h"
#include "engine/sim/block_pool.h"
#include "engine/sim/model.h"
#include "engine/sim/tokens.h"

namespace tweendeck::sim {
namespace {

BatchRequest request(RequestId id, std::vector<Token> prompt, uint32_t output_tokens) {
  const uint64_t hash = hash_tokens(prompt);
  return {.id = id,
          .prompt = std::move(prompt),
          .prompt_hash = hash,
          .cache_salt = 0,
          .output_tokens = output_tokens};
}

std::vector<Token> prompt_of(size_t tokens, Token first) {
  std::vector<Token> prompt(tokens);
  for (size_t i = 0; i < tokens; ++i) prompt[i] = first + static_cast<Token>(i);
  return prompt;
}

// Runs until nothing is left; returns the number of steps.
size_t run_all(Batcher& batcher, std::map<RequestId, Progress>& last) {
  size_t steps = 0;
  while (!batcher.plan().empty()) {
    for (const Progress& p : batcher.complete()) last[p.id] = p;
    ++steps;
  }
  return steps;
}

TEST(StepModel, HasTheConstantsOfTheFit) {
  const Model m = *find_model("sim-8b");
  EXPECT_EQ(step_duration(m, {}), 6'420'000);
  // 32 decodes at 1280 tokens of context and no prefill: 6.42 + 0.0499 * 40.96.
  EXPECT_NEAR(static_cast<double>(step_duration(m, {32, 40960, 0})), 8'463'904, 1);
  EXPECT_NEAR(static_cast<double>(step_duration(m, {1, 8192, 8192})), 6'420'000 + 408'781 + 160'563'200, 2);
}

// The fit's own claim: TPOT of the measured rows (TensorRT-LLM, H100) within a few percent.
TEST(StepModel, MeetsTheMeasuredRows) {
  struct Row {
    double isl, osl, batch, tpot_ms;
  };
  const Model m = *find_model("sim-8b");
  for (const Row& row : {Row{1024, 512, 8, 7.42}, Row{1024, 512, 32, 9.88}, Row{1024, 512, 128, 19.26},
                         Row{4096, 512, 8, 9.65}, Row{4096, 512, 32, 18.15}, Row{4096, 512, 64, 30.09}}) {
    const double tpot = m.alpha_ms + m.beta_ms * row.batch +
                        m.gamma_ms * row.batch * (row.isl + row.osl / 2) / 1000 +
                        m.delta_ms * row.batch * row.isl / row.osl;
    EXPECT_NEAR(tpot / row.tpot_ms, 1, 0.06) << row.isl << " x " << row.batch;
  }
}

TEST(StepModel, TheSmallModelIsScaledBySize) {
  const Model big = *find_model("sim-8b");
  const Model small = *find_model("sim-3b");
  EXPECT_NEAR(small.alpha_ms / big.alpha_ms, 0.4, 0.001);
  EXPECT_NEAR(small.delta_ms / big.delta_ms, 0.4, 0.001);
  EXPECT_LT(small.weight_bytes, big.weight_bytes);
}

TEST(StepModel, UnknownModelsNameTheNearest) {
  EXPECT_EQ(find_model("sim-8c").error().reason, Reason::ModelNotFound);
  EXPECT_THAT(find_model("sim-8c").error().hint, testing::HasSubstr("sim-8b"));
}

TEST(KvMemory, RefusalNamesASizeThatSuffices) {
  for (const Model& model : models()) {
    const auto refused = kv_blocks(model, model.weight_bytes);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().reason, Reason::SliceTooSmall);
    const size_t at = refused.error().hint.find("--memory ") + 9;
    const uint64_t gib = std::stoull(refused.error().hint.substr(at));
    EXPECT_TRUE(kv_blocks(model, gib << 30));
    EXPECT_FALSE(kv_blocks(model, (gib - 1) << 30));
  }
  EXPECT_NEAR(static_cast<double>(*kv_blocks(*find_model("sim-8b"), 80'000'000'000)), 27'000, 2'000);
}

TEST(Tokens, FourBytesEachAndAFollowUpTurnBeginsWithThem) {
  EXPECT_EQ(count_tokens(""), 0u);
  EXPECT_EQ(count_tokens("abcde"), 2u);
  const std::string answer = answer_text(7, 0, 5);
  EXPECT_EQ(answer.size(), 5 * kTokenBytes);
  std::vector<Token> again;
  append_text(again, answer);
  for (size_t i = 0; i < again.size(); ++i) EXPECT_EQ(again[i], answer_token(7, i));
}

TEST(Tokens, AnswersDependOnThePromptAlone) {
  EXPECT_EQ(answer_text(1, 0, 20), answer_text(1, 0, 20));
  EXPECT_NE(answer_text(1, 0, 20), answer_text(2, 0, 20));
  EXPECT_EQ(answer_text(1, 0, 20), answer_text(1, 0, 7) + answer_text(1, 7, 13));
  for (uint64_t hash = 0; hash < 1000; ++hash) {
    EXPECT_GE(natural_length(hash), kMinAnswerTokens);
    EXPECT_LE(natural_length(hash), kMaxAnswerTokens);
  }
}

TEST(Tokens, EmbeddingsAreUnitVectorsAndNearForSharedWords) {
  std::vector<Token> a, b, c;
  append_text(a, "a cat sat on the mat");
  append_text(b, "a cat sat on the rug");
  append_text(c, "rates went up 2 pct.");
  auto dot = [](const std::vector<float>& x, const std::vector<float>& y) {
    double sum = 0;
    for (size_t i = 0; i < x.size(); ++i) sum += double{x[i]} * y[i];
    return sum;
  };
  const auto va = embed(a.data(), a.size(), 256), vb = embed(b.data(), b.size(), 256),
             vc = embed(c.data(), c.size(), 256);
  EXPECT_NEAR(dot(va, va), 1, 1e-5);
  EXPECT_GT(dot(va, vb), dot(va, vc) + 0.2);
}

TEST(Batcher, PrefillsInChunksAndThenDecodesOneTokenPerStep) {
  Batcher batcher(4096, {.max_requests = 4, .max_step_tokens = 8192});
  batcher.add(request(1, prompt_of(20000, 1), 3));
  EXPECT_EQ(batcher.plan().load, (StepLoad{1, 8192, 8192}));
  EXPECT_TRUE(batcher.complete().empty());
  EXPECT_EQ(batcher.plan().load, (StepLoad{1, 16384, 8192}));
  batcher.complete();
  EXPECT_EQ(batcher.plan().load, (StepLoad{1, 20000, 20000 - 16384}));
  EXPECT_EQ(batcher.complete().at(0).output_tokens, 1u);
  EXPECT_EQ(batcher.plan().load, (StepLoad{1, 20001, 0}));
  EXPECT_FALSE(batcher.complete().at(0).finished);
  batcher.plan();
  EXPECT_TRUE(batcher.complete().at(0).finished);
  EXPECT_TRUE(batcher.plan().empty());
  EXPECT_EQ(batcher.kv_usage(), 0);
}

TEST(Batcher, DecodesGoOnWhileAnotherPromptIsComputed) {
  Batcher batcher(4096, {.max_requests = 4, .max_step_tokens = 1000});
  batcher.add(request(1, prompt_of(10, 1), 100));
  batcher.plan();
  batcher.complete();
  batcher.add(request(2, prompt_of(5000, 1000), 1));
  EXPECT_EQ(batcher.plan().load, (StepLoad{2, 11 + 999, 999}));
  EXPECT_EQ(batcher.complete().at(0).output_tokens, 2u);
}

TEST(Batcher, AFollowUpTurnComputesOnlyWhatIsNew) {
  Batcher batcher(4096, {});
  std::map<RequestId, Progress> last;
  std::vector<Token> talk = prompt_of(100, 1);
  batcher.add(request(1, talk, 60));
  run_all(batcher, last);
  EXPECT_EQ(last[1].cached_tokens, 0u);
  const uint64_t hash = hash_tokens(talk);
  for (uint32_t i = 0; i < 60; ++i) talk.push_back(answer_token(hash, i));
  for (Token t : prompt_of(30, 5000)) talk.push_back(t);
  batcher.add(request(2, talk, 1));
  EXPECT_EQ(batcher.plan().load.prefill_tokens,
            190u - 144u);  // 159 tokens have KV (the last answer token has none yet)
  batcher.complete();
  EXPECT_EQ(batcher.counters().cache_hits_tokens, 144u);
}

TEST(Batcher, TheSamePromptAgainStillComputesItsEnd) {
  Batcher batcher(4096, {});
  std::map<RequestId, Progress> last;
  batcher.add(request(1, prompt_of(64, 1), 1));
  run_all(batcher, last);
  batcher.add(request(2, prompt_of(64, 1), 1));
  run_all(batcher, last);
  EXPECT_EQ(last[2].cached_tokens, 48u);
}

TEST(Batcher, AnotherSaltSharesNothing) {
  Batcher batcher(4096, {});
  std::map<RequestId, Progress> last;
  batcher.add(request(1, prompt_of(64, 1), 1));
  run_all(batcher, last);
  BatchRequest other = request(2, prompt_of(64, 1), 1);
  other.cache_salt = 99;
  batcher.add(other);
  run_all(batcher, last);
  EXPECT_EQ(last[2].cached_tokens, 0u);
}

TEST(Batcher, AnAbortFreesItsSlotForTheNextStep) {
  Batcher batcher(4096, {.max_requests = 1, .max_step_tokens = 8192});
  batcher.add(request(1, prompt_of(100, 1), 1000));
  batcher.add(request(2, prompt_of(100, 5000), 1));
  batcher.plan();
  EXPECT_TRUE(batcher.abort(1));
  EXPECT_FALSE(batcher.abort(1));
  EXPECT_TRUE(batcher.complete().empty());
  batcher.plan();
  EXPECT_EQ(batcher.complete().at(0).id, 2u);
}

TEST(Batcher, WithoutMemoryTheLastAdmittedGivesWayAndFinishesLater) {
  Batcher batcher(8, {.max_requests = 8, .max_step_tokens = 8192});  // 128 tokens
  std::map<RequestId, Progress> last;
  batcher.add(request(1, prompt_of(40, 1), 60));
  batcher.add(request(2, prompt_of(40, 5000), 60));
  run_all(batcher, last);
  EXPECT_GT(batcher.counters().preemptions, 0u);
  EXPECT_EQ(last[1].output_tokens, 60u);
  EXPECT_EQ(last[2].output_tokens, 60u);
  EXPECT_TRUE(last[1].finished && last[2].finished);
}

// A prefix cache as slow and plain as can be: every cached prefix with the time of its last use.
class ReferencePool {
 public:
  explicit ReferencePool(uint32_t blocks) : uses_(blocks, 0), hash_(blocks), freed_at_(blocks) {
    for (BlockId b = 0; b < blocks; ++b) freed_at_[b] = clock_++;
  }
  std::optional<BlockId> find_and_use(uint64_t hash) {
    for (BlockId b = 0; b < uses_.size(); ++b) {
      if (hash_[b] == hash) return ++uses_[b], b;
    }
    return std::nullopt;
  }
  std::optional<BlockId> allocate() {
    std::optional<BlockId> oldest;
    for (BlockId b = 0; b < uses_.size(); ++b) {
      if (uses_[b] == 0 && (!oldest || freed_at_[b] < freed_at_[*oldest])) oldest = b;
    }
    if (!oldest) return oldest;
    hash_[*oldest].reset();
    uses_[*oldest] = 1;
    return oldest;
  }
  void publish(BlockId b, uint64_t hash) {
    for (const auto& h : hash_) {
      if (h == hash) return;
    }
    if (!hash_[b]) hash_[b] = hash;
  }
  void release(BlockId b) {
    if (--uses_[b] == 0) freed_at_[b] = clock_++;
  }
  bool in_use(BlockId b) const { return uses_[b] > 0; }

 private:
  std::vector<uint32_t> uses_;
  std::vector<std::optional<uint64_t>> hash_;
  std::vector<uint64_t> freed_at_;
  uint64_t clock_ = 0;
};

TEST(BlockPool, EqualsAPlainReferenceOnRandomWork) {
  for (uint64_t seed = 0; seed < 200; ++seed) {
    Random random(seed);
    const auto blocks = static_cast<uint32_t>(1 + random.below(12));
    BlockPool pool(blocks);
    ReferencePool reference(blocks);
    std::vector<BlockId> held;
    for (int i = 0; i < 300; ++i) {
      switch (random.below(4)) {
        case 0: {
          const auto got = pool.allocate();
          ASSERT_EQ(got, reference.allocate());
          if (got) held.push_back(*got);
          break;
        }
        case 1: {
          const uint64_t hash = random.below(20);
          const auto got = pool.find_and_use(hash);
          ASSERT_EQ(got, reference.find_and_use(hash));
          if (got) held.push_back(*got);
          break;
        }
        case 2:
          if (!held.empty()) {
            const BlockId block = held[random.below(held.size())];
            const uint64_t hash = random.below(20);
            pool.publish(block, hash);
            reference.publish(block, hash);
          }
          break;
        default:
          if (!held.empty()) {
            const size_t at = random.below(held.size());
            pool.release(held[at]);
            reference.release(held[at]);
            held.erase(held.begin() + static_cast<long>(at));
          }
      }
      pool.check_invariants();
    }
  }
}

// Whatever arrives and is aborted: every request that is not aborted finishes with exactly its tokens, one
// per step at most, budgets hold in every step, and nothing is left in use.
TEST(Batcher, KeepsItsPromisesOnRandomWork) {
  for (uint64_t seed = 0; seed < 300; ++seed) {
    Random random(seed);
    const BatchLimits limits{.max_requests = static_cast<uint32_t>(1 + random.below(6)),
                             .max_step_tokens = static_cast<uint32_t>(16 + random.below(200))};
    Batcher batcher(static_cast<uint32_t>(20 + random.below(40)), limits);
    std::map<RequestId, uint32_t> wanted, got;
    RequestId next = 1;
    for (int step = 0; step < 400; ++step) {
      if (step < 200 && random.below(3) == 0) {
        auto prompt = prompt_of(1 + random.below(150), static_cast<Token>(random.below(3)));
        const auto output = static_cast<uint32_t>(random.below(60));
        wanted[next] = output;
        batcher.add(request(next++, std::move(prompt), output));
      }
      if (random.below(20) == 0 && next > 1) {
        const RequestId victim = 1 + random.below(next - 1);
        if (batcher.abort(victim)) wanted.erase(victim);
      }
      const Step plan = batcher.plan();
      ASSERT_LE(plan.load.requests, limits.max_requests);
      ASSERT_LE(plan.load.prefill_tokens, limits.max_step_tokens);
      ASSERT_EQ(plan.empty(), batcher.running() == 0);
      batcher.pool().check_invariants();
      std::set<RequestId> seen;
      for (const Progress& p : batcher.complete()) {
        ASSERT_TRUE(seen.insert(p.id).second);
        ASSERT_TRUE(wanted.contains(p.id));
        ASSERT_TRUE(p.output_tokens == 0 || p.output_tokens == got[p.id] + 1);
        got[p.id] = p.output_tokens;
        if (p.finished) {
          ASSERT_EQ(p.output_tokens, wanted[p.id]);
          wanted.erase(p.id);
        }
      }
    }
    std::map<RequestId, Progress> last;
    run_all(batcher, last);
    for (const auto& [id, p] : last) {
      if (p.finished) wanted.erase(id);
    }
    EXPECT_TRUE(wanted.empty()) << "seed " << seed;
    EXPECT_EQ(batcher.pool().in_use(), 0u);
    EXPECT_EQ(batcher.running() + batcher.waiting(), 0u);
  }
}

}  // namespace
}  // namespace tweendeck::sim
