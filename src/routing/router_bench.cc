// Cost of one decision, and of one request's whole account, with 100 endpoints and a full index of 100,000
// entries.
#include <benchmark/benchmark.h>

#include <string>
#include <vector>

#include "routing/router.h"

namespace tweendeck::routing {
namespace {

constexpr int kEndpoints = 100;
constexpr size_t kIndexEntries = 100'000;
constexpr int kConversations = 2000;

RouterConfig config() {
  RouterConfig c;
  c.max_index_entries = kIndexEntries;
  return c;
}

Request conversation(uint64_t which, size_t bytes, size_t shared_bytes) {
  PrefixHasher hasher(config(), "chat");
  hasher.update(std::string(shared_bytes, 's'));
  hasher.update(std::to_string(which) + std::string(bytes - shared_bytes, 'x'));
  Request r;
  r.model = "chat";
  r.prefix = hasher.finish();
  r.prompt_tokens = bytes / kBytesPerToken;
  return r;
}

// range(0): bytes of a prompt; range(1): bytes that all prompts share.
void BM_Request(benchmark::State& state) {
  Router router(config());
  for (int i = 0; i < kEndpoints; ++i) {
    Endpoint e;
    e.id = "chat-" + std::to_string(i);
    e.deployment = "chat";
    e.models = {"chat"};
    e.state = EndpointState::Ready;
    router.upsert(e);
  }
  std::vector<Request> requests;
  Nanos now = kSecond;
  auto serve = [&](const Request& request) {
    const Pick pick = router.pick(request, now += kMillisecond);
    router.first_byte(pick.ticket, now);
    router.finished(pick.ticket, true, 0, 16, now);
  };
  for (uint64_t i = 0; i < kConversations; ++i) {
    requests.push_back(
        conversation(i, static_cast<size_t>(state.range(0)), static_cast<size_t>(state.range(1))));
    serve(requests.back());
  }
  size_t next = 0;
  for (auto _ : state) serve(requests[next++ % requests.size()]);
  state.counters["index"] = static_cast<double>(router.index_entries());
}
BENCHMARK(BM_Request)
    ->Args({2'000, 0})
    ->Args({2'000, 1'000})
    ->Args({16'000, 0})
    ->Args({16'000, 8'000})
    ->Args({256'000, 0})
    ->Unit(benchmark::kMicrosecond);

void BM_Hash(benchmark::State& state) {
  const std::string prompt(static_cast<size_t>(state.range(0)), 'x');
  for (auto _ : state) {
    PrefixHasher hasher(config(), "chat");
    hasher.update(prompt);
    benchmark::DoNotOptimize(hasher.finish());
  }
  state.SetBytesProcessed(state.iterations() * state.range(0));
}
BENCHMARK(BM_Hash)->Arg(2'000)->Arg(256'000)->Unit(benchmark::kMicrosecond);

}  // namespace
}  // namespace tweendeck::routing
