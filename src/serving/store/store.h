// StateStore: what must survive kill -9 on one machine: desired deployments, replicas, events. SQLite, WAL,
// synchronous FULL, so a write that returned is on the disk.
//
// Opening takes the state directory's lock (StateLocked names the owner's pid) and refuses a newer schema
// (StateNewer). Every write is one transaction: with a full disk it fails with DiskFull and nothing of it is
// applied. Safe from any thread (one connection, one mutex).
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "serving/types.h"

namespace tweendeck::serving {

inline constexpr uint64_t kMaxEvents = 10'000;
inline constexpr int kSchemaVersion = 1;

// A deployment as it is wanted.
struct StoredDeployment {
  DeploymentSpec spec;  // as the user gave it
  std::string engine;   // chosen when it was applied
  std::string model_format;
  std::string model_path;
  std::string model_name;
  uint64_t revision = 0;  // grows when running replicas no longer fit
  bool removing = false;
  Nanos drain = 0;  // of the removal
  bool operator==(const StoredDeployment&) const = default;
};

struct StoredReplica {
  std::string id;
  std::string deployment;
  uint32_t ordinal = 0;
  uint64_t revision = 0;
  std::string slice_id;
  uint32_t uid_index = 0;  // unique among the replicas of this state
  uint32_t restarts = 0;
  uint32_t failures = 0;
  uint64_t oom_kills_seen = 0;  // of its slice when its process was started
  ExitRecord last_exit;
  bool operator==(const StoredReplica&) const = default;
};

class StateStore {
 public:
  static Result<std::unique_ptr<StateStore>> open(const std::string& state_dir);
  // Whether open() would succeed once the daemon that has the lock has left. Changes nothing. Errors: those
  // of open().
  static Status check(const std::string& state_dir);
  ~StateStore();

  const std::string& state_dir() const;

  Result<std::vector<StoredDeployment>> deployments() const;
  Result<std::vector<StoredReplica>> replicas() const;

  Status put_deployments(const std::vector<StoredDeployment>& deployments);  // all or none
  Status erase_deployment(const std::string& name);
  Status put_replica(const StoredReplica& replica);
  Status erase_replica(const std::string& id);

  // A number that was never returned before for this state: revisions, slices, launches.
  Result<uint64_t> next_number();

  // Appends and fills the id in; keeps the newest kMaxEvents. Events are one transaction per call.
  Status append_events(std::vector<Event>& events);
  Result<std::vector<Event>> events(uint64_t since, size_t limit) const;  // oldest first
  Result<std::vector<Event>> events_of(const std::string& subject,
                                       size_t limit) const;  // newest, oldest first
  Result<uint64_t> last_event_id() const;

  // Limits the database's size, in pages of 4 KiB; for tests of a full disk. 0 = no limit.
  Status limit_pages(uint64_t pages);

 private:
  struct Impl;
  explicit StateStore(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace tweendeck::serving
