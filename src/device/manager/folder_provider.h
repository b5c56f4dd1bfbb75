// FolderProvider: a provider for tests whose slices are folders on disk, and the crash points that stop it
// (and the journal's disk) at a chosen step, as kill -9 would.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "device/journal/disk.h"
#include "device/provider.h"

namespace tweendeck::device {

struct Crash {};

// Counts the steps of a run; the chosen one throws Crash, which nothing in the product catches.
class CrashPoint {
 public:
  explicit CrashPoint(int at = -1) : left_(at) {}
  void step() {
    if (left_ == 0) throw Crash{};
    --left_;
  }

 private:
  int left_;
};

class CrashingDisk final : public Disk {
 public:
  explicit CrashingDisk(CrashPoint& point) : point_(point) {}
  Status write_at(int fd, uint64_t offset, std::string_view bytes) override {
    point_.step();
    Status half = Disk::write_at(fd, offset, bytes.substr(0, bytes.size() / 2));
    point_.step();
    return half ? Disk::write_at(fd, offset, bytes) : half;
  }
  Status sync(int fd) override {
    point_.step();
    return Disk::sync(fd);
  }
  Status rename(const std::string& from, const std::string& to) override {
    point_.step();
    return Disk::rename(from, to);
  }
  Status sync_folder_of(const std::string& path) override {
    point_.step();
    return Disk::sync_folder_of(path);
  }

 private:
  CrashPoint& point_;
};

// Devices "disk0" and "disk1". A slice is two folders, so that it can be half made and half removed.
class FolderProvider final : public Provider {
 public:
  FolderProvider(std::string folder, CrashPoint& point) : folder_(std::move(folder)), point_(point) {}

  std::string_view name() const override { return "folder"; }
  Result<std::vector<Device>> discover() override {
    if (discover_fails) return fail(Reason::DriverError, "the driver is gone");
    std::vector<Device> devices(2);
    for (int i = 0; i < 2; ++i) devices[static_cast<size_t>(i)].id = "disk" + std::to_string(i);
    return devices;
  }
  Result<Preparation> prepare(const Slice& slice) override {
    for (std::string part : {"/" + slice.id, "/" + slice.id + "/inner"}) {
      point_.step();
      std::filesystem::create_directories(folder_ + part);
      if (prepare_fails) return fail(Reason::DriverError, "no more slices");
    }
    point_.step();
    made[slice.id] = slice;
    return Preparation{.isolation = isolation,
                       .isolation_reason = Reason::None,
                       .env = {{"FOLDER", slice.id}},
                       .mounts = {},
                       .cgroup_procs = {},
                       .cpu_count = 0};
  }
  Status unprepare(std::string_view slice_id) override {
    if (unprepare_fails) return fail(Reason::DriverError, "the slice is busy");
    for (std::string part : {"/" + std::string(slice_id) + "/inner", "/" + std::string(slice_id)}) {
      point_.step();
      std::filesystem::remove(folder_ + part);
    }
    return {};
  }
  Result<SliceUsage> usage(std::string_view) override {
    SliceUsage usage;
    usage.memory_bytes = used_bytes;
    return usage;
  }
  Result<std::vector<std::string>> prepared() override {
    std::vector<std::string> ids;
    for (const auto& entry : std::filesystem::directory_iterator(folder_))
      ids.push_back(entry.path().filename());
    return ids;
  }

  bool discover_fails = false;
  bool prepare_fails = false;
  bool unprepare_fails = false;
  uint64_t used_bytes = 0;            // by every slice
  std::map<std::string, Slice> made;  // as prepared last
  Isolation isolation = Isolation::Library;

 private:
  std::string folder_;
  CrashPoint& point_;
};

}  // namespace tweendeck::device
