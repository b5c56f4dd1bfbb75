// Seeded random histories against a slow router: plain lists, every sum added up anew, chains compared link
// by link.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <optional>
#include <tuple>

#include "base/clock.h"
#include "routing/pace.h"
#include "routing/router.h"

namespace tweendeck::routing {
namespace {

using Chain = std::vector<uint64_t>;

struct SlowRequest {
  std::string endpoint;  // "" once it is gone
  uint64_t uncached, ahead, output;
  Nanos at, first_byte = -1;
  Chain chain;
  size_t known;
};

struct SlowEndpoint {
  Endpoint data;
  std::vector<Chain> chains;
  std::map<uint64_t, uint32_t> followers;
  uint64_t last = 0;
  std::vector<std::tuple<Chain, uint64_t, uint64_t>> held;  // chain, prompt tokens, work
  uint64_t held_version = 0;

  size_t known(const Chain& chain) const {
    size_t best = 0;
    for (const Chain& c : chains) {
      best = std::max(best, static_cast<size_t>(std::ranges::mismatch(c, chain).in1 - c.begin()));
    }
    return best;
  }
};

class SlowRouter {
 public:
  explicit SlowRouter(RouterConfig config) : config_(config) {}

  std::vector<SlowEndpoint> endpoints;
  std::map<Ticket, SlowRequest> requests;
  Pace pace;

  SlowEndpoint* find(const std::string& id) {
    for (SlowEndpoint& e : endpoints) {
      if (e.data.id == id) return &e;
    }
    return nullptr;
  }
  uint32_t in_flight(const SlowEndpoint& e) const {
    return static_cast<uint32_t>(
        std::ranges::count_if(requests, [&](const auto& r) { return r.second.endpoint == e.data.id; }));
  }
  bool full(const SlowEndpoint& e) const {
    return e.data.max_in_flight != 0 && in_flight(e) >= e.data.max_in_flight;
  }
  uint64_t uncached(const SlowEndpoint& e) const {
    uint64_t sum = 0;
    for (const auto& [t, r] : requests) sum += r.endpoint == e.data.id && r.first_byte < 0 ? r.uncached : 0;
    return sum;
  }
  uint64_t load(const SlowEndpoint& e) const {
    uint64_t sum = uncached(e);
    for (const auto& [t, r] : requests) sum += r.endpoint == e.data.id && r.first_byte >= 0 ? r.output : 0;
    return sum;
  }

  Pick pick(const Request& q, Nanos now, uint64_t version, Ticket next_ticket) {
    std::vector<SlowEndpoint*> ready;
    bool starting = false;
    for (SlowEndpoint& e : endpoints) {
      if (e.data.id == q.exclude) continue;
      starting |= e.data.state == EndpointState::Starting;
      if (e.data.state == EndpointState::Ready) ready.push_back(&e);
    }
    if (endpoints.empty())
      return {.kind = Pick::Kind::Refuse,
              .ticket = 0,
              .endpoint_id = {},
              .cached_tokens = 0,
              .reason = Reason::UnknownModel};
    if (ready.empty())
      return starting ? hold(Reason::Starting)
                      : Pick{.kind = Pick::Kind::Refuse,
                             .ticket = 0,
                             .endpoint_id = {},
                             .cached_tokens = 0,
                             .reason = Reason::NoEndpoint};
    SlowEndpoint* chosen = nullptr;
    if (config_.policy != Policy::PrefixAffinity) {
      for (SlowEndpoint* e : ready) {
        auto rank = [&](const SlowEndpoint* x) {
          return std::tuple(config_.policy == Policy::RoundRobin ? 0 : in_flight(*x), x->last);
        };
        if (!full(*e) && (chosen == nullptr || rank(e) < rank(chosen))) chosen = e;
      }
    } else {
      Pick held;
      chosen = by_prefix(q, ready, now, version, held);
      if (chosen == nullptr) return held;
    }
    return chosen == nullptr ? hold(Reason::AllReplicasBusy) : dispatch(q, *chosen, now, next_ticket);
  }

  void finish(Ticket ticket, bool ok) {
    const SlowRequest r = requests.at(ticket);
    requests.erase(ticket);
    SlowEndpoint* e = find(r.endpoint);
    if (e == nullptr || ok || r.first_byte >= 0) return;
    const auto mine = std::ranges::find(e->chains, r.chain);
    mine->resize(r.known);
    for (size_t i = r.known; i < r.chain.size(); ++i) {
      if (e->known(r.chain) <= i) e->followers.erase(r.chain[i]);
    }
  }

 private:
  static Pick hold(Reason reason) {
    return {.kind = Pick::Kind::Hold, .ticket = 0, .endpoint_id = {}, .cached_tokens = 0, .reason = reason};
  }
  static uint64_t bytes(const Request& q, const SlowEndpoint& e) {
    const size_t known = e.known(q.prefix.links);
    return known == 0 ? 0 : q.prefix.ends[known - 1];
  }
  static uint32_t followers(const Request& q, const SlowEndpoint& e) {
    const size_t known = e.known(q.prefix.links);
    const auto found = known == 0 ? e.followers.end() : e.followers.find(q.prefix.links[known - 1]);
    return found == e.followers.end() ? 0 : found->second;
  }
  bool useless(const Request& q, const SlowEndpoint& e) const {
    if (bytes(q, e) >= Pace::kOverheadTokens * kBytesPerToken)
      return false;  // saves more than a request costs
    return followers(q, e) > 0 || (e.known(q.prefix.links) == q.prefix.links.size() && in_flight(e) > 0);
  }
  uint64_t cached(const Request& q, const SlowEndpoint& e) const {
    if (useless(q, e)) return 0;
    return std::min(q.prompt_tokens, bytes(q, e) / kBytesPerToken);
  }
  uint64_t output(const Request& q) const {
    const uint64_t typical = pace.typical_output_tokens();
    return q.max_output_tokens == 0 ? typical : std::min(typical, q.max_output_tokens);
  }

  Pick dispatch(const Request& q, SlowEndpoint& e, Nanos now, Ticket ticket) {
    const uint64_t hit = cached(q, e);
    const Chain& chain = q.prefix.links;
    const size_t known = e.known(chain);
    requests[ticket] = {e.data.id, q.prompt_tokens - hit, uncached(e), output(q), now, -1, chain, known};
    for (size_t i = known; i < chain.size(); ++i) {
      if (i > 0) ++e.followers[chain[i - 1]];
      e.followers[chain[i]] = 0;
    }
    e.chains.push_back(chain);
    e.last = ticket;
    return {.kind = Pick::Kind::Dispatch, .ticket = ticket, .endpoint_id = e.data.id, .cached_tokens = hit};
  }

  SlowEndpoint* by_prefix(const Request& q, const std::vector<SlowEndpoint*>& ready, Nanos now,
                          uint64_t version, Pick& held) {
    SlowEndpoint *wanted = nullptr, *other = nullptr;
    auto likes = [&](SlowEndpoint* e) {
      return std::tuple(q.prompt_tokens - cached(q, *e), full(*e), load(*e), in_flight(*e), e->last);
    };
    auto costs = [&](SlowEndpoint* e) {
      return std::tuple(load(*e) + q.prompt_tokens - cached(q, *e), in_flight(*e), e->last);
    };
    for (SlowEndpoint* e : ready) {
      if (cached(q, *e) > 0 && (wanted == nullptr || likes(e) < likes(wanted))) wanted = e;
    }
    for (SlowEndpoint* e : ready) {
      if (e != wanted && !full(*e) && (other == nullptr || costs(e) < costs(other))) other = e;
    }
    held = hold(Reason::AllReplicasBusy);
    if (wanted == nullptr) return other;
    if (other == nullptr) return full(*wanted) ? nullptr : wanted;

    const uint64_t hit = cached(q, *wanted), gain = hit - cached(q, *other);
    const uint64_t saturation = config_.saturation_tokens;
    const bool shared = followers(q, *wanted) >= 2;
    const uint64_t allowance = shared ? 0 : saturation * gain / q.prompt_tokens;
    const uint64_t elsewhere = load(*other) + q.prompt_tokens - cached(q, *other);
    if (!full(*wanted))
      return load(*wanted) + q.prompt_tokens - hit <= elsewhere + allowance ? wanted : other;

    Nanos soonest = INT64_MAX;
    for (const auto& [t, r] : requests) {
      if (r.endpoint != wanted->data.id) continue;
      const Nanos decode = static_cast<Nanos>(r.output) * pace.decode_ns_per_token();
      const Nanos prefill = static_cast<Nanos>(r.uncached + r.ahead) * pace.prefill_ns_per_token();
      const Nanos end = r.first_byte >= 0 ? r.first_byte + decode : r.at + prefill + decode;
      soonest = std::min(soonest, std::abs(end - now));
    }
    if (wanted->held_version != version) wanted->held.clear();
    wanted->held_version = version;
    uint64_t ahead = 0;
    bool known = false;
    for (const auto& [chain, prompt, work] : wanted->held) {
      known |= chain == q.prefix.links && prompt == q.prompt_tokens;
      if (!known) ahead += work;
    }
    const uint64_t wait =
        static_cast<uint64_t>(soonest / pace.prefill_ns_per_token()) + ahead / wanted->data.max_in_flight;
    if ((shared && gain <= saturation) || wait + q.prompt_tokens - hit > elsewhere + gain + allowance)
      return other;

    held.reason = Reason::PreferredBusy;
    held.endpoint_id = wanted->data.id;
    held.cached_tokens = hit;
    held.retry_at =
        now + std::clamp(static_cast<Nanos>(wait) * pace.prefill_ns_per_token(), 10 * kMillisecond, kSecond);
    const uint64_t answer = output(q) * static_cast<uint64_t>(pace.decode_ns_per_token()) /
                            static_cast<uint64_t>(pace.prefill_ns_per_token());
    if (!known) wanted->held.emplace_back(q.prefix.links, q.prompt_tokens, q.prompt_tokens - hit + answer);
    return nullptr;
  }

  RouterConfig config_;
};

Endpoint random_endpoint(Random& random) {
  Endpoint e;
  e.id = "chat-" + std::to_string(random.below(5));
  e.deployment = "chat";
  e.models = {"chat"};
  e.state = random.below(6) == 0 ? static_cast<EndpointState>(2 + random.below(2)) : EndpointState::Ready;
  e.max_in_flight = static_cast<uint32_t>(random.below(4));
  return e;
}

Request random_request(Random& random) {
  Request r;
  r.model = "chat";
  uint64_t past = 1;
  for (uint64_t i = random.below(14); i > 0; --i)
    r.prefix.links.push_back((past = past * 3 + (random.below(4) == 0)) << 3);
  // Links of 4 to 64 bytes, so that equal heads are equally long.
  uint64_t end = 0;
  for (uint64_t link : r.prefix.links) r.prefix.ends.push_back(end += 4 + (link >> 3) % 61);
  r.prompt_tokens = end / kBytesPerToken + random.below(40);
  r.max_output_tokens = random.below(2) * random.below(64);
  if (random.below(8) == 0) r.exclude = random.below(2) == 0 ? "chat-1" : "chat-2";
  return r;
}

class RouterProperties : public testing::TestWithParam<Policy> {};

TEST_P(RouterProperties, AgreesWithASlowRouter) {
  uint64_t held_for_cache = 0, dispatched = 0;
  for (uint64_t seed = 1; seed <= 80 && !HasFailure(); ++seed) {
    Random random(seed);
    RouterConfig config;
    config.policy = GetParam();
    config.saturation_tokens = 1 + random.below(400);
    Router router(config);
    SlowRouter slow(config);
    Nanos now = kSecond;
    Ticket next_ticket = 1;
    for (int step = 0; step < 300; ++step) {
      SCOPED_TRACE("seed " + std::to_string(seed) + " step " + std::to_string(step));
      now += static_cast<Nanos>(random.below(400)) * kMillisecond;
      const uint64_t action = random.below(100);
      auto any = [&] {
        return std::next(slow.requests.begin(), static_cast<long>(random.below(slow.requests.size())));
      };
      if (action < 6) {
        const Endpoint e = random_endpoint(random);
        router.upsert(e);
        SlowEndpoint* known = slow.find(e.id);
        if (known == nullptr)
          slow.endpoints.emplace_back().data = e;
        else
          known->data = e;
      } else if (action < 7 && !slow.endpoints.empty()) {
        const std::string id = slow.endpoints[random.below(slow.endpoints.size())].data.id;
        router.remove(id);
        for (auto& [t, r] : slow.requests) r.endpoint = r.endpoint == id ? "" : r.endpoint;
        std::erase_if(slow.endpoints, [&](const SlowEndpoint& e) { return e.data.id == id; });
        if (slow.endpoints.empty()) slow.pace = {};
      } else if (action < 55) {
        const Request q = random_request(random);
        const uint64_t version = router.changed();
        const Pick got = router.pick(q, now);
        ASSERT_EQ(got, slow.pick(q, now, version, next_ticket));
        held_for_cache += got.reason == Reason::PreferredBusy;
        if (got.kind != Pick::Kind::Dispatch) continue;
        ++next_ticket;
        ++dispatched;
      } else if (action < 75 && !slow.requests.empty()) {
        const auto request = any();
        router.first_byte(request->first, now);
        SlowRequest& r = request->second;
        if (r.first_byte < 0 && !r.endpoint.empty())
          slow.pace.saw_first_byte(now - r.at, r.ahead + r.uncached);
        if (r.first_byte < 0) r.first_byte = now;
      } else if (!slow.requests.empty()) {
        const auto request = any();
        const Ticket ticket = request->first;
        const SlowRequest r = request->second;
        const bool ok = random.below(5) != 0;
        const uint64_t output = random.below(100);
        router.finished(ticket, ok, 0, output, now);
        slow.finish(ticket, ok);
        if (ok && output > 0 && !r.endpoint.empty())
          slow.pace.saw_output(r.first_byte < 0 ? 0 : now - r.first_byte, output);
      }
      for (const auto& view : router.endpoints()) {
        const SlowEndpoint& e = *slow.find(view.endpoint.id);
        ASSERT_EQ(view.in_flight, slow.in_flight(e));
        ASSERT_EQ(view.uncached_tokens + view.output_tokens, slow.load(e));
      }
    }
    while (!slow.requests.empty()) {
      const Ticket ticket = slow.requests.begin()->first;
      router.finished(ticket, true, 0, 1, now);
      slow.requests.erase(ticket);
    }
    for (const auto& view : router.endpoints()) {
      EXPECT_EQ(view.in_flight + view.uncached_tokens + view.output_tokens, 0u)
          << "an account does not return to zero";
    }
  }
  EXPECT_GT(dispatched, 3000u);
  if (GetParam() == Policy::PrefixAffinity) {
    EXPECT_GT(held_for_cache, 100u);
  }
}

INSTANTIATE_TEST_SUITE_P(All, RouterProperties,
                         testing::Values(Policy::PrefixAffinity, Policy::RoundRobin, Policy::LeastRequests));

// With changes of max_in_flight left out: an endpoint never has more than its limit, the index never more
// than its cap.
TEST(RouterLimits, AreNeverPassed) {
  RouterConfig config;
  config.max_index_entries = 50;
  Router router(config);
  Random random(7);
  for (const char* id : {"chat-1", "chat-2", "chat-3"}) {
    Endpoint e = random_endpoint(random);
    e.id = id;
    e.state = EndpointState::Ready;
    e.max_in_flight = 2;
    router.upsert(e);
  }
  std::vector<Ticket> open;
  for (Nanos now = 1; now < 20'000; ++now) {
    const Pick pick = router.pick(random_request(random), now * kMillisecond);
    if (pick.kind == Pick::Kind::Dispatch) open.push_back(pick.ticket);
    for (const auto& view : router.endpoints()) ASSERT_LE(view.in_flight, 2u);
    ASSERT_LE(router.index_entries(), 50u);
    if (!open.empty() && random.below(2) == 0) {
      std::swap(open[random.below(open.size())], open.back());
      router.finished(open.back(), random.below(4) != 0, 0, 9, now * kMillisecond);
      open.pop_back();
    }
  }
}

}  // namespace
}  // namespace tweendeck::routing
