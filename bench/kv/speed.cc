// What the index of KV blocks costs: memory, adds, lookups, and whether its budget holds. Prints `name value`.
//
//   tw_kv_speed [BLOCKS per endpoint, 100000] [CHURN seconds, 10]
//
// 100 endpoints hold BLOCKS different blocks each, told by events of 128 blocks of 16 tokens. Times are CPU
// time of the thread, but for lookups, which a request waits for.
#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <vector>

#include "routing/kv/index.h"

namespace {

using namespace tweendeck::routing::kv;

constexpr uint32_t kEndpoints = 100;
constexpr uint32_t kBlockTokens = 16;
constexpr uint32_t kEventBlocks = 128;
constexpr uint32_t kMatched = 1562;  // blocks of a prompt of 100,000 tokens in blocks of 64
constexpr int kLookups = 20'000;

double now(clockid_t clock) {
  timespec t{};
  clock_gettime(clock, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

uint64_t random_next(uint64_t& state) {
  state = state * 6364136223846793005ull + 1442695040888963407ull;
  return state >> 33;
}

// Block `at` of the endless prompt `text`; `salt` makes an engine's hashes its own.
void fill(Event& event, uint64_t text, uint64_t at, uint32_t blocks, uint64_t salt) {
  event.reset();
  event.type = Event::Type::Stored;
  event.block_tokens = kBlockTokens;
  event.has_parent = at > 0;
  auto key = [&](uint64_t i) { return (text << 32 | i) * 0x9E3779B97F4A7C15ull ^ salt; };
  event.parent = at > 0 ? key(at - 1) : 0;
  for (uint64_t i = at; i < at + blocks; ++i) event.hashes.push_back(key(i));
  for (uint64_t i = 0; i < uint64_t{blocks} * kBlockTokens; ++i) {
    event.tokens.push_back(static_cast<uint32_t>((text * 7919 + at * kBlockTokens + i) & 0x1FFFF));
  }
}

std::vector<Fingerprint> chain_of(uint64_t text, uint32_t blocks) {
  Event event;
  fill(event, text, 0, blocks, 0);
  std::vector<Fingerprint> chain;
  Fingerprinter().chain(Fingerprinter::root(""), event.tokens, kBlockTokens, {}, chain);
  return chain;
}

// Prompts of BLOCKS / 20 blocks, as conversations are; all different.
void adds(uint32_t blocks) {
  KvIndex index({.max_bytes = size_t{1} << 30, .max_endpoints = kEndpoints, .max_endpoint_percent = 100});
  Event event;
  double cpu = 0;
  for (uint32_t e = 0; e < kEndpoints; ++e) index.add_endpoint();
  const uint32_t prompt = std::max(kEventBlocks, blocks / 20);
  for (uint32_t first = 0; first < blocks; first += prompt) {
    for (uint32_t e = 0; e < kEndpoints; ++e) {
      for (uint32_t at = 0; at < std::min(prompt, blocks - first); at += kEventBlocks) {
        fill(event, 1 + e * 1000ull + first / prompt, at, std::min(kEventBlocks, prompt - at), e);
        const double begin = now(CLOCK_THREAD_CPUTIME_ID);
        index.apply(e, event);
        cpu += now(CLOCK_THREAD_CPUTIME_ID) - begin;
      }
    }
  }
  const KvIndexStats stats = index.stats();
  printf("adds_holdings %llu\n", static_cast<unsigned long long>(stats.holdings));
  printf("adds_million_per_s %.2f\n", static_cast<double>(stats.holdings) / cpu / 1e6);
  printf("bytes_per_block_one_holder %.1f\n",
         static_cast<double>(stats.bytes) / static_cast<double>(stats.holdings));
}

// The same blocks everywhere, as a shared prompt is.
void shared(uint32_t blocks) {
  KvIndex index({.max_bytes = size_t{1} << 30, .max_endpoints = kEndpoints, .max_endpoint_percent = 100});
  Event event;
  for (uint32_t e = 0; e < kEndpoints; ++e) {
    index.add_endpoint();
    for (uint32_t at = 0; at < blocks; at += kEventBlocks) {
      fill(event, 1, at, std::min(kEventBlocks, blocks - at), e);
      index.apply(e, event);
    }
  }
  const KvIndexStats stats = index.stats();
  printf("bytes_per_holding_100_holders %.1f\n",
         static_cast<double>(stats.bytes) / static_cast<double>(stats.holdings));
}

// `stairs`: endpoint e holds the first e + 1 hundredths of each prompt; otherwise everybody holds all.
void lookups(uint32_t blocks, bool stairs) {
  KvIndex index({.max_bytes = size_t{1} << 30, .max_endpoints = kEndpoints, .max_endpoint_percent = 100});
  auto reader = *KvIndex::Reader::join(index);
  const uint32_t prompts = std::max(1u, blocks / kMatched);
  Event event;
  std::vector<std::vector<Fingerprint>> chains;
  for (uint32_t p = 0; p < prompts; ++p) chains.push_back(chain_of(p + 1, kMatched));
  for (uint32_t e = 0; e < kEndpoints; ++e) {
    index.add_endpoint();
    const uint32_t length = stairs ? kMatched * (e + 1) / kEndpoints : kMatched;
    for (uint32_t p = 0; p < prompts; ++p) {
      for (uint32_t at = 0; at < length; at += kEventBlocks) {
        fill(event, p + 1, at, std::min(kEventBlocks, length - at), e);
        index.apply(e, event);
      }
    }
  }
  std::vector<KvIndex::Match> found;
  std::vector<double> times;
  uint64_t state = 1;
  double cpu = 0;
  for (int i = 0; i < kLookups; ++i) {
    const auto& chain = chains[random_next(state) % prompts];
    const double cpu_begin = now(CLOCK_THREAD_CPUTIME_ID);
    const double begin = now(CLOCK_MONOTONIC);
    reader.match(chain, found);
    times.push_back(now(CLOCK_MONOTONIC) - begin);
    cpu += now(CLOCK_THREAD_CPUTIME_ID) - cpu_begin;
    if (found.size() != kEndpoints) abort();
  }
  std::ranges::sort(times);
  const char* name = stairs ? "stairs" : "all";
  printf("lookup_%s_p50_us %.1f\n", name, 1e6 * times[times.size() / 2]);
  printf("lookup_%s_p99_us %.1f\n", name, 1e6 * times[times.size() * 99 / 100]);
  printf("lookup_%s_cpu_us %.1f\n", name, 1e6 * cpu / kLookups);
}

// Stores, removals and clears for a while against a budget that is too small.
void churn(double seconds) {
  const KvIndexConfig config{
      .max_bytes = size_t{32} << 20, .max_endpoints = kEndpoints, .max_endpoint_percent = 20};
  KvIndex index(config);
  for (uint32_t e = 0; e < kEndpoints; ++e) index.add_endpoint();
  Event event;
  size_t most = 0;
  uint64_t state = 7, text = 1;
  std::vector<std::array<uint64_t, 2>> live;  // endpoint, text
  for (const double end = now(CLOCK_MONOTONIC) + seconds; now(CLOCK_MONOTONIC) < end;) {
    for (int i = 0; i < 256; ++i) {
      if (live.size() < 20'000 && random_next(state) % 8 < 5) {
        live.push_back({random_next(state) % kEndpoints, ++text});
        fill(event, text, 0, kEventBlocks, 0);
      } else if (!live.empty()) {
        std::swap(live[random_next(state) % live.size()], live.back());
        fill(event, live.back()[1], 0, kEventBlocks, 0);
        event.type = Event::Type::Removed;
      }
      if (random_next(state) % 5000 == 0)
        index.clear(static_cast<EndpointNumber>(random_next(state) % kEndpoints));
      if (live.empty()) continue;
      index.apply(static_cast<EndpointNumber>(live.back()[0]), event);
      if (event.type == Event::Type::Removed) live.pop_back();
    }
    most = std::max(most, index.stats().bytes);
  }
  const KvIndexStats stats = index.stats();
  printf("churn_million_blocks %.1f\n", static_cast<double>(stats.stored + stats.removed) / 1e6);
  printf("churn_refused_million %.1f\n", static_cast<double>(stats.refused) / 1e6);
  printf("churn_budget_bytes %zu\nchurn_most_bytes %zu\n", config.max_bytes, most);
}

}  // namespace

int main(int argc, char** argv) {
  const uint32_t blocks = argc > 1 ? static_cast<uint32_t>(atoi(argv[1])) : 100'000;
  adds(blocks);
  shared(blocks);
  lookups(blocks, false);
  lookups(blocks, true);
  churn(argc > 2 ? atof(argv[2]) : 10);
}
