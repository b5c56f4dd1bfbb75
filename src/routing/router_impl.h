// Inside of Router: endpoints and requests in flight (router.cc), and the choice among them (choose.cc).
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "routing/account.h"
#include "routing/prefix_index.h"
#include "routing/router.h"

namespace tweendeck::routing {

struct Router::Impl {
  explicit Impl(RouterConfig c) : config(c), index(c.max_index_entries) {}

  // --- endpoints and requests (router.cc)
  Account* find(std::string_view endpoint_id);
  EndpointSlot add(const Endpoint& endpoint);
  void forget_account(EndpointSlot slot);
  void rebuild_models();
  void release_unused_paces();
  Pick dispatch(const Request& request, EndpointSlot slot, Nanos now);

  // --- the choice (choose.cc)
  struct Candidate {
    EndpointSlot slot;
    uint64_t cached;  // tokens of this request
    uint64_t uncached;
    uint64_t load;
    bool shared;  // what is cached is the common first part of several conversations, not this one's past
  };
  Pick pick(const Request& request, Nanos now);
  bool gather(const Request& request, Nanos now);  // fills `candidates`; true = some endpoint is starting
  Pick choose_by_prefix(const Request& request, Nanos now);
  std::optional<EndpointSlot> choose_in_turn() const;
  std::optional<EndpointSlot> choose_least_requests(Nanos now) const;
  const Candidate* preferred() const;  // holds the longest prefix; nullptr = nobody holds any
  const Candidate* cheapest_free(const Candidate* but) const;  // with a free place; nullptr = all are full
  uint64_t saturation_tokens(const Pace& pace) const;
  uint64_t wait_tokens(const Account& account, const Request& request, Nanos now) const;
  Pick hold_for(const Candidate& wanted, const Request& request, uint64_t wait, Nanos now);

  RouterConfig config;
  PrefixIndex index;
  std::vector<std::optional<Account>> accounts;  // by slot
  std::vector<EndpointSlot> order;               // slots in the order their endpoints were added
  std::map<std::string, EndpointSlot, std::less<>> slot_of;
  std::map<std::string, std::vector<EndpointSlot>, std::less<>> by_model;
  std::set<std::string, std::less<>> deployed_models;
  std::map<std::string, Pace> paces;  // by deployment
  std::unordered_map<Ticket, InFlight> tickets;
  Ticket last_ticket = 0;
  uint64_t version = 1;

  // Scratch of one pick().
  std::vector<Candidate> candidates;
  std::vector<PrefixIndex::Match> matches;
  std::vector<PrefixIndex::Match> held;  // by slot; links == 0: nothing
};

}  // namespace tweendeck::routing
