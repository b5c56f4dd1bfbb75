// DeviceManager's repairs: after a start, and once a second.
#include <fmt/format.h>

#include <utility>

#include "device/manager/device_manager.h"

namespace tweendeck::device {

std::vector<SliceEvent> DeviceManager::recover() {
  std::lock_guard lock(mutex_);
  std::vector<SliceEvent> events;
  if (journal_.discarded_bytes() > 0) {
    events.push_back({Reason::JournalCorrupt, "",
                      fmt::format("the last {} bytes of {} were half written and are dropped",
                                  journal_.discarded_bytes(), journal_.path())});
  }
  discover_locked(&events);
  for (const RecoveryAction& action : plan_recovery(journal_.table(), ids_on_machine(events)))
    recover_one(action, events);
  return events;
}

std::set<std::string> DeviceManager::ids_on_machine(std::vector<SliceEvent>& events) {
  std::set<std::string> ids;
  if (groups_ != nullptr) {
    for (std::string& id : groups_->list()) ids.insert(std::move(id));
  }
  for (Provider* provider : providers_) {
    Result<std::vector<std::string>> prepared = provider->prepared();
    if (!prepared) {
      events.push_back({prepared.error().reason, "",
                        fmt::format("provider {}: {}", provider->name(), prepared.error().message)});
      continue;
    }
    ids.insert(prepared->begin(), prepared->end());
  }
  return ids;
}

void DeviceManager::recover_one(const RecoveryAction& action, std::vector<SliceEvent>& events) {
  switch (action.step) {
    case RecoveryStep::RemoveLeaked:
      remove_leaked(action.slice_id, events);
      break;
    case RecoveryStep::Undo:
      finish(action.slice_id, "was half prepared and is undone", events);
      break;
    case RecoveryStep::FinishRelease:
      finish(action.slice_id, "was half released and is gone now", events);
      break;
    case RecoveryStep::Adopt:
    case RecoveryStep::Rebuild:
      adopt(*journal_.table().find(action.slice_id), action.step == RecoveryStep::Rebuild, events);
      break;
  }
}

void DeviceManager::remove_leaked(const std::string& slice_id, std::vector<SliceEvent>& events) {
  Status gone;
  if (groups_ != nullptr) gone = groups_->remove(slice_id);
  for (Provider* provider : providers_) {
    if (gone) gone = provider->unprepare(slice_id);
  }
  events.push_back(
      {Reason::SliceLeaked, slice_id,
       gone ? fmt::format("slice {} was on the machine but not in the journal and is removed", slice_id)
            : fmt::format("slice {} is on the machine but not in the journal, and removing it failed: {}",
                          slice_id, gone.error().message)});
}

void DeviceManager::finish(const std::string& slice_id, std::string_view what,
                           std::vector<SliceEvent>& events) {
  Status gone = release_locked(slice_id);
  if (gone) {
    events.push_back({Reason::None, slice_id, fmt::format("slice {} {}", slice_id, what)});
    return;
  }
  // It is tried again each second, and told when there is something new to tell.
  std::string& told = unreleased_[slice_id];
  if (std::exchange(told, gone.error().message) != gone.error().message) {
    events.push_back({gone.error().reason, slice_id,
                      fmt::format("slice {} cannot be released: {}", slice_id, gone.error().message)});
  }
}

void DeviceManager::adopt(const SliceEntry& entry, bool is_lost, std::vector<SliceEvent>& events) {
  Slice slice = entry.slice;
  Provider* provider = provider_named(entry.provider);
  Result<Preparation> preparation =
      provider != nullptr
          ? make_real(*provider, slice)
          : fail(Reason::NotFound, fmt::format("its provider {} is not running", entry.provider));
  Slice truth = slice;
  truth.isolation = preparation ? preparation->isolation : Isolation::None;
  truth.isolation_reason = preparation ? preparation->isolation_reason : preparation.error().reason;
  if (!preparation) {
    events.push_back(
        {preparation.error().reason, slice.id,
         fmt::format("slice {} is kept but has no limits now: {}", slice.id, preparation.error().message)});
  } else if (is_lost) {
    events.push_back({Reason::None, slice.id, fmt::format("slice {} was lost and is made again", slice.id)});
  }
  if (truth != slice) {
    if (Status ok = record(RecordKind::Prepared, truth); !ok)
      events.push_back({ok.error().reason, slice.id, ok.error().message});
  }
  if (groups_ == nullptr) return;
  // Kills before this start are not news: a replica may have been restarted in the slice since.
  if (Result<GroupUsage> usage = groups_->usage(slice.id)) oom_kills_seen_[slice.id] = usage->oom_kills;
}

std::vector<SliceEvent> DeviceManager::tend() {
  std::lock_guard lock(mutex_);
  std::vector<SliceEvent> events;
  std::vector<std::string> unfinished;
  for (const auto& [id, entry] : journal_.table().entries()) {
    if (entry.state != SliceState::Prepared) {
      unfinished.push_back(id);
    } else if (groups_ != nullptr) {
      stop_after_oom(id, events);
    }
  }
  const std::set<std::string, std::less<>> strained = under_pressure_;
  for (const std::string& id : strained) look_for_pressure(id, events);
  for (const std::string& id : unfinished) finish(id, "was half done and is gone now", events);
  return events;
}

void DeviceManager::stop_after_oom(const std::string& slice_id, std::vector<SliceEvent>& events) {
  Result<GroupUsage> usage = groups_->usage(slice_id);
  if (!usage) return;  // its limits were lost; recover() has told so
  uint64_t& seen = oom_kills_seen_[slice_id];
  if (usage->oom_kills <= seen) return;
  seen = usage->oom_kills;
  Status stopped = groups_->kill_after_oom(slice_id);
  events.push_back({Reason::OutOfMemory, slice_id,
                    fmt::format("slice {} passed its memory limit and its processes are stopped{}", slice_id,
                                stopped ? "" : ", except: " + stopped.error().message)});
}

}  // namespace tweendeck::device
