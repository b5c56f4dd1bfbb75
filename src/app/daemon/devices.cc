#include "app/daemon/devices.h"

#include "app/daemon/soft_cards.h"
#include "device/journal/record.h"
#include "device/providers/cpu/cpu_provider.h"
#include "device/providers/nvidia/nvidia_provider.h"
#include "device/providers/soft/soft_provider.h"

namespace tweendeck::daemon {

namespace {

constexpr char kJournalFile[] = "/slices.journal";

device::SoftOptions soft_options(const std::string& state_dir, const std::string& soft_gpus,
                                 const InstallPaths& paths, const device::nvml::Options& pages) {
  return {.pages = pages,
          .cards = soft_gpus,
          .model_path = state_dir + "/softgpu/model",
          .libraries = paths.softgpu_libraries,
          .tool = paths.softgpu_tool};
}

// Whether this program can read what another one keeps writing: what it reads may end in half a record.
Status check_journal(const std::string& path) {
  Result<std::string> bytes = device::Disk().read(path, device::kMaxJournalBytes);
  if (!bytes) return bytes.error().reason == Reason::NotFound ? Status() : fail(bytes.error());
  if (bytes->empty()) return {};
  Result<device::Replay> replayed = device::replay(*bytes);
  if (replayed) return {};
  Error error = replayed.error();
  error.message = path + ": " + error.message;
  return fail(std::move(error));
}

}  // namespace

Status Devices::check(const std::string& state_dir, const std::string& soft_gpus, const InstallPaths& paths,
                      const std::vector<device::SliceEntry>& held) {
  if (Status journal = check_journal(state_dir + kJournalFile); !journal) return journal;
  Result<std::string> cards =
      choose_soft_cards(soft_gpus, device::remembered_soft_cards(state_dir + "/softgpu/model"), held);
  if (!cards) return fail(cards.error());
  return cards->empty() ? Status() : device::check_soft_options(soft_options(state_dir, *cards, paths, {}));
}

Result<std::unique_ptr<Devices>> Devices::open(const std::string& state_dir, const std::string& soft_gpus,
                                               const InstallPaths& paths, bool sandboxed) {
  std::unique_ptr<Devices> devices(new Devices());
  devices->own_group_ = device::base_group_name(state_dir);
  if (Result<std::unique_ptr<device::Groups>> groups = device::Groups::open(devices->kernel_, "/", state_dir);
      groups) {
    devices->groups_ = std::move(*groups);
  } else {
    devices->degraded_.push_back(groups.error());
  }
  device::nvml::Options pages{
      .pages_dir = state_dir + "/vgpu", .vgpu_library = paths.vgpu_library, .sandboxed = sandboxed};
  devices->providers_.push_back(
      std::make_unique<device::CpuProvider>(devices->kernel_, devices->groups_.get()));
  devices->providers_.push_back(device::make_nvidia_provider(pages));
  Result<device::Journal> journal = device::Journal::open(state_dir + kJournalFile, devices->disk_);
  if (!journal) return fail(journal.error());
  const std::string model = state_dir + "/softgpu/model";
  std::vector<device::SliceEntry> held;
  for (const auto& [id, entry] : journal->table().entries()) held.push_back(entry);
  Result<std::string> cards = choose_soft_cards(soft_gpus, device::remembered_soft_cards(model), held);
  if (!cards) return fail(cards.error());
  if (cards->empty()) {
    if (Status removed = device::remove_soft_cards(model); !removed) return fail(removed.error());
  } else {
    Result<std::unique_ptr<device::Provider>> soft =
        device::make_soft_provider(soft_options(state_dir, *cards, paths, pages));
    if (!soft) return fail(soft.error());
    devices->providers_.push_back(std::move(*soft));
  }

  std::vector<device::Provider*> providers;
  for (const auto& provider : devices->providers_) providers.push_back(provider.get());
  devices->manager_ =
      std::make_unique<device::DeviceManager>(providers, std::move(*journal), devices->groups_.get());
  devices->events_ = devices->manager_->recover();
  devices->broker_ = std::make_unique<SliceBroker>(*devices->manager_);
  return devices;
}

}  // namespace tweendeck::daemon
