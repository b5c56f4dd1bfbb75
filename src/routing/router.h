// Routing: which endpoint a request gets, when, or why not.
//
// Pure: no clock, no sockets, no threads; the caller passes `now`. Not safe for concurrent use: the gateway
// owns one Router on its event loop. Memory is bounded by RouterConfig and the requests in flight.
//
// A request's life: pick() -> Dispatch | Hold | Refuse. A dispatched request must be ended by exactly one
// finished() with the ticket it got; first_byte() in between is optional. Held requests are kept by the
// caller, oldest first. Each time changed() has grown, and at a Hold's `retry_at`, it offers all held
// requests of the model again in that order; a sweep may stop at a Hold with AllReplicasBusy or Starting,
// since no later request of that model can do better, but not at PreferredBusy: the next one may go
// elsewhere.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/types.h"

namespace tweendeck::routing {

enum class Policy : uint8_t { PrefixAffinity, RoundRobin, LeastRequests };
bool parse_policy(std::string_view name, Policy& out);  // "prefix", "round-robin", "least-requests"
std::string_view to_string(Policy policy);

// Prompt bytes that one token stands for where nothing better is known.
inline constexpr uint64_t kBytesPerToken = 4;

struct RouterConfig {
  Policy policy = Policy::PrefixAffinity;
  size_t max_index_entries = 1 << 20;  // chunk hashes remembered over all endpoints (at most 64 bytes each)
  uint32_t chunk_bytes = 64;   // prompt bytes per link of the hash chain; 16 tokens, as engines' blocks
  uint32_t max_chunks = 4096;  // links of one chain; the rest of a prompt only counts as load
  // An endpoint that holds a whole prompt is kept until its load passes the best other one's by this many
  // tokens; one that holds a part, by that part of it. 0 = what the model's replicas prefill in
  // kSaturationTime, as observed.
  uint64_t saturation_tokens = 0;
};

inline constexpr Nanos kSaturationTime = 2 * kSecond;
// A load report older than this no longer counts.
inline constexpr Nanos kLoadFreshness = 10 * kSecond;

// Links that begin in the first so many bytes of a prompt hold only so many, or chunk_bytes if that is less:
// a short prompt has a chain too.
inline constexpr uint64_t kFinePromptBytes = 256;
inline constexpr uint32_t kFineChunkBytes = 16;

struct Prefix {
  std::vector<uint64_t> links;
  std::vector<uint64_t> ends;  // of the links: how many prompt bytes a head of the chain stands for
  uint64_t tokens(size_t count) const { return count == 0 ? 0 : ends[count - 1] / kBytesPerToken; }
  bool operator==(const Prefix&) const = default;
};

// A chain of hashes over chunks of the prompt: equal prefixes give equal heads, so the common head of two
// chains is the reusable prefix. Computed while the body streams in; how the bytes are split over update()
// does not matter.
//
// A link also ends where a chat message does, as far as its bytes tell: after `"}`, where the quote is not
// escaped. So all of a conversation's past is found again, however short, and not only its whole chunks.
class PrefixHasher {
 public:
  PrefixHasher(const RouterConfig& config, std::string_view model);
  void update(std::string_view prompt_bytes);
  Prefix finish();  // what follows the last whole link is left out; the hasher is spent
  uint64_t bytes() const { return bytes_; }

 private:
  size_t link_bytes() const;
  void link(std::string_view chunk);

  uint64_t seed_;
  uint32_t chunk_bytes_;
  uint32_t max_chunks_;
  uint64_t bytes_ = 0;
  uint64_t covered_ = 0;  // by links
  std::string partial_;
  char last_ = 0;  // byte that was seen, and the one before it
  char before_last_ = 0;
  Prefix prefix_;
};

struct Request {
  std::string_view model;
  Prefix prefix;                   // PrefixHasher::finish()
  uint64_t prompt_tokens = 0;      // an estimate: bytes / kBytesPerToken unless better is known
  uint64_t max_output_tokens = 0;  // 0 = unknown
  std::string_view exclude;  // an endpoint id that has just failed this request: never chosen; "" = none
  const std::vector<std::string>* only = nullptr;  // sorted ids: no other is chosen; null = all may be
};

using Ticket = uint64_t;

struct Pick {
  enum class Kind : uint8_t { Dispatch, Hold, Refuse };
  Kind kind = Kind::Refuse;
  Ticket ticket = 0;           // Dispatch; never 0 then
  std::string endpoint_id;     // Dispatch: the endpoint. Hold with PreferredBusy: the one waited for
  uint64_t cached_tokens = 0;  // expected prefix hit on endpoint_id
  // Hold: Starting (no replica is ready yet), AllReplicasBusy, or PreferredBusy (the replica that holds the
  // prompt's cache is at max_in_flight and waiting for it is estimated cheaper). Refuse: UnknownModel,
  // NoEndpoint.
  Reason reason = Reason::None;
  Nanos retry_at = 0;  // Hold with PreferredBusy: offer again then even if nothing changed; else 0
  bool operator==(const Pick&) const = default;
};

class Router {
 public:
  explicit Router(RouterConfig config);
  ~Router();
  Router(Router&&) noexcept;
  Router& operator=(Router&&) noexcept;

  // Adds or updates; keeps its in-flight account, and its index unless the engine process is another one:
  // state Starting, or a new address or port.
  void upsert(const Endpoint& endpoint);
  void remove(std::string_view endpoint_id);  // forgets its index; tickets of it may still be finished
  // Models that are deployed but may have no endpoint now: requests for them get NoEndpoint, not
  // UnknownModel. Replaces the previous list.
  void set_deployed_models(std::vector<std::string> models);
  void set_load(std::string_view endpoint_id, const EndpointLoad& load, Nanos now);
  void clear_cache(std::string_view endpoint_id);  // the engine lost its cache (restart, reset)

  Pick pick(const Request& request, Nanos now);
  void first_byte(Ticket ticket, Nanos now);
  // `prompt_tokens` and `output_tokens` as the engine's usage told, 0 = unknown. `ok` = false before the
  // first byte forgets what this request added to the endpoint's prefixes. Unknown tickets are ignored.
  void finished(Ticket ticket, bool ok, uint64_t prompt_tokens, uint64_t output_tokens, Nanos now);

  // Grows with every change that can turn a Hold into a Dispatch or Refuse.
  uint64_t changed() const;

  struct EndpointView {
    Endpoint endpoint;
    uint32_t in_flight = 0;
    uint64_t uncached_tokens = 0;   // in flight, not yet prefilled
    uint64_t output_tokens = 0;     // in flight, expected to be generated after a first byte
    uint64_t foreign_requests = 0;  // reported by the engine beyond our own, at the last two reports
    uint64_t dispatched_total = 0;
    uint64_t prompt_tokens_total = 0;  // as the engine's usage told
    uint64_t output_tokens_total = 0;
    uint64_t index_entries = 0;
    EndpointLoad reported;
  };
  std::vector<EndpointView> endpoints() const;  // in the order they were added
  size_t index_entries() const;
  size_t in_flight() const;                 // tickets not yet finished
  std::vector<std::string> models() const;  // every name that some endpoint answers to, sorted

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace tweendeck::routing
