// Continuous batching with chunked prefill, as vLLM's scheduler does it: which requests the next step
// computes.
//
//   Step step = batcher.plan();           // what to run; empty when nothing can run
//   ... let the device work for step_duration(model, step.load) ...
//   for (const Progress& p : batcher.complete()) ...
//
// Running requests come first (one decode token each, or their next piece of prompt), then waiting ones in
// order of arrival, while the step has token budget, batch slots and KV blocks. When a running request gets
// no block, the one that was admitted last gives up its blocks, waits in front and is computed again later
// (preemption). Pure; one thread. add() and abort() may be called between plan() and complete().
#pragma once

#include <cstdint>
#include <list>
#include <unordered_map>
#include <vector>

#include "engine/sim/block_pool.h"
#include "engine/sim/model.h"
#include "engine/sim/tokens.h"

namespace tweendeck::sim {

using RequestId = uint64_t;

struct BatchLimits {
  uint32_t max_requests = 256;      // in one step
  uint32_t max_step_tokens = 8192;  // prompt pieces and decode tokens together
};

struct BatchRequest {
  RequestId id = 0;
  std::vector<Token> prompt;   // not empty
  uint64_t prompt_hash = 0;    // decides the answer
  uint64_t cache_salt = 0;     // requests share cached prefixes only with the same salt (LoRA adapter)
  uint32_t output_tokens = 0;  // the request ends after so many; 0 = the prompt only (embeddings)
};

// What one step did for one request.
struct Progress {
  RequestId id = 0;
  uint32_t output_tokens = 0;  // generated so far
  uint32_t cached_tokens = 0;  // of the prompt, found in the prefix cache at first admission
  bool finished = false;
};

struct Step {
  StepLoad load;
  bool empty() const { return load.requests == 0; }
};

struct BatchCounters {
  uint64_t cache_queries_tokens = 0;
  uint64_t cache_hits_tokens = 0;
  uint64_t preemptions = 0;
  uint64_t prefill_tokens = 0;  // computed, recomputation included
};

class Batcher {
 public:
  Batcher(uint32_t blocks, BatchLimits limits);

  // The prompt and its answer must fit the KV memory: prompt + output_tokens <= capacity_tokens().
  void add(BatchRequest request);
  bool abort(RequestId id);  // frees everything at once; false when it is not known (any more)

  Step plan();
  std::vector<Progress> complete();

  uint64_t capacity_tokens() const { return uint64_t{pool_.size()} * kBlockTokens; }
  size_t running() const { return running_.size(); }
  size_t waiting() const { return waiting_.size(); }
  double kv_usage() const { return static_cast<double>(pool_.in_use()) / pool_.size(); }
  const BatchCounters& counters() const { return counters_; }
  const BlockPool& pool() const { return pool_; }

 private:
  struct Sequence {
    BatchRequest request;
    uint32_t generated = 0;
    uint32_t computed = 0;   // tokens whose KV is in blocks
    uint32_t scheduled = 0;  // tokens that the planned step computes
    uint32_t cached = 0;
    bool admitted_before = false;
    std::vector<BlockId> blocks;
    std::vector<uint64_t> prefix_hashes;  // of every full block of prompt and answer so far

    uint32_t tokens() const { return static_cast<uint32_t>(request.prompt.size()) + generated; }
    Token token(uint32_t index) const;
  };
  using Queue = std::list<Sequence>;

  void plan_running(Step& step, uint32_t& budget);
  void plan_waiting(Step& step, uint32_t& budget);
  void account(Step& step, const Sequence& sequence) const;
  void use_cached_prefix(Sequence& sequence);
  bool reserve(Sequence& sequence, uint32_t tokens);
  bool preempt_for(const Sequence& sequence);
  void release(Sequence& sequence);
  void hash_full_blocks(Sequence& sequence);
  Progress advance(Sequence& sequence);

  BlockPool pool_;
  BatchLimits limits_;
  Queue running_;  // in order of admission
  Queue waiting_;
  std::unordered_map<RequestId, std::pair<Queue*, Queue::iterator>> where_;
  BatchCounters counters_;
};

}  // namespace tweendeck::sim
