#include "routing/router.h"

#include <algorithm>
#include <utility>

#include "routing/router_impl.h"

namespace tweendeck::routing {

// ---------------------------------------------------------------- endpoints

Account* Router::Impl::find(std::string_view endpoint_id) {
  const auto found = slot_of.find(endpoint_id);
  return found == slot_of.end() ? nullptr : &*accounts[found->second];
}

EndpointSlot Router::Impl::add(const Endpoint& endpoint) {
  auto free = std::find(accounts.begin(), accounts.end(), std::nullopt);
  const auto slot = static_cast<EndpointSlot>(free - accounts.begin());
  if (free == accounts.end()) accounts.emplace_back();
  accounts[slot].emplace();
  order.push_back(slot);
  slot_of[endpoint.id] = slot;
  return slot;
}

// Tickets outlive their endpoint; they only lose their account.
void Router::Impl::forget_account(EndpointSlot slot) {
  for (Ticket ticket : accounts[slot]->tickets) tickets[ticket].slot = kNoSlot;
  index.forget_endpoint(slot);
  accounts[slot].reset();
  std::erase(order, slot);
}

void Router::Impl::rebuild_models() {
  by_model.clear();
  for (EndpointSlot slot : order) {
    for (const std::string& model : accounts[slot]->endpoint.models) {
      std::vector<EndpointSlot>& slots = by_model[model];
      if (slots.empty() || slots.back() != slot) slots.push_back(slot);
    }
  }
}

void Router::Impl::release_unused_paces() {
  std::erase_if(paces, [this](const auto& entry) {
    return std::none_of(order.begin(), order.end(),
                        [&](EndpointSlot slot) { return accounts[slot]->pace == &entry.second; });
  });
}

void Router::upsert(const Endpoint& endpoint) {
  const auto found = impl_->slot_of.find(endpoint.id);
  const bool is_new = found == impl_->slot_of.end();
  const EndpointSlot slot = is_new ? impl_->add(endpoint) : found->second;
  Account& account = *impl_->accounts[slot];
  const bool other_process = endpoint.state == EndpointState::Starting ||
                             endpoint.address != account.endpoint.address ||
                             endpoint.port != account.endpoint.port;
  if (!is_new && other_process) impl_->index.forget_endpoint(slot);
  account.endpoint = endpoint;
  account.pace = &impl_->paces[endpoint.deployment];
  impl_->release_unused_paces();
  impl_->rebuild_models();
  ++impl_->version;
}

void Router::remove(std::string_view endpoint_id) {
  const auto found = impl_->slot_of.find(endpoint_id);
  if (found == impl_->slot_of.end()) return;
  impl_->forget_account(found->second);
  impl_->slot_of.erase(found);
  impl_->release_unused_paces();
  impl_->rebuild_models();
  ++impl_->version;
}

void Router::set_deployed_models(std::vector<std::string> models) {
  impl_->deployed_models = {std::make_move_iterator(models.begin()), std::make_move_iterator(models.end())};
}

void Router::set_load(std::string_view endpoint_id, const EndpointLoad& load, Nanos now) {
  Account* account = impl_->find(endpoint_id);
  if (account == nullptr) return;
  const bool fresh = account->has_report && now - account->reported_at <= kLoadFreshness;
  const int64_t there = std::max<int64_t>(load.running, 0) + std::max<int64_t>(load.waiting, 0);
  const auto sample = static_cast<uint64_t>(std::max<int64_t>(there - account->in_flight(), 0));
  account->foreign = fresh ? std::min(sample, account->foreign_sample) : 0;
  account->foreign_sample = sample;
  account->reported = load;
  account->reported_at = now;
  account->has_report = true;
}

void Router::clear_cache(std::string_view endpoint_id) {
  const auto found = impl_->slot_of.find(endpoint_id);
  if (found == impl_->slot_of.end()) return;
  impl_->index.forget_endpoint(found->second);
  ++impl_->version;
}

// ---------------------------------------------------------------- requests

Pick Router::Impl::dispatch(const Request& request, EndpointSlot slot, Nanos now) {
  Account& account = *accounts[slot];
  const auto& candidate = *std::find_if(candidates.begin(), candidates.end(),
                                        [slot](const Candidate& c) { return c.slot == slot; });
  const Ticket ticket = ++last_ticket;
  InFlight& in_flight = tickets[ticket];
  in_flight.slot = slot;
  in_flight.uncached_tokens = candidate.uncached;
  in_flight.ahead_tokens = std::min(account.uncached_tokens, kMaxRequestTokens);
  in_flight.output_tokens = expected_output(request, *account.pace);
  in_flight.dispatched_at = now;
  in_flight.prefix = request.prefix.links;
  in_flight.known_links = held[slot].links;
  index.record(slot, request.prefix.links, ticket);
  account.tickets.push_back(ticket);
  account.uncached_tokens += candidate.uncached;
  account.last_dispatch = ticket;
  ++account.dispatched_total;

  Pick pick;
  pick.kind = Pick::Kind::Dispatch;
  pick.ticket = ticket;
  pick.endpoint_id = account.endpoint.id;
  pick.cached_tokens = candidate.cached;
  return pick;
}

void Router::first_byte(Ticket ticket, Nanos now) {
  const auto found = impl_->tickets.find(ticket);
  if (found == impl_->tickets.end() || found->second.first_byte_at >= 0) return;
  InFlight& request = found->second;
  request.first_byte_at = now;
  request.prefix = {};
  if (request.slot == kNoSlot) return;
  Account& account = *impl_->accounts[request.slot];
  account.uncached_tokens -= request.uncached_tokens;
  account.output_tokens += request.output_tokens;
  account.pace->saw_first_byte(now - request.dispatched_at, request.ahead_tokens + request.uncached_tokens);
}

void Router::finished(Ticket ticket, bool ok, uint64_t prompt_tokens, uint64_t output_tokens, Nanos now) {
  const auto found = impl_->tickets.find(ticket);
  if (found == impl_->tickets.end()) return;
  const InFlight request = std::move(found->second);
  impl_->tickets.erase(found);
  if (request.slot == kNoSlot) return;
  Account& account = *impl_->accounts[request.slot];
  std::erase(account.tickets, ticket);
  const bool answered = request.first_byte_at >= 0;
  (answered ? account.output_tokens : account.uncached_tokens) -=
      answered ? request.output_tokens : request.uncached_tokens;
  if (!ok && !answered) impl_->index.take_back(request.slot, request.prefix, request.known_links, ticket);
  account.prompt_tokens_total += prompt_tokens;
  account.output_tokens_total += output_tokens;
  if (ok && output_tokens > 0) {
    account.pace->saw_output(answered ? now - request.first_byte_at : 0, output_tokens);
  }
  ++impl_->version;
}

// ---------------------------------------------------------------- the rest of the interface

Router::Router(RouterConfig config) : impl_(std::make_unique<Impl>(config)) {}
Router::~Router() = default;
Router::Router(Router&&) noexcept = default;
Router& Router::operator=(Router&&) noexcept = default;

Pick Router::pick(const Request& request, Nanos now) {
  return impl_->pick(request, now);
}
uint64_t Router::changed() const {
  return impl_->version;
}
size_t Router::index_entries() const {
  return impl_->index.size();
}
size_t Router::in_flight() const {
  return impl_->tickets.size();
}

std::vector<Router::EndpointView> Router::endpoints() const {
  std::vector<EndpointView> views;
  for (EndpointSlot slot : impl_->order) {
    const Account& account = *impl_->accounts[slot];
    views.push_back({.endpoint = account.endpoint,
                     .in_flight = account.in_flight(),
                     .uncached_tokens = account.uncached_tokens,
                     .output_tokens = account.output_tokens,
                     .foreign_requests = account.foreign,
                     .dispatched_total = account.dispatched_total,
                     .prompt_tokens_total = account.prompt_tokens_total,
                     .output_tokens_total = account.output_tokens_total,
                     .index_entries = impl_->index.size_of(slot),
                     .reported = account.reported});
  }
  return views;
}

std::vector<std::string> Router::models() const {
  std::vector<std::string> names;
  for (const auto& [model, slots] : impl_->by_model) names.push_back(model);
  return names;
}

}  // namespace tweendeck::routing
