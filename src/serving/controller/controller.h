// Controller: makes what is asked (deployments) true on this machine, and keeps it true.
//
//   auto store = StateStore::open(state_dir);                       // takes the state's lock
//   auto controller = Controller::start(config, ports, **store, catalog, clock);
//   (*controller)->apply({spec});                                   // returns when it is stored, not when it
//                                                                   // is ready
//
// One thread of its own runs the engine (serving/plan.h) on every change and at least every kTickInterval; it
// alone calls the slice and endpoint ports and starts processes. Every public function is safe from any
// thread and blocks at most for one write of the state. Destroying the controller leaves every replica
// running; the next one adopts them.
//
// start() returns after adoption: running replicas are published again, slices that nobody owns are released.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "serving/plan.h"
#include "serving/ports.h"
#include "serving/process/log_reader.h"
#include "serving/spec/catalog.h"
#include "serving/store/store.h"
#include "serving/types.h"

namespace tweendeck::serving {

inline constexpr Nanos kTickInterval = 100 * kMillisecond;
inline constexpr Nanos kDefaultDrain = 30 * kSecond;
inline constexpr uint64_t kDefaultLogBytes = 8ull << 20;  // per file; a replica keeps two

struct ControllerConfig {
  std::string state_dir;
  std::string shim;                // path of tweendeck-shim
  std::string python;              // a virtual environment's bin/python3, or "" when there is none
  std::string bin_dir;             // placeholder {bin}: programs of this build
  std::string host = "127.0.0.1";  // where engines listen
  Nanos drain = kDefaultDrain;     // of scale, rolling changes, and commands that do not say
  uint64_t log_bytes = kDefaultLogBytes;
  PlanConfig plan;
};

// What apply did with each deployment, in the order given.
enum class Applied : uint8_t { Created, Changed, Unchanged };
std::string_view to_string(Applied applied);  // "created", "changed", "unchanged"

struct Finding {
  std::string subject;  // "chat-2", "engine vllm", "state"
  Reason reason = Reason::None;
  std::string message;
  std::string hint;
  bool harmless = false;  // good to know, nothing is wrong
};

struct ReplicaReport {
  ReplicaView view;
  std::optional<SliceUse> use;
  std::vector<std::string>
      last_log_lines;  // of its last exit, at most kLastLogLines; may hold an engine's own text
};

// The answer of `why NAME`: a deployment's name, or one replica's id.
struct WhyReport {
  std::string subject;
  std::string sentence;            // "chat serves with 1 of 2 replicas; chat-2 waits for a slice: ..."
  Reason reason = Reason::None;    // of the worst replica; None when all is well
  std::vector<std::string> hints;  // ways out, most useful first
  std::vector<ReplicaReport> replicas;
  std::vector<Event> events;  // the subject's newest, oldest first
};

class Controller {
 public:
  static Result<std::unique_ptr<Controller>> start(ControllerConfig config, Ports ports, StateStore& store,
                                                   const EngineCatalog& catalog, const Clock& clock);
  ~Controller();

  // Validates all of them first (names, limits, engine, model, share against the devices), then stores all or
  // none. Deployments that are not named stay as they are. Applying the same again changes nothing, except
  // that a replica whose next start waits is started at once.
  Result<std::vector<Applied>> apply(const std::vector<DeploymentSpec>& specs);
  // Each of these returns when the new goal is stored. `drain` is how long running requests may still take.
  Status scale(const std::string& name, uint32_t replicas);
  Status remove(const std::string& name, std::optional<Nanos> drain = std::nullopt);
  Status remove_all(std::optional<Nanos> drain = std::nullopt);  // all of them or none

  std::vector<DeploymentView> list() const;
  Result<DeploymentView> get(const std::string& name) const;
  Result<WhyReport> why(const std::string& name) const;
  std::vector<Finding> doctor() const;

  // Blocks until no replica and no deployment is left that was removed, or the time is over (Timeout). "" =
  // of all.
  Status wait_gone(const std::string& name, Nanos timeout) const;

  // Events with an id above `since`, oldest first, at most `limit`.
  std::vector<Event> events(uint64_t since, size_t limit) const;
  // The same, but waits up to `timeout` for the first one.
  std::vector<Event> wait_events(uint64_t since, size_t limit, Nanos timeout) const;
  // Events of other rooms ("Retried", "DeviceUnhealthy") go into the same record.
  void record_event(const std::string& subject, Reason reason, const std::string& action,
                    const std::string& message);

  Result<LogReader> open_log(const std::string& replica_id) const;

 private:
  struct Impl;
  explicit Controller(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace tweendeck::serving
