// Inside of the controller. Who may touch what:
//   - `replicas` and everything below "the loop's own": only the controller's thread (and start(), before it
//     runs);
//   - `deployments`, `views`, `changes`: under `mutex`;
//   - the store, the catalog and the prober are safe by themselves.
#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "serving/controller/controller.h"
#include "serving/process/launcher.h"
#include "serving/process/prober.h"
#include "serving/store/spare_room.h"

namespace tweendeck::serving {

inline constexpr uint32_t kUidBase = 61'184;  // systemd's range for dynamic users
inline constexpr uint32_t kUidCount = 4'336;
inline constexpr Nanos kReadyProbeInterval = 100 * kMillisecond;
inline constexpr Nanos kReadyProbeTimeout = 2 * kSecond;
inline constexpr Nanos kShimMargin =
    3 * kSecond;  // beyond an engine's grace, before the shim itself is suspected
inline constexpr Nanos kAdoptionPatience = 5 * kSecond;  // for a launch record beside a held lock
inline constexpr Nanos kSpareInterval = 10 * kSecond;
inline constexpr Nanos kForeverWait = 3600 * kSecond;
inline constexpr int kMaxRounds = 8;  // plan-act rounds per tick
inline constexpr size_t kWhyEvents = 20;
inline constexpr size_t kMaxUnstoredEvents = 1000;  // kept for later while the disk is full

// One replica: the engine's record of it, what is stored, and what the loop needs to act.
struct Managed {
  Replica replica;
  uint32_t uid_index = 0;
  uint64_t oom_kills_seen = 0;
  StoredReplica stored;             // as last written; differs = must be written
  std::optional<SliceGrant> grant;  // nothing for an adopted replica until it starts again
  Slice slice;                      // as granted, or as found at adoption; id is "" without one
  bool simulated_device = false;
  uint64_t launch = 0;
  uint16_t port = 0;
  int32_t pid = 0;  // of the engine
  uint64_t pid_start_ticks = 0;
  Nanos started_wall = 0;  // 0 without a process
  EngineStatus status;
  std::vector<std::string> tail;  // log lines of the last exit
  Nanos next_probe = 0;
  Nanos first_seen = 0;  // alive without a launch record
  ReplicaPhase shown_phase = ReplicaPhase::Pending;
  Nanos phase_wall = 0;
  Nanos tried_wall = 0;  // when it was last refused a slice; 0 once it has one
  std::string told;      // last "Refused" event's text
  std::optional<Endpoint> published;
};

struct Controller::Impl {
  Impl(ControllerConfig config_, Ports ports_, StateStore& store_, const EngineCatalog& catalog_,
       const Clock& clock_);
  ~Impl();

  // --- start and loop (loop.cc)
  Status load();
  void run();
  void tick();
  void wake();
  std::vector<Goal> goals() const;
  void observe();
  void observe(Managed& managed);
  void probe(Managed& managed, const EngineSpec& engine);
  void read_exit(Managed& managed);
  void heed_retries();
  bool round();
  void release_unowned_slices();
  void keep_spare();

  // --- actions (actions.cc)
  void carry_out(const Action& action);
  void create(const Action& action);
  void acquire(Managed& managed);
  void launch(Managed& managed);
  Status start_process(Managed& managed, const StoredDeployment& deployment, const EngineSpec& engine);
  void adopt(Managed& managed, const Action& action);
  void find_slice(Managed& managed);
  void end(Managed& managed, const Action& action);
  void release(Managed& managed);
  void forget(const std::string& id);
  void forget_deployment(const std::string& name);
  void simple(Managed& managed, const Action& action);
  Status save(Managed& managed);
  void save_or_warn(Managed& managed);
  void event(const std::string& subject, Reason reason, const std::string& action,
             const std::string& message);

  // --- what others see (publish.cc)
  void publish();
  void publish_endpoints();
  Endpoint endpoint(const Managed& managed, const StoredDeployment& deployment,
                    const EngineSpec* engine) const;
  void publish_views();
  ReplicaView view(Managed& managed);
  void flush_events();

  Status store_removal(const std::vector<StoredDeployment>& writes);
  std::vector<DeploymentView> deployment_views() const;           // under `mutex`
  void tell_gone_devices(std::vector<ReplicaView>& shown) const;  // (report.cc)

  // --- shared
  std::optional<StoredDeployment> deployment(const std::string& name) const;
  const EngineSpec* engine_of(const StoredDeployment& deployment) const;  // null when its folder is gone
  ReplicaDir dir(const std::string& replica_id) const { return {config.state_dir, replica_id}; }
  Result<StoredDeployment> resolve(const DeploymentSpec& spec, const std::vector<Device>& devices) const;

  ControllerConfig config;
  Ports ports;
  StateStore& store;
  const EngineCatalog& catalog;
  const Clock& clock;
  const SpareRoom spare;

  mutable std::mutex mutex;
  mutable std::condition_variable changed;  // views or events changed
  std::map<std::string, StoredDeployment> deployments;
  std::map<std::string, ReplicaView> views;
  std::map<std::string, std::vector<std::string>> tails;
  std::deque<Event> unstored;  // in order; not in the store yet
  uint64_t last_event = 0;
  uint64_t lost_events = 0;
  std::set<std::string> retry_asked;   // deployments that were asked for again as they are
  std::optional<Error> store_problem;  // newest write that failed; cleared by one that succeeds
  std::mutex applying;                 // one command at a time changes `deployments`

  std::mutex wake_mutex;
  std::condition_variable wake_signal;
  bool woken = false;
  bool stopping = false;

  // The loop's own.
  Nanos next_spare = 0;  // when it looks after the spare room again
  std::map<std::string, Managed> replicas;
  std::map<std::string, Endpoint> placeholders;  // of deployments without a replica
  Launcher launcher;
  std::string sandbox_problem;  // "" = replicas get a sandbox
  std::optional<Prober> prober;
  std::thread thread;
};

}  // namespace tweendeck::serving
