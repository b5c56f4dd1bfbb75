#include "routing/picker/pool.h"

#include <fmt/format.h>

#include <algorithm>
#include <tuple>
#include <utility>

#include "base/text.h"

namespace tweendeck::routing::picker {
namespace {

constexpr char kEveryModel[] = "*";  // the one name under which the Router knows the pool
constexpr size_t kMaxOffers = 64;    // of one round: bounds the work that one freed place causes

}  // namespace

Pool::Pool(const PickerConfig& config, RouterConfig router, const Clock& clock, PickerMetrics& metrics)
    : config_(config),
      router_config_(router),
      clock_(clock),
      metrics_(metrics),
      router_(router),
      random_(static_cast<uint64_t>(clock.wall_now())) {
  router_.set_deployed_models({kEveryModel});
}

// ---------------------------------------------------------------- endpoints

void Pool::set_endpoints(const std::vector<Endpoint>& endpoints) {
  endpoints_ = endpoints;
  std::map<std::string, Entry, std::less<>> before = std::move(entries_);
  entries_.clear();
  for (const Endpoint& endpoint : endpoints) {
    Entry entry;
    if (auto node = before.extract(endpoint.id); !node.empty()) entry = std::move(node.mapped());
    const bool moved = entry.endpoint.address != endpoint.address || entry.endpoint.port != endpoint.port;
    if (moved) entry.paused_until = 0;
    entry.endpoint = endpoint;
    entry.endpoint.models = {kEveryModel};
    entry.endpoint.deployment = config_.pool_name;
    if (entry.paused_until != 0) entry.endpoint.state = EndpointState::Draining;
    entry.address = fmt::format("{}:{}", endpoint.address, endpoint.port);
    router_.upsert(entry.endpoint);
    entries_.insert_or_assign(endpoint.id, std::move(entry));
  }
  for (const auto& [id, entry] : before) router_.remove(id);
  metrics_.ready(ready());
  offer_waiting();
}

size_t Pool::ready() const {
  return static_cast<size_t>(std::ranges::count_if(
      endpoints_, [](const Endpoint& endpoint) { return endpoint.state == EndpointState::Ready; }));
}

std::vector<std::string> Pool::resolve(const std::vector<std::string_view>& hints) const {
  std::vector<std::string> ids;
  for (const auto& [id, entry] : entries_) {
    const bool named = std::ranges::any_of(hints, [&entry](std::string_view hint) {
      return hint == entry.address || hint == entry.endpoint.address;
    });
    if (named) ids.push_back(id);
  }
  return ids;  // sorted, as the map is
}

Pool::Entry* Pool::find(std::string_view id) {
  const auto found = entries_.find(id);
  return found == entries_.end() ? nullptr : &found->second;
}

void Pool::endpoint_failed(const Choice& choice) {
  Entry* entry = find(choice.endpoint_id);
  if (entry == nullptr || entry->endpoint.state != EndpointState::Ready) return;
  // A pool of one has nowhere else to go.
  if (ready() <= 1) return;
  entry->paused_until = now() + config_.failed_endpoint_pause;
  entry->endpoint.state = EndpointState::Draining;
  router_.upsert(entry->endpoint);
}

// ---------------------------------------------------------------- requests

Error Pool::no_endpoint(const Wanted& wanted, Reason reason) const {
  if (ending_) return {Reason::ShuttingDown, "the picker is stopping", "send it again"};
  if (wanted.limited) {
    return {reason,
            fmt::format("none of the {} that the proxy allows is ready",
                        counted(wanted.allowed.size(), "endpoint")),
            ""};
  }
  return {reason, fmt::format("none of the pool's {} is ready", counted(entries_.size(), "endpoint")),
          "start a model server, or correct the endpoints file"};
}

Result<Choice> Pool::any(const Wanted& wanted) {
  std::vector<const Entry*> ready;
  for (const auto& [id, entry] : entries_) {
    if (entry.endpoint.state != EndpointState::Ready) continue;
    if (wanted.limited && !std::ranges::binary_search(wanted.allowed, id)) continue;
    ready.push_back(&entry);
  }
  if (ending_ || ready.empty()) return fail(no_endpoint(wanted, Reason::NoEndpoint));
  const Entry& chosen = *ready[static_cast<size_t>(random_.below(ready.size()))];
  return Choice{0, chosen.endpoint.id, destination(chosen, wanted), 0};
}

void Pool::submit(Waiter& waiter, const Wanted& wanted) {
  if (ending_) return waiter.refused(no_endpoint(wanted, Reason::ShuttingDown));
  if (offer(waiter, wanted)) return;
  if (waiting_.size() >= config_.max_waiting) {
    return waiter.refused({Reason::QueueFull,
                           fmt::format("{} wait already", counted(waiting_.size(), "request")),
                           "try again, or add model servers"});
  }
  waiter.waiting_since = now();
  waiter.wanted_ = &wanted;
  waiter.place_ = waiting_.insert(waiting_.end(), &waiter);
}

void Pool::leave(Waiter& waiter) {
  if (std::exchange(waiter.wanted_, nullptr) != nullptr) waiting_.erase(waiter.place_);
}

Choice Pool::account(const Pick& pick, const Wanted& wanted) {
  Entry& entry = *find(pick.endpoint_id);
  ++entry.in_flight;
  return {pick.ticket, pick.endpoint_id, destination(entry, wanted), pick.cached_tokens};
}

bool Pool::offer(Waiter& waiter, const Wanted& wanted) {
  Request request;
  request.model = kEveryModel;
  request.prefix = wanted.prefix;
  request.prompt_tokens = wanted.prompt_tokens;
  request.max_output_tokens = wanted.max_output_tokens;
  if (wanted.limited) request.only = &wanted.allowed;
  const Nanos began = now();
  const Pick pick = router_.pick(request, began);
  metrics_.decided(now() - began);
  if (pick.kind == Pick::Kind::Hold) {
    waiter.held_ = pick.reason;
    return false;
  }
  leave(waiter);
  if (pick.kind == Pick::Kind::Refuse) {
    waiter.refused(no_endpoint(wanted, pick.reason));
  } else {
    waiter.chosen(account(pick, wanted));
  }
  return true;
}

// The chosen endpoint, then those with the fewest of our requests: on other machines first, since what took one
// endpoint down may have taken its neighbours.
std::string Pool::destination(const Entry& chosen, const Wanted& wanted) {
  if (config_.fallbacks == 0) return chosen.address;
  std::vector<std::pair<std::tuple<bool, uint32_t, std::string_view>, const Entry*>> others;
  for (const auto& [id, entry] : entries_) {
    if (&entry == &chosen || entry.endpoint.state != EndpointState::Ready) continue;
    if (wanted.limited && !std::ranges::binary_search(wanted.allowed, id)) continue;
    const bool neighbour = entry.endpoint.address == chosen.endpoint.address;
    others.push_back({{neighbour, entry.in_flight, id}, &entry});
  }
  const size_t count = std::min(config_.fallbacks, others.size());
  std::ranges::partial_sort(others, others.begin() + static_cast<std::ptrdiff_t>(count), {},
                            [](const auto& other) { return other.first; });
  std::string list = chosen.address;
  for (size_t i = 0; i < count; ++i) list.append(",").append(others[i].second->address);
  return list;
}

void Pool::served_by(Choice& choice, std::string_view address, const Wanted& wanted) {
  const auto served = std::ranges::find_if(
      entries_, [address](const auto& known) { return known.second.address == address; });
  if (served == entries_.end() || served->first == choice.endpoint_id || choice.ticket == 0) return;
  endpoint_failed(choice);
  settle(choice, false, 0, 0);
  const std::vector<std::string> only = {served->first};
  Request request;
  request.model = kEveryModel;
  request.prefix = wanted.prefix;
  request.prompt_tokens = wanted.prompt_tokens;
  request.max_output_tokens = wanted.max_output_tokens;
  request.only = &only;
  const Pick pick = router_.pick(request, now());
  if (pick.kind == Pick::Kind::Dispatch) choice = account(pick, wanted);
}

void Pool::settle(Choice& choice, bool ok, uint64_t prompt_tokens, uint64_t output_tokens) {
  const Ticket ticket = std::exchange(choice.ticket, 0);
  if (ticket == 0) return;
  if (Entry* entry = find(choice.endpoint_id); entry != nullptr && entry->in_flight > 0) --entry->in_flight;
  router_.finished(ticket, ok, prompt_tokens, output_tokens, now());
  offer_waiting();
}

void Pool::offer_waiting() {
  if (waiting_.empty() || offering_ || router_.changed() == offered_at_change_) return;
  offering_ = true;
  size_t offers = 0;
  for (auto next = waiting_.begin(); next != waiting_.end() && offers < kMaxOffers; ++offers) {
    Waiter* waiter = *next++;
    offer(*waiter, *waiter->wanted_);
  }
  offered_at_change_ = router_.changed();
  offering_ = false;
}

bool Pool::try_hold(size_t bytes) {
  if (held_bytes_ + bytes > config_.max_total_hold_bytes) return false;
  held_bytes_ += bytes;
  return true;
}

// ---------------------------------------------------------------- time

void Pool::sweep() {
  const Nanos at = now();
  for (auto& [id, entry] : entries_) {
    if (entry.paused_until == 0 || entry.paused_until > at) continue;
    entry.paused_until = 0;
    entry.endpoint.state = EndpointState::Ready;
    router_.upsert(entry.endpoint);
  }
  while (!waiting_.empty() && waiting_.front()->waiting_since + config_.queue_timeout <= at) {
    Waiter& waiter = *waiting_.front();
    const Reason why = waiter.held_;
    leave(waiter);
    waiter.refused({Reason::QueueTimeout,
                    fmt::format("no endpoint was free within {} s ({})", config_.queue_timeout / kSecond,
                                to_string(why)),
                    "try again, or add model servers"});
  }
  offered_at_change_ = router_.changed() - 1;  // some holds end by time alone
  offer_waiting();
}

void Pool::refuse_all() {
  ending_ = true;
  while (!waiting_.empty()) {
    Waiter& waiter = *waiting_.front();
    const Wanted& wanted = *waiter.wanted_;
    leave(waiter);
    waiter.refused(no_endpoint(wanted, Reason::ShuttingDown));
  }
}

std::string Pool::new_request_id() {
  const uint64_t high = random_.next(), low = random_.next();
  // UUID version 4, variant 1 (RFC 9562).
  return fmt::format("{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}", high >> 32, (high >> 16) & 0xffff, high & 0xfff,
                     0x8000 | (low >> 48 & 0x3fff), low & 0xffff'ffff'ffff);
}

}  // namespace tweendeck::routing::picker
