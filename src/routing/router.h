// Routing: which endpoint a request gets, when, or why not.
//
// Pure: no clock, no sockets, no threads; the caller passes `now`. Not safe for concurrent use: the gateway owns one
// Router on its event loop. Memory is bounded by RouterConfig.
//
// A request's life: pick() -> Dispatch | Hold | Refuse. A dispatched request must be ended by exactly one finished()
// with the ticket it got; first_byte() in between is optional. Held requests are kept by the caller and offered again
// with retry_held() semantics: call pick() again when `changed()` says that capacity or endpoints changed, or at the
// deadline.
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

struct RouterConfig {
  Policy policy = Policy::PrefixAffinity;
  size_t max_index_entries = 1 << 20;   // chunk hashes remembered over all endpoints (about 40 bytes each)
  uint32_t chunk_bytes = 256;           // prompt bytes per link of the hash chain
  uint32_t max_chunks = 4096;           // longest prefix that is hashed; the rest of a prompt only counts as load
  // An endpoint is kept for its cache until its in-flight uncached tokens pass this many more than the least loaded
  // one's; then load decides.
  uint64_t saturation_tokens = 16384;
};

// A chain of hashes over chunks of the prompt: equal prefixes give equal heads, so the common head of two chains is
// the reusable prefix. Computed while the body streams in.
class PrefixHasher {
 public:
  PrefixHasher(const RouterConfig& config, std::string_view model);
  void update(std::string_view prompt_bytes);
  std::vector<uint64_t> finish();  // links of whole chunks only
  uint64_t bytes() const;

 private:
  uint64_t seed_;
  uint32_t chunk_bytes_;
  uint32_t max_chunks_;
  uint64_t bytes_ = 0;
  std::string partial_;
  std::vector<uint64_t> links_;
};

struct Request {
  std::string_view model;
  std::vector<uint64_t> prefix;      // PrefixHasher::finish()
  uint64_t prompt_tokens = 0;        // an estimate: bytes / 4 unless better is known
  uint64_t max_output_tokens = 0;    // 0 = unknown
  std::string_view exclude;          // an endpoint id that has just failed this request; "" = none
};

using Ticket = uint64_t;

struct Pick {
  enum class Kind : uint8_t { Dispatch, Hold, Refuse };
  Kind kind = Kind::Refuse;
  Ticket ticket = 0;                 // Dispatch
  std::string endpoint_id;           // Dispatch
  uint64_t cached_tokens = 0;        // Dispatch: expected prefix hit
  Reason reason = Reason::None;      // Hold: Starting or QueueFull's cause; Refuse: UnknownModel, NoEndpoint
};

class Router {
 public:
  explicit Router(RouterConfig config);
  ~Router();

  void upsert(const Endpoint& endpoint);       // adds or updates; keeps its in-flight account and index
  void remove(std::string_view endpoint_id);   // forgets its index; tickets of it may still be finished
  void set_load(std::string_view endpoint_id, const EndpointLoad& load, Nanos now);
  void clear_cache(std::string_view endpoint_id);  // the engine lost its cache (restart, reset)

  Pick pick(const Request& request, Nanos now);
  void first_byte(Ticket ticket, Nanos now);
  // `prompt_tokens` and `output_tokens` as the engine's usage told, 0 = unknown. `ok` = false forgets the prefix.
  void finished(Ticket ticket, bool ok, uint64_t prompt_tokens, uint64_t output_tokens, Nanos now);

  // Grows with every change that can turn a Hold into a Dispatch.
  uint64_t changed() const;

  struct EndpointView {
    Endpoint endpoint;
    uint32_t in_flight = 0;
    uint64_t uncached_tokens = 0;     // in flight, not yet prefilled
    uint64_t dispatched_total = 0;
    uint64_t index_entries = 0;
    EndpointLoad reported;
  };
  std::vector<EndpointView> endpoints() const;
  size_t index_entries() const;
  std::vector<std::string> models() const;  // every name that some endpoint answers to, sorted

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace tweendeck::routing
