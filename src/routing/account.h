// What the router knows of one endpoint's load: its own requests exactly, everybody else's as reported.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "base/clock.h"
#include "base/types.h"
#include "routing/pace.h"
#include "routing/prefix_index.h"
#include "routing/router.h"

namespace tweendeck::routing {

inline constexpr EndpointSlot kNoSlot = UINT32_MAX;
// Token counts of one request are cut here, so that sums and products of times stay far from overflow.
inline constexpr uint64_t kMaxRequestTokens = 1ull << 30;

// A request between pick() and finished().
struct InFlight {
  EndpointSlot slot = kNoSlot;  // kNoSlot once its endpoint is gone
  uint64_t uncached_tokens = 0;
  uint64_t ahead_tokens = 0;   // to be prefilled before it, as of its dispatch
  uint64_t output_tokens = 0;  // expected
  Nanos dispatched_at = 0;
  Nanos first_byte_at = -1;      // -1 = not yet
  std::vector<uint64_t> prefix;  // until the first byte, to take back what it added to the index
  size_t known_links = 0;        // how many of them the endpoint held before
};

struct Account {
  Endpoint endpoint;
  Pace* pace = nullptr;          // of its deployment
  std::vector<Ticket> tickets;   // in flight
  uint64_t uncached_tokens = 0;  // sum over requests before their first byte
  uint64_t output_tokens = 0;    // sum over requests after it
  uint64_t dispatched_total = 0;
  uint64_t prompt_tokens_total = 0;  // as usage told
  uint64_t output_tokens_total = 0;
  uint64_t last_dispatch = 0;  // sequence number; the least recent one wins a tie

  EndpointLoad reported;
  Nanos reported_at = 0;
  bool has_report = false;
  uint64_t foreign_sample = 0;  // requests of others in the last report
  uint64_t foreign = 0;  // in both of the last two reports: one report may still hold what we just finished

  // Requests that were told to wait for this endpoint since the last change, in the order of their first
  // offer. A request that is offered again meanwhile is known by its prompt, so it does not wait for itself.
  struct Held {
    uint64_t prompt;
    uint64_t tokens;  // of work, prompt and answer
  };
  std::vector<Held> held;
  uint64_t held_version = 0;

  uint32_t in_flight() const { return static_cast<uint32_t>(tickets.size()); }
  bool full() const { return endpoint.max_in_flight != 0 && tickets.size() >= endpoint.max_in_flight; }
  uint64_t foreign_now(Nanos now) const {
    return has_report && now - reported_at <= kLoadFreshness ? foreign : 0;
  }
  uint64_t requests(Nanos now) const { return in_flight() + foreign_now(now); }
  // Tokens that a request sent now would share the endpoint with.
  uint64_t load(Nanos now) const {
    return uncached_tokens + output_tokens + foreign_now(now) * pace->typical_output_tokens();
  }
};

inline uint64_t expected_output(const Request& request, const Pace& pace) {
  const uint64_t typical = pace.typical_output_tokens();
  return request.max_output_tokens == 0 ? typical : std::min(request.max_output_tokens, typical);
}

// At most so many waiting requests are counted per endpoint; later ones see these ahead of them.
inline constexpr size_t kMaxHeldCounted = 256;

inline uint64_t prompt_id(const Request& request) {
  return request.prefix.links.empty() ? request.prompt_tokens
                                      : request.prefix.links.back() ^ request.prompt_tokens;
}

// How long until this request ends. Past its expected end it is expected to take as long again as it is late,
// so that nobody waits for ever on a wrong estimate.
inline Nanos remaining_time(const InFlight& request, const Pace& pace, Nanos now) {
  const Nanos decode = static_cast<Nanos>(request.output_tokens) * pace.decode_ns_per_token();
  const Nanos prefill =
      static_cast<Nanos>(request.ahead_tokens + request.uncached_tokens) * pace.prefill_ns_per_token();
  const Nanos end =
      request.first_byte_at >= 0 ? request.first_byte_at + decode : request.dispatched_at + prefill + decode;
  return end > now ? end - now : now - end;
}

}  // namespace tweendeck::routing
