// DeviceManager: every slice of this machine, made, listed and removed durably over all providers.
//
//   DeviceManager manager(providers, std::move(journal), groups);
//   for (const SliceEvent& event : manager.recover()) ...        // once, before anything else
//   Result<Preparation> grant = manager.prepare(slice);          // journal, provider, journal
//   Status gone = manager.release(slice.id);
//
// The journal brackets each operation, so that kill -9 at any instruction leaves something that recover() can
// undo, finish or keep. prepare and release are idempotent per slice id. Slices of providers that make no
// cgroup get one without limits, so that their processes can be found and killed too. One mutex: safe from
// any thread; a call may block for as long as the killed processes of a slice take to die (bounded,
// device/cgroup/groups.h).
#pragma once

#include <map>
#include <mutex>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "device/cgroup/groups.h"
#include "device/journal/journal.h"
#include "device/provider.h"
#include "device/recovery.h"

namespace tweendeck::device {

// Something that a person should know about a slice; goes into the daemon's events as it is.
struct SliceEvent {
  Reason reason = Reason::None;  // SliceLeaked, CgroupUnavailable, OutOfMemory, ...; None: all is well
  std::string slice_id;          // "" when it concerns the journal
  std::string message;
};

inline constexpr uint64_t kRestrainedCpuMilli = 20;  // of a CPU, for a slice that got around its limits

class DeviceManager {
 public:
  // `groups` may be null: no cgroup can be written. Providers and groups must outlive the manager.
  DeviceManager(std::vector<Provider*> providers, Journal journal, Groups* groups);
  ~DeviceManager();

  // Makes journal and machine agree. What fails is told as an event and tried again by the next call.
  std::vector<SliceEvent> recover();

  // All devices of all providers, in the providers' order. A provider that fails adds an event and no
  // devices.
  std::vector<Device> discover(std::vector<SliceEvent>* problems = nullptr);

  // Errors: AlreadyExists when the id names another share or device; NotFound for the device; what the
  // provider says; DiskFull and others of the journal. After an error the slice does not exist, or is
  // `releasing` and recover() or the next prepare/release tries again.
  Result<Preparation> prepare(const Slice& slice);
  Status release(std::string_view slice_id);  // unknown ids succeed

  // Gives a prepared slice another share, or pauses or resumes it, while its processes run. Durable before it
  // is in force: after kill -9 in between, recover() puts it in force. Whether the device has the room is the
  // caller's to know. Events: MemoryPressure when the slice holds more than its new limit; tend() tells when
  // it no longer does. Errors: NotFound (the slice is not prepared); what the provider says, the slice is
  // then as it was; DiskFull and others of the journal.
  Result<Slice> resize(std::string_view slice_id, const Share& share, bool paused,
                       std::vector<SliceEvent>* events);

  std::vector<SliceEntry> slices() const;
  Result<SliceUsage> usage(std::string_view slice_id) const;  // NotFound

  // What the providers' watches find wrong now. Does not wait for operations that are under way.
  std::vector<Finding> findings() const;
  // Slows the processes of a slice down to kRestrainedCpuMilli, or lets them go again; by its cgroup, which
  // outlives us harmlessly. Errors: CgroupUnavailable, NotFound, of the cgroup.
  Status restrain(std::string_view slice_id, bool restrained);

  // To be called about once a second. Finishes operations that failed half-way, and where the kernel killed a
  // process for its slice's memory since the last call, kills what it left of that slice: an OutOfMemory
  // event names it.
  std::vector<SliceEvent> tend();

 private:
  std::vector<Device> discover_locked(std::vector<SliceEvent>* problems);
  Provider* provider_named(std::string_view name) const;
  Provider* provider_of(const std::string& device_id);
  Result<Preparation> make_real(Provider& provider, const Slice& slice);
  Result<Preparation> prepare_again(const SliceEntry& entry, const Slice& wanted);
  Result<Preparation> prepare_new(const Slice& slice);
  Status release_locked(const std::string& slice_id);
  Status unmake(std::string_view provider_name, std::string_view slice_id);
  Status record(RecordKind kind, const Slice& slice, std::string_view provider = {});
  std::set<std::string> ids_on_machine(std::vector<SliceEvent>& events);
  void recover_one(const RecoveryAction& action, std::vector<SliceEvent>& events);
  void remove_leaked(const std::string& slice_id, std::vector<SliceEvent>& events);
  void finish(const std::string& slice_id, std::string_view what, std::vector<SliceEvent>& events);
  void adopt(const SliceEntry& entry, bool is_lost, std::vector<SliceEvent>& events);
  void look_for_pressure(const std::string& slice_id, std::vector<SliceEvent>& events);
  void stop_after_oom(const std::string& slice_id, std::vector<SliceEvent>& events);

  std::vector<Provider*> providers_;
  Journal journal_;
  Groups* groups_;
  std::map<std::string, std::string, std::less<>> provider_of_device_;
  std::map<std::string, uint64_t, std::less<>> oom_kills_seen_;  // by slice
  std::set<std::string, std::less<>> under_pressure_;            // slices that hold more than their limit
  std::map<std::string, std::string, std::less<>> unreleased_;   // slice -> why, as was told
  mutable std::mutex mutex_;
};

}  // namespace tweendeck::device
