#include <algorithm>
#include <tuple>

#include "routing/router_impl.h"

namespace tweendeck::routing {
namespace {

// A head that was continued in this many ways is shared by several conversations.
constexpr uint32_t kSharedFollowers = 2;

// A head shorter than this, in tokens, saves less than a request costs anyway. It only tells a conversation
// that has just begun from others, and only while nobody went on from it: every chat begins with the same
// bytes, and many with the same short system prompt.
constexpr uint64_t kShortHead = Pace::kOverheadTokens;

// A held request is offered again after its estimated wait, but not sooner or later than this.
constexpr Nanos kMinRetry = 10 * kMillisecond;
constexpr Nanos kMaxRetry = kSecond;

Pick hold(Reason reason) {
  Pick pick;
  pick.kind = Pick::Kind::Hold;
  pick.reason = reason;
  return pick;
}

Pick refuse(Reason reason) {
  Pick pick;
  pick.reason = reason;
  return pick;
}

uint64_t in_prefill_tokens(Nanos time, const Pace& pace) {
  return static_cast<uint64_t>(std::max<Nanos>(time, 0) / pace.prefill_ns_per_token());
}

}  // namespace

// Endpoints of the model that may take the request, with what the request would cost there.
bool Router::Impl::gather(const Request& request, Nanos now) {
  candidates.clear();
  for (const PrefixIndex::Match& match : matches) held[match.endpoint] = {};
  index.match(request.prefix.links, matches);
  held.resize(accounts.size());
  for (const PrefixIndex::Match& match : matches) held[match.endpoint] = match;

  const uint64_t prompt = std::min(request.prompt_tokens, kMaxRequestTokens);
  bool starting = false;
  for (EndpointSlot slot : by_model.find(request.model)->second) {
    const Account& account = *accounts[slot];
    if (account.endpoint.id == request.exclude) continue;
    if (request.only != nullptr && !std::ranges::binary_search(*request.only, account.endpoint.id)) continue;
    starting |= account.endpoint.state == EndpointState::Starting;
    if (account.endpoint.state != EndpointState::Ready) continue;
    const PrefixIndex::Match& match = held[slot];
    const uint64_t tokens = request.prefix.tokens(match.links);
    // All of a short prompt: it comes again, which may be anybody's request.
    const bool repeated = match.links == request.prefix.links.size();
    const bool useless =
        tokens < kShortHead && (match.followers > 0 || (repeated && account.requests(now) > 0));
    const uint64_t cached = useless ? 0 : std::min(prompt, tokens);
    candidates.push_back(
        {slot, cached, prompt - cached, account.load(now), match.followers >= kSharedFollowers});
  }
  return starting;
}

Pick Router::Impl::pick(const Request& request, Nanos now) {
  if (!by_model.contains(request.model)) {
    return refuse(deployed_models.contains(request.model) ? Reason::NoEndpoint : Reason::UnknownModel);
  }
  const bool starting = gather(request, now);
  if (candidates.empty()) return starting ? hold(Reason::Starting) : refuse(Reason::NoEndpoint);
  if (config.policy == Policy::PrefixAffinity) return choose_by_prefix(request, now);
  const auto slot = config.policy == Policy::RoundRobin ? choose_in_turn() : choose_least_requests(now);
  return slot ? dispatch(request, *slot, now) : hold(Reason::AllReplicasBusy);
}

// The longest-waiting endpoint with a free place: strict rotation as long as all have one.
std::optional<EndpointSlot> Router::Impl::choose_in_turn() const {
  std::optional<EndpointSlot> best;
  for (const Candidate& c : candidates) {
    if (accounts[c.slot]->full()) continue;
    if (!best || accounts[c.slot]->last_dispatch < accounts[*best]->last_dispatch) best = c.slot;
  }
  return best;
}

std::optional<EndpointSlot> Router::Impl::choose_least_requests(Nanos now) const {
  auto rank = [&](EndpointSlot slot) {
    return std::make_tuple(accounts[slot]->requests(now), accounts[slot]->last_dispatch);
  };
  std::optional<EndpointSlot> best;
  for (const Candidate& c : candidates) {
    if (accounts[c.slot]->full()) continue;
    if (!best || rank(c.slot) < rank(*best)) best = c.slot;
  }
  return best;
}

const Router::Impl::Candidate* Router::Impl::preferred() const {
  auto rank = [this](const Candidate& c) {
    const Account& account = *accounts[c.slot];
    return std::make_tuple(c.uncached, account.full(), c.load, account.in_flight(), account.last_dispatch);
  };
  const Candidate* best = nullptr;
  for (const Candidate& c : candidates) {
    if (c.cached > 0 && (best == nullptr || rank(c) < rank(*best))) best = &c;
  }
  return best;
}

const Router::Impl::Candidate* Router::Impl::cheapest_free(const Candidate* but) const {
  auto rank = [this](const Candidate& c) {
    const Account& account = *accounts[c.slot];
    return std::make_tuple(c.load + c.uncached, account.in_flight(), account.last_dispatch);
  };
  const Candidate* best = nullptr;
  for (const Candidate& c : candidates) {
    if (&c == but || accounts[c.slot]->full()) continue;
    if (best == nullptr || rank(c) < rank(*best)) best = &c;
  }
  return best;
}

uint64_t Router::Impl::saturation_tokens(const Pace& pace) const {
  const uint64_t tokens =
      config.saturation_tokens != 0 ? config.saturation_tokens : in_prefill_tokens(kSaturationTime, pace);
  return std::min(tokens, kMaxRequestTokens);
}

// Tokens that could be prefilled until a full endpoint has a place for one more, those held for it served
// first.
uint64_t Router::Impl::wait_tokens(const Account& account, const Request& request, Nanos now) const {
  Nanos soonest = INT64_MAX;
  for (Ticket ticket : account.tickets) {
    soonest = std::min(soonest, remaining_time(tickets.at(ticket), *account.pace, now));
  }
  uint64_t ahead = 0;
  if (account.held_version == version) {
    for (const Account::Held& held_request : account.held) {
      if (held_request.prompt == prompt_id(request)) break;
      ahead += held_request.tokens;
    }
    ahead /= account.endpoint.max_in_flight;
  }
  return in_prefill_tokens(soonest, *account.pace) + ahead;
}

Pick Router::Impl::hold_for(const Candidate& wanted, const Request& request, uint64_t wait, Nanos now) {
  Account& account = *accounts[wanted.slot];
  const Pace& pace = *account.pace;
  const auto estimate = static_cast<Nanos>(std::min(wait, kMaxRequestTokens)) * pace.prefill_ns_per_token();
  Pick pick = hold(Reason::PreferredBusy);
  pick.endpoint_id = account.endpoint.id;
  pick.cached_tokens = wanted.cached;
  pick.retry_at = now + std::clamp(estimate, kMinRetry, kMaxRetry);

  if (account.held_version != version) account.held.clear();
  account.held_version = version;
  const uint64_t prompt = prompt_id(request);
  const bool known = std::ranges::find(account.held, prompt, &Account::Held::prompt) != account.held.end();
  if (known || account.held.size() == kMaxHeldCounted) return pick;
  const Nanos decode = static_cast<Nanos>(expected_output(request, pace)) * pace.decode_ns_per_token();
  account.held.push_back({prompt, wanted.uncached + in_prefill_tokens(decode, pace)});
  return pick;
}

// Sticky until saturated. `gain` is what only the preferred endpoint holds, in tokens of this request.
// - A conversation's own past lives in one place: computing it again elsewhere costs this request, whoever
//   comes to that endpoint next, and the conversation's next turns. So the endpoint is kept, or waited for
//   where it is full, until it costs more than the best other one by `allowance`, which is in proportion to
//   the gain.
// - A first part that several conversations share is worth having on every replica: it only counts as what it
//   costs now, and is waited for only where it is so long that computing it alone would saturate a replica.
Pick Router::Impl::choose_by_prefix(const Request& request, Nanos now) {
  const Candidate* wanted = preferred();
  const Candidate* other = cheapest_free(wanted);
  if (wanted == nullptr || other == nullptr) {
    const Candidate* only = wanted != nullptr && !accounts[wanted->slot]->full() ? wanted : other;
    return only != nullptr ? dispatch(request, only->slot, now) : hold(Reason::AllReplicasBusy);
  }
  const Account& account = *accounts[wanted->slot];
  const uint64_t saturation = saturation_tokens(*account.pace);
  const uint64_t gain = wanted->cached - other->cached;
  const uint64_t allowance = wanted->shared ? 0 : saturation * gain / (wanted->cached + wanted->uncached);
  const uint64_t elsewhere = other->load + other->uncached;
  if (!account.full()) {
    const bool keep = wanted->load + wanted->uncached <= elsewhere + allowance;
    return dispatch(request, keep ? wanted->slot : other->slot, now);
  }
  const uint64_t wait = wait_tokens(account, request, now);
  const bool worth_waiting = !wanted->shared || gain > saturation;
  if (worth_waiting && wait + wanted->uncached <= elsewhere + gain + allowance) {
    return hold_for(*wanted, request, wait, now);
  }
  return dispatch(request, other->slot, now);
}

}  // namespace tweendeck::routing
