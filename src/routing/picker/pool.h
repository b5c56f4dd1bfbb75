// The endpoints of one picker, the Router over them, and the requests that wait for one. Pure: the caller passes
// the clock and calls sweep(). One thread.
//
// A pool serves whatever model a request names, as an InferencePool does: who can answer is the engine's
// business, so the Router knows all endpoints under one name.
#pragma once

#include <list>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "routing/picker/config.h"
#include "routing/picker/metrics.h"
#include "routing/router.h"

namespace tweendeck::routing::picker {

// What the Router is told of a request.
struct Wanted {
  Prefix prefix;
  uint64_t prompt_tokens = 0;
  uint64_t max_output_tokens = 0;
  bool limited = false;              // only endpoints of `allowed` may be chosen
  std::vector<std::string> allowed;  // sorted ids
};

struct Choice {
  Ticket ticket = 0;  // 0: no account is kept
  std::string endpoint_id;
  std::string destination;  // "ip:port" of the endpoint, then those of its alternatives
  uint64_t cached_tokens = 0;
};

// A request that may have to wait. Told exactly once, or leaves.
class Waiter {
 public:
  virtual void chosen(Choice choice) = 0;
  virtual void refused(const Error& error) = 0;
  Nanos waiting_since = 0;

 protected:
  ~Waiter() = default;

 private:
  friend class Pool;
  std::list<Waiter*>::iterator place_;
  const Wanted* wanted_ = nullptr;  // not null: it waits
  Reason held_ = Reason::None;
};

class Pool {
 public:
  Pool(const PickerConfig& config, RouterConfig router, const Clock& clock, PickerMetrics& metrics);

  // Replaces the endpoints: those that stay keep their account and index.
  void set_endpoints(const std::vector<Endpoint>& endpoints);
  void set_load(const std::string& id, const EndpointLoad& load) { router_.set_load(id, load, now()); }
  size_t ready() const;
  const std::vector<Endpoint>& endpoints() const { return endpoints_; }

  // Ids of the endpoints that the hints name ("ip:port" or "ip"), sorted.
  std::vector<std::string> resolve(const std::vector<std::string_view>& hints) const;

  // Ends in chosen() or refused(), now or later; `wanted` must live until then.
  void submit(Waiter& waiter, const Wanted& wanted);
  void leave(Waiter& waiter);
  // Any ready endpoint, for a request that is no work; an error when there is none.
  Result<Choice> any(const Wanted& wanted);

  void answered(const Choice& choice) { router_.first_byte(choice.ticket, clock_.now()); }
  // The proxy told who answered; when it was another one than chosen, the account moves there.
  void served_by(Choice& choice, std::string_view address, const Wanted& wanted);
  void settle(Choice& choice, bool ok, uint64_t prompt_tokens, uint64_t output_tokens);
  void endpoint_failed(const Choice& choice);

  bool try_hold(size_t bytes);
  void release_hold(size_t bytes) { held_bytes_ -= bytes; }

  void sweep();       // timeouts, pauses that end; every config.sweep_interval
  void refuse_all();  // the picker ends: what waits is refused, and whatever comes

  std::string new_request_id();
  Nanos now() const { return clock_.now(); }
  const PickerConfig& config() const { return config_; }
  const RouterConfig& router_config() const { return router_config_; }
  PickerMetrics& metrics() { return metrics_; }
  const Router& router() const { return router_; }

 private:
  struct Entry {
    Endpoint endpoint;
    std::string address;  // "ip:port"
    uint32_t in_flight = 0;
    Nanos paused_until = 0;  // 0: not paused
  };
  bool offer(Waiter& waiter, const Wanted& wanted);  // false: it must wait
  void offer_waiting();
  Entry* find(std::string_view id);
  std::string destination(const Entry& chosen, const Wanted& wanted);
  Choice account(const Pick& pick, const Wanted& wanted);
  Error no_endpoint(const Wanted& wanted, Reason reason) const;

  const PickerConfig& config_;
  const RouterConfig router_config_;
  const Clock& clock_;
  PickerMetrics& metrics_;
  Router router_;
  Random random_;
  std::vector<Endpoint> endpoints_;
  std::map<std::string, Entry, std::less<>> entries_;
  std::list<Waiter*> waiting_;
  uint64_t offered_at_change_ = 0;
  size_t held_bytes_ = 0;
  bool offering_ = false;
  bool ending_ = false;
};

}  // namespace tweendeck::routing::picker
