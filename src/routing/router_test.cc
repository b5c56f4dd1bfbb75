#include "routing/router.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <string>
#include <vector>

namespace tweendeck::routing {
namespace {

Endpoint endpoint(std::string id, uint32_t max_in_flight = 0, EndpointState state = EndpointState::Ready) {
  Endpoint e;
  e.id = std::move(id);
  e.deployment = "chat";
  e.address = "127.0.0.1";
  e.port = 9000;
  e.models = {"chat", "chat-lora"};
  e.state = state;
  e.max_in_flight = max_in_flight;
  return e;
}

Request request(const RouterConfig& config, std::string_view prompt, std::string_view model = "chat") {
  PrefixHasher hasher(config, model);
  hasher.update(prompt);
  Request r;
  r.model = model;
  r.prefix = hasher.finish();
  r.prompt_tokens = prompt.size() / kBytesPerToken;
  return r;
}

std::string conversation(char name, size_t bytes) {
  return std::string(bytes, name);
}

class RouterTest : public testing::Test {
 protected:
  Pick pick(std::string_view prompt) { return router.pick(request(config, prompt), now); }
  // A whole request, alone, at 1 ms per prompt token and 10 ms per output token.
  std::string served(std::string_view prompt) {
    const Pick p = pick(prompt);
    EXPECT_EQ(p.kind, Pick::Kind::Dispatch);
    const uint64_t uncached = prompt.size() / kBytesPerToken - p.cached_tokens;
    router.first_byte(p.ticket, now += static_cast<Nanos>(uncached + 32) * kMillisecond);
    router.finished(p.ticket, true, 0, 16, now += 160 * kMillisecond);
    return p.endpoint_id;
  }
  RouterConfig config;
  Router router{config};
  Nanos now = kSecond;
};

TEST_F(RouterTest, RefusesWithTheReason) {
  EXPECT_EQ(pick("x").reason, Reason::UnknownModel);
  router.set_deployed_models({"chat"});
  EXPECT_EQ(pick("x").reason, Reason::NoEndpoint);
  router.upsert(endpoint("chat-1", 0, EndpointState::Unhealthy));
  router.upsert(endpoint("chat-2", 0, EndpointState::Draining));
  EXPECT_EQ(pick("x").kind, Pick::Kind::Refuse);
  EXPECT_EQ(pick("x").reason, Reason::NoEndpoint);
  router.upsert(endpoint("chat-1", 0, EndpointState::Starting));
  EXPECT_EQ(pick("x").kind, Pick::Kind::Hold);
  EXPECT_EQ(pick("x").reason, Reason::Starting);
  const uint64_t before = router.changed();
  router.upsert(endpoint("chat-1"));
  EXPECT_GT(router.changed(), before);
  EXPECT_EQ(pick("x").endpoint_id, "chat-1");
  EXPECT_EQ(router.models(), (std::vector<std::string>{"chat", "chat-lora"}));
}

TEST_F(RouterTest, AnExcludedEndpointIsNeverChosen) {
  router.upsert(endpoint("chat-1"));
  Request r = request(config, "x");
  r.exclude = "chat-1";
  EXPECT_EQ(router.pick(r, now).reason, Reason::NoEndpoint);
  router.upsert(endpoint("chat-2"));
  for (int i = 0; i < 4; ++i) EXPECT_EQ(router.pick(r, now).endpoint_id, "chat-2");
}

TEST_F(RouterTest, NewConversationsSpreadAndFollowUpsStay) {
  for (const char* id : {"chat-1", "chat-2", "chat-3"}) router.upsert(endpoint(id));
  std::vector<std::string> homes;
  for (char c = 'a'; c < 'j'; ++c) homes.push_back(served(conversation(c, 400)));
  for (const char* id : {"chat-1", "chat-2", "chat-3"})
    EXPECT_EQ(std::count(homes.begin(), homes.end(), id), 3);
  for (size_t turn = 2; turn < 6; ++turn) {
    for (char c = 'a'; c < 'j'; ++c) EXPECT_EQ(served(conversation(c, 400 * turn)), homes[c - 'a']);
  }
}

TEST_F(RouterTest, AFollowUpLeavesASaturatedReplica) {
  config.saturation_tokens = 1000;
  router = Router(config);
  router.upsert(endpoint("chat-1"));
  const std::string home = conversation('h', 2000);
  served(home);
  router.upsert(endpoint("chat-2"));
  // Half of each prompt is cached here, so half of the allowance counts: 504 new tokens each, at most 496 too
  // many.
  std::string homes;
  for (char c = 'p'; c < 's'; ++c)
    homes += pick(conversation('h', 2000) + conversation(c, 2000)).endpoint_id.back();
  EXPECT_EQ(homes, "112");
}

TEST_F(RouterTest, HoldsForABusyReplicaThatHasTheCache) {
  router.upsert(endpoint("chat-1", 1));
  router.upsert(endpoint("chat-2", 1));
  const std::string home = served(conversation('h', 16000));
  router.pick(request(config, conversation('o', 400)), now);  // both are free: goes to the other one
  Pick busy = pick(conversation('h', 16000) + "and");
  EXPECT_EQ(busy.endpoint_id, home);
  // Both busy now; nothing can go anywhere.
  EXPECT_EQ(pick(conversation('h', 16000)).reason, Reason::AllReplicasBusy);
}

TEST_F(RouterTest, WaitsOnlyAsLongAsItPays) {
  router.upsert(endpoint("chat-1", 1));
  router.upsert(endpoint("chat-2", 1));
  const std::string home = served(conversation('h', 16000));
  const Pick busy = pick(conversation('h', 16100));
  ASSERT_EQ(busy.endpoint_id, home);
  const Pick held = pick(conversation('h', 16200));
  EXPECT_EQ(held.kind, Pick::Kind::Hold);
  EXPECT_EQ(held.reason, Reason::PreferredBusy);
  EXPECT_EQ(held.endpoint_id, home);
  EXPECT_GT(held.retry_at, now);
  // Offering it again changes nothing: it does not wait for itself.
  for (int i = 0; i < 100; ++i) EXPECT_EQ(pick(conversation('h', 16200)), held);
  // Enough others wait for it already: the next one is served sooner elsewhere, though its prompt is computed
  // again.
  int waiting = 1;
  Pick next;
  while ((next = pick(conversation('h', 16200 + 64u * static_cast<size_t>(waiting)))).kind ==
         Pick::Kind::Hold) {
    ASSERT_LT(++waiting, 100);
  }
  EXPECT_NE(next.endpoint_id, home);
  EXPECT_GT(waiting, 1);
  router.finished(next.ticket, true, 0, 1, now);
  // A short prompt does not wait.
  EXPECT_EQ(pick("short").kind, Pick::Kind::Dispatch);
}

TEST_F(RouterTest, AnOverdueRequestIsNotWaitedForForEver) {
  router.upsert(endpoint("chat-1", 1));
  router.upsert(endpoint("chat-2", 1));
  served(conversation('h', 16000));
  ASSERT_EQ(pick(conversation('h', 16000)).kind, Pick::Kind::Dispatch);
  Pick held = pick(conversation('h', 16000));
  int offers = 0;
  while (held.kind == Pick::Kind::Hold) {
    ASSERT_LT(++offers, 1000);
    now = held.retry_at;
    held = pick(conversation('h', 16000));
  }
  EXPECT_GT(offers, 1);
}

TEST_F(RouterTest, ASharedFirstPartDoesNotKeepEverybodyOnOneReplica) {
  router.upsert(endpoint("chat-1", 1));
  router.upsert(endpoint("chat-2", 1));
  const std::string system = conversation('s', 2000);
  const std::string home = served(system + conversation('a', 400));
  EXPECT_EQ(served(system + conversation('b', 400)), home);  // idle and cheaper
  ASSERT_EQ(pick(system + conversation('c', 400)).endpoint_id, home);
  const Pick elsewhere = pick(system + conversation('d', 400));  // busy: not waited for
  EXPECT_EQ(elsewhere.kind, Pick::Kind::Dispatch);
  EXPECT_NE(elsewhere.endpoint_id, home);
}

TEST_F(RouterTest, AFailedRequestLeavesNoPrefixBehind) {
  router.upsert(endpoint("chat-1"));
  served(conversation('h', 640));
  const size_t before = router.index_entries();
  const Pick p = pick(conversation('h', 6400));
  EXPECT_EQ(p.cached_tokens, 160u);
  EXPECT_GT(router.index_entries(), before);
  router.finished(p.ticket, false, 0, 0, now);
  EXPECT_EQ(router.index_entries(), before);
}

TEST_F(RouterTest, ARestartedReplicaHasNoCache) {
  router.upsert(endpoint("chat-1"));
  served(conversation('h', 640));
  EXPECT_GT(router.index_entries(), 0u);
  router.upsert(endpoint("chat-1", 3));  // another setting, the same process
  EXPECT_GT(router.index_entries(), 0u);
  router.upsert(endpoint("chat-1", 3, EndpointState::Starting));
  EXPECT_EQ(router.index_entries(), 0u);
}

TEST_F(RouterTest, TicketsOutliveTheirEndpoint) {
  router.upsert(endpoint("chat-1"));
  const Pick p = pick(conversation('h', 640));
  router.remove("chat-1");
  router.upsert(endpoint("chat-1"));
  router.first_byte(p.ticket, now);
  router.finished(p.ticket, true, 160, 4, now);
  router.finished(p.ticket, true, 160, 4, now);
  EXPECT_EQ(router.in_flight(), 0u);
  EXPECT_EQ(router.endpoints().front().in_flight, 0u);
  EXPECT_EQ(router.endpoints().front().uncached_tokens, 0u);
}

TEST_F(RouterTest, ReportedLoadCountsOthersOnlyWhenTwoReportsAgree) {
  router.upsert(endpoint("chat-1"));
  router.upsert(endpoint("chat-2"));
  router.set_load("chat-1", {.running = 4, .waiting = 2}, now);
  EXPECT_EQ(router.endpoints()[0].foreign_requests, 0u);
  router.set_load("chat-1", {.running = 3, .waiting = 0}, now += kSecond);
  EXPECT_EQ(router.endpoints()[0].foreign_requests, 3u);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(served(conversation(static_cast<char>('a' + i), 100)), "chat-2");
  now += kLoadFreshness + 1;
  EXPECT_EQ(served(conversation('z', 100)), "chat-1");
}

TEST(Policies, Names) {
  for (Policy policy : {Policy::PrefixAffinity, Policy::RoundRobin, Policy::LeastRequests}) {
    Policy parsed{};
    EXPECT_TRUE(parse_policy(to_string(policy), parsed));
    EXPECT_EQ(parsed, policy);
  }
  Policy unused{};
  EXPECT_FALSE(parse_policy("random", unused));
}

TEST(Policies, RoundRobinRotatesAndSkipsTheFull) {
  RouterConfig config;
  config.policy = Policy::RoundRobin;
  Router router(config);
  for (const char* id : {"chat-1", "chat-2", "chat-3"}) router.upsert(endpoint(id, 2));
  std::string turns;
  Pick last;
  for (int i = 0; i < 6; ++i) turns += (last = router.pick(request(config, "x"), 0)).endpoint_id.back();
  EXPECT_EQ(turns, "123123");
  EXPECT_EQ(router.pick(request(config, "x"), 0).reason, Reason::AllReplicasBusy);
  router.finished(last.ticket, true, 0, 0, 0);
  EXPECT_EQ(router.pick(request(config, "x"), 0).endpoint_id, "chat-3");
}

TEST(Policies, LeastRequestsTakesTheIdleOne) {
  RouterConfig config;
  config.policy = Policy::LeastRequests;
  Router router(config);
  router.upsert(endpoint("chat-1"));
  router.upsert(endpoint("chat-2"));
  const Pick first = router.pick(request(config, "x"), 0);
  EXPECT_EQ(first.endpoint_id, "chat-1");
  EXPECT_EQ(router.pick(request(config, "x"), 0).endpoint_id, "chat-2");
  router.finished(first.ticket, true, 0, 0, 0);
  EXPECT_EQ(router.pick(request(config, "x"), 0).endpoint_id, "chat-1");
}

TEST(PrefixHasher, EqualPrefixesGiveEqualHeads) {
  RouterConfig config;
  config.max_chunks = 8;
  auto chain = [&](std::string_view model, std::string_view prompt) {
    return request(config, prompt, model).prefix;
  };
  const Prefix a = chain("m", conversation('a', 100));
  EXPECT_EQ(a.ends, (std::vector<uint64_t>{16, 32, 48, 64, 80, 96}));
  const Prefix b = chain("m", conversation('a', 50) + conversation('b', 200));
  EXPECT_TRUE(std::equal(a.links.begin(), a.links.begin() + 3, b.links.begin()));
  EXPECT_NE(a.links[3], b.links[3]);
  EXPECT_NE(chain("m", conversation('a', 300)), chain("n", conversation('a', 300)));
  EXPECT_EQ(chain("m", conversation('a', 5000)).links.size(), 8u);
}

TEST(PrefixHasher, LinksAreShortAtTheBeginningAndEndWithMessages) {
  auto ends = [](std::string_view prompt) { return request({}, prompt).prefix.ends; };
  EXPECT_EQ(ends(R"([{"role":"user","content":"Hi 1"}])"), (std::vector<uint64_t>{16, 32, 33}));
  const auto longer = ends(conversation('a', 400));
  EXPECT_EQ(longer.size(), 256u / 16 + 2);
  EXPECT_EQ(longer.back(), 256u + 2 * 64);
  // After the first bytes too; but not within a text, where quotes are escaped.
  EXPECT_EQ(ends(conversation('a', 256) + R"(x"},{"y\"} }")").back(), 259u);
}

std::string chat(const std::vector<std::string>& turns, std::string_view system = {}) {
  std::string body = "[";
  if (!system.empty()) body.append(R"({"role":"system","content":")").append(system).append("\"},");
  for (size_t i = 0; i < turns.size(); ++i) {
    body.append(i > 0 ? "," : "").append(R"({"role":")").append(i % 2 == 0 ? "user" : "assistant");
    body.append(R"(","content":")").append(turns[i]).append("\"}");
  }
  return body + "]";
}

// Bodies as clients send them, one conversation after another on idle replicas.
TEST_F(RouterTest, ShortChatsStayAndSpread) {
  const std::string long_system = conversation('s', 2000);
  for (std::string_view system : {"", "You are a helpful assistant.", long_system.c_str()}) {
    for (std::string_view first :
         {"Hi ", "My name is Bob ", "", "Hello there, how are you doing today, number "}) {
      SCOPED_TRACE(std::string(system.substr(0, 30)) + "/" + std::string(first));
      router = Router(config);
      for (const char* id : {"chat-1", "chat-2"}) router.upsert(endpoint(id));
      std::map<std::string, int> homes;
      for (int i = 0; i < 12; ++i) {
        std::vector<std::string> turns{std::string(first) + std::to_string(i)};
        const std::string home = served(chat(turns, system));
        ++homes[home];
        for (int turn = 0; turn < 3; ++turn) {
          turns.push_back("Hello! What can I do for you?");
          turns.push_back("ok " + std::to_string(turn));
          EXPECT_EQ(served(chat(turns, system)), home) << "conversation " << i;
          if (i % 3 == 0) served(chat({"Another one " + std::to_string(i * 10 + turn)}, system));
        }
      }
      // A long first part that all share is worth more than an even spread of idle replicas.
      if (system.size() < 100) {
        EXPECT_GE(homes["chat-1"], 4);
        EXPECT_GE(homes["chat-2"], 4);
      }
    }
  }
}

TEST_F(RouterTest, NewShortChatsAlternateAndDoNotPileUp) {
  for (const char* id : {"chat-1", "chat-2"}) router.upsert(endpoint(id));
  std::string homes;
  for (int i = 0; i < 8; ++i) homes += served(chat({"Hi " + std::to_string(i)})).back();
  EXPECT_EQ(homes, "12121212");
  // The same short prompt again, all at once: its few tokens are no reason to queue.
  homes.clear();
  for (int i = 0; i < 8; ++i) homes += pick(chat({"Hi"})).endpoint_id.back();
  EXPECT_EQ(std::ranges::count(homes, '1'), 4);
}

}  // namespace
}  // namespace tweendeck::routing
