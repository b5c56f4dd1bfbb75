#include "engine/sim/batcher.h"

#include <algorithm>

namespace tweendeck::sim {

Batcher::Batcher(uint32_t blocks, BatchLimits limits) : pool_(blocks), limits_(limits) {}

Token Batcher::Sequence::token(uint32_t index) const {
  const auto prompt_tokens = static_cast<uint32_t>(request.prompt.size());
  return index < prompt_tokens ? request.prompt[index]
                               : answer_token(request.prompt_hash, index - prompt_tokens);
}

void Batcher::add(BatchRequest request) {
  const RequestId id = request.id;
  waiting_.emplace_back();
  waiting_.back().request = std::move(request);
  where_[id] = {&waiting_, std::prev(waiting_.end())};
}

bool Batcher::abort(RequestId id) {
  const auto found = where_.find(id);
  if (found == where_.end()) return false;
  auto [queue, at] = found->second;
  release(*at);
  queue->erase(at);
  where_.erase(found);
  return true;
}

Step Batcher::plan() {
  Step step;
  uint32_t budget = limits_.max_step_tokens;
  plan_running(step, budget);
  plan_waiting(step, budget);
  return step;
}

void Batcher::plan_running(Step& step, uint32_t& budget) {
  for (Sequence& sequence : running_) sequence.scheduled = 0;
  for (auto at = running_.begin(); at != running_.end() && budget > 0; ++at) {
    const uint32_t wanted = std::min(at->tokens() - at->computed, budget);
    bool reserved = reserve(*at, at->computed + wanted);
    while (!reserved && preempt_for(*at)) reserved = reserve(*at, at->computed + wanted);
    if (!reserved) break;  // the last one itself: it waits until others finish
    at->scheduled = wanted;
    budget -= wanted;
  }
  for (const Sequence& sequence : running_) account(step, sequence);
}

void Batcher::plan_waiting(Step& step, uint32_t& budget) {
  while (budget > 0 && !waiting_.empty() && running_.size() < limits_.max_requests) {
    Sequence& sequence = waiting_.front();
    hash_full_blocks(sequence);
    use_cached_prefix(sequence);
    const uint32_t wanted = std::min(sequence.tokens() - sequence.computed, budget);
    if (!reserve(sequence, sequence.computed + wanted)) {
      release(sequence);
      return;
    }
    if (!sequence.admitted_before) {
      counters_.cache_queries_tokens += sequence.tokens();
      counters_.cache_hits_tokens += sequence.computed;
      sequence.cached = sequence.computed;
      sequence.admitted_before = true;
    }
    sequence.scheduled = wanted;
    budget -= wanted;
    account(step, sequence);
    where_[sequence.request.id].first = &running_;
    running_.splice(running_.end(), waiting_, waiting_.begin());
  }
}

void Batcher::account(Step& step, const Sequence& sequence) const {
  if (sequence.scheduled == 0) return;
  ++step.load.requests;
  step.load.context_tokens += sequence.computed + sequence.scheduled;
  const bool decodes = sequence.generated > 0 && sequence.scheduled == 1;
  if (!decodes) step.load.prefill_tokens += sequence.scheduled;
}

// At least one token stays to be computed: its result is what the step is for.
void Batcher::use_cached_prefix(Sequence& sequence) {
  for (const uint64_t hash : sequence.prefix_hashes) {
    if (sequence.computed + kBlockTokens >= sequence.tokens()) return;
    const auto block = pool_.find_and_use(hash);
    if (!block) return;
    sequence.blocks.push_back(*block);
    sequence.computed += kBlockTokens;
  }
}

bool Batcher::reserve(Sequence& sequence, uint32_t tokens) {
  const size_t needed = (tokens + kBlockTokens - 1) / kBlockTokens;
  if (needed > sequence.blocks.size() && needed - sequence.blocks.size() > pool_.free()) return false;
  while (sequence.blocks.size() < needed) sequence.blocks.push_back(*pool_.allocate());
  return true;
}

// Sends the request that was admitted last back to waiting. False when that is `sequence` itself.
bool Batcher::preempt_for(const Sequence& sequence) {
  Sequence& victim = running_.back();
  if (&victim == &sequence) return false;
  release(victim);
  victim.scheduled = 0;
  where_[victim.request.id].first = &waiting_;
  waiting_.splice(waiting_.begin(), running_, std::prev(running_.end()));
  ++counters_.preemptions;
  return true;
}

void Batcher::release(Sequence& sequence) {
  for (auto block = sequence.blocks.rbegin(); block != sequence.blocks.rend(); ++block) pool_.release(*block);
  sequence.blocks.clear();
  sequence.computed = 0;
}

void Batcher::hash_full_blocks(Sequence& sequence) {
  auto& hashes = sequence.prefix_hashes;
  while ((hashes.size() + 1) * kBlockTokens <= sequence.tokens()) {
    uint64_t hash = hashes.empty() ? sequence.request.cache_salt : hashes.back();
    const auto first = static_cast<uint32_t>(hashes.size() * kBlockTokens);
    for (uint32_t i = 0; i < kBlockTokens; ++i) hash = mix(hash, sequence.token(first + i));
    hashes.push_back(hash);
  }
}

std::vector<Progress> Batcher::complete() {
  std::vector<Progress> done;
  for (auto at = running_.begin(); at != running_.end();) {
    const auto next = std::next(at);
    if (at->scheduled > 0) {
      const Progress progress = advance(*at);
      if (progress.output_tokens > 0 || progress.finished) done.push_back(progress);
      if (progress.finished) {
        release(*at);
        where_.erase(progress.id);
        running_.erase(at);
      }
    }
    at = next;
  }
  return done;
}

Progress Batcher::advance(Sequence& sequence) {
  const bool decodes = sequence.generated > 0 && sequence.scheduled == 1;
  if (!decodes) counters_.prefill_tokens += sequence.scheduled;
  const uint32_t full_before = sequence.computed / kBlockTokens;
  sequence.computed += sequence.scheduled;
  sequence.scheduled = 0;
  hash_full_blocks(sequence);
  for (uint32_t block = full_before; block < sequence.computed / kBlockTokens; ++block) {
    pool_.publish(sequence.blocks[block], sequence.prefix_hashes[block]);
  }
  Progress progress{sequence.request.id, sequence.generated, sequence.cached, false};
  if (sequence.computed < sequence.tokens()) return {progress.id, 0, progress.cached_tokens, false};
  if (sequence.generated < sequence.request.output_tokens) progress.output_tokens = ++sequence.generated;
  progress.finished = sequence.generated == sequence.request.output_tokens;
  return progress;
}

}  // namespace tweendeck::sim
