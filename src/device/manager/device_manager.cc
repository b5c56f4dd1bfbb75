#include "device/manager/device_manager.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace tweendeck::device {
namespace {

Slice with_truth(Slice slice, const Preparation& preparation) {
  slice.isolation = preparation.isolation;
  slice.isolation_reason = preparation.isolation_reason;
  return slice;
}

bool is_same_slice(const Slice& a, const Slice& b) {
  return a.device_id == b.device_id && a.share == b.share && a.owner == b.owner &&
         a.deployment == b.deployment;
}

void append_to(Error& error, const Status& also) {
  if (!also) error.message += "; " + also.error().message;
}

}  // namespace

DeviceManager::DeviceManager(std::vector<Provider*> providers, Journal journal, Groups* groups)
    : providers_(std::move(providers)), journal_(std::move(journal)), groups_(groups) {}

DeviceManager::~DeviceManager() {
  if (groups_ != nullptr) groups_->remove_empty_base();
}

std::vector<Device> DeviceManager::discover(std::vector<SliceEvent>* problems) {
  std::lock_guard lock(mutex_);
  return discover_locked(problems);
}

std::vector<Device> DeviceManager::discover_locked(std::vector<SliceEvent>* problems) {
  std::vector<Device> devices;
  for (Provider* provider : providers_) {
    Result<std::vector<Device>> found = provider->discover();
    if (!found) {
      if (problems != nullptr) {
        problems->push_back({found.error().reason, "",
                             fmt::format("provider {}: {}", provider->name(), found.error().message)});
      }
      continue;
    }
    for (Device& device : *found) {
      provider_of_device_[device.id] = provider->name();
      devices.push_back(std::move(device));
    }
  }
  return devices;
}

Provider* DeviceManager::provider_named(std::string_view name) const {
  auto found = std::ranges::find(providers_, name, [](const Provider* provider) { return provider->name(); });
  return found == providers_.end() ? nullptr : *found;
}

Provider* DeviceManager::provider_of(const std::string& device_id) {
  if (!provider_of_device_.contains(device_id)) discover_locked(nullptr);
  auto found = provider_of_device_.find(device_id);
  return found == provider_of_device_.end() ? nullptr : provider_named(found->second);
}

Status DeviceManager::record(RecordKind kind, const Slice& slice, std::string_view provider) {
  return journal_.append({kind, slice, std::string(provider)});
}

Result<Preparation> DeviceManager::make_real(Provider& provider, const Slice& slice) {
  Result<Preparation> preparation = provider.prepare(slice);
  if (!preparation || !preparation->cgroup_procs.empty() || groups_ == nullptr) return preparation;
  Result<std::vector<std::string>> procs = groups_->create(slice.id, {});
  if (!procs) return fail(procs.error());
  preparation->cgroup_procs = std::move(*procs);
  return preparation;
}

Result<Preparation> DeviceManager::prepare(const Slice& slice) {
  std::lock_guard lock(mutex_);
  const SliceEntry* entry = journal_.table().find(slice.id);
  if (entry != nullptr && entry->state == SliceState::Prepared) return prepare_again(*entry, slice);
  if (entry != nullptr) {
    if (Status ok = release_locked(slice.id); !ok) return fail(ok.error());
  }
  return prepare_new(slice);
}

Result<Preparation> DeviceManager::prepare_again(const SliceEntry& entry, const Slice& wanted) {
  if (!is_same_slice(entry.slice, wanted)) {
    return fail(Reason::AlreadyExists,
                fmt::format("slice {} exists with another share: it belongs to {} on {}", wanted.id,
                            entry.slice.owner, entry.slice.device_id),
                "release it first, or use another id");
  }
  Provider* provider = provider_named(entry.provider);
  if (provider == nullptr) {
    return fail(Reason::NotFound,
                fmt::format("provider {} of slice {} is not running", entry.provider, wanted.id),
                "start the daemon with the options that it had when the slice was made");
  }
  return make_real(*provider, wanted);
}

Result<Preparation> DeviceManager::prepare_new(const Slice& slice) {
  Provider* provider = provider_of(slice.device_id);
  if (provider == nullptr) {
    return fail(Reason::NotFound,
                fmt::format("device {} of slice {} does not exist", slice.device_id, slice.id),
                "`tweendeck devices` lists what there is");
  }
  if (Status ok = record(RecordKind::BeginPrepare, slice, provider->name()); !ok) return fail(ok.error());
  Result<Preparation> preparation = make_real(*provider, slice);
  Status recorded;
  if (preparation) recorded = record(RecordKind::Prepared, with_truth(slice, *preparation));
  if (preparation && recorded) return preparation;
  Error error = preparation ? recorded.error() : preparation.error();
  append_to(error, unmake(provider->name(), slice.id));
  append_to(error, release_locked(slice.id));
  return fail(std::move(error));
}

Status DeviceManager::release(std::string_view slice_id) {
  std::lock_guard lock(mutex_);
  return release_locked(std::string(slice_id));
}

Status DeviceManager::release_locked(const std::string& slice_id) {
  const SliceEntry* entry = journal_.table().find(slice_id);
  if (entry == nullptr) return {};
  Slice slice = entry->slice;
  std::string provider = entry->provider;
  if (entry->state != SliceState::Releasing) {
    if (Status ok = record(RecordKind::BeginRelease, slice); !ok) return ok;
  }
  if (Status ok = unmake(provider, slice_id); !ok) return ok;
  oom_kills_seen_.erase(slice_id);
  under_pressure_.erase(slice_id);
  Status released = record(RecordKind::Released, slice);
  if (released) unreleased_.erase(slice_id);
  return released;
}

Status DeviceManager::unmake(std::string_view provider_name, std::string_view slice_id) {
  // Processes first, so that nothing uses what the provider takes away.
  if (groups_ != nullptr) {
    if (Status ok = groups_->remove(slice_id); !ok) return ok;
  }
  // A provider that is not running now finds its leftovers by prepared() when it runs again.
  Provider* provider = provider_named(provider_name);
  return provider == nullptr ? Status{} : provider->unprepare(slice_id);
}

std::vector<SliceEntry> DeviceManager::slices() const {
  std::lock_guard lock(mutex_);
  std::vector<SliceEntry> entries;
  for (const auto& [id, entry] : journal_.table().entries()) entries.push_back(entry);
  return entries;
}

Result<SliceUsage> DeviceManager::usage(std::string_view slice_id) const {
  std::lock_guard lock(mutex_);
  const SliceEntry* entry = journal_.table().find(slice_id);
  Provider* provider = entry == nullptr ? nullptr : provider_named(entry->provider);
  if (provider == nullptr) return fail(Reason::NotFound, fmt::format("slice {} does not exist", slice_id));
  return provider->usage(slice_id);
}

}  // namespace tweendeck::device
