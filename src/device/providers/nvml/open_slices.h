// The pages of all slices of a provider, mapped once and kept: what the loop reads every few milliseconds
// costs no system call. Tenants may cut or replace their usage page, so every access goes through guarded().
// One thread.
#pragma once

#include <sys/types.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/types.h"
#include "device/borrowing.h"
#include "device/providers/nvml/slice_pages.h"
#include "device/watch.h"

namespace tweendeck::device::nvml {

class OpenSlice {
 public:
  // Nothing when the pages are not there or not ours.
  static std::unique_ptr<OpenSlice> open(const SlicePages& pages, const std::string& id);
  OpenSlice(const OpenSlice&) = delete;
  OpenSlice& operator=(const OpenSlice&) = delete;
  ~OpenSlice();

  const std::string& id() const { return id_; }
  const std::string& device_uuid() const { return device_uuid_; }
  // Both files are still those that are mapped, and whole.
  bool limits_in_place() const;
  bool usage_in_place() const;

  // What it was granted and does; false when a page could not be read.
  bool read_activity(Nanos now, SliceActivity& out) const;
  bool read_watched(WatchedSlice& out) const;
  bool read_limits(tw_vgpu_limit_set& out) const;

  // Writes of the node: the lent share, and until when to yield to a higher priority.
  void write_share(Nanos now, uint32_t effective_permille, Nanos yield_until) const;
  void write_others_active(Nanos when) const;
  void restore_limits(const tw_vgpu_limit_set& set) const;

  // Who claims a slot, and what its book says.
  struct Slot {
    Owner owner = 0;
    uint64_t pid_namespace = 0;
    uint64_t booked_bytes = 0;
    bool context_is_booked = false;
    uint32_t library_abi = 0;
  };
  std::vector<Slot> slots() const;

 private:
  OpenSlice() = default;
  struct FileIdentity {
    dev_t device = 0;
    ino_t inode = 0;
    bool operator==(const FileIdentity&) const = default;
  };
  static bool identify(const std::string& path, uint64_t size, FileIdentity& out);

  std::string id_, device_uuid_, limits_path_, usage_path_;
  FileIdentity limits_file_, usage_file_;
  tw_vgpu_limits_page* limits_ = nullptr;
  tw_vgpu_usage_page* usage_ = nullptr;
};

class OpenSlices {
 public:
  explicit OpenSlices(const SlicePages& pages) : pages_(pages) {}

  // Opens what is new and forgets what was released. A slice whose usage page was tampered with stays open as
  // it was, until its folder is gone or its limits page was made anew.
  void refresh();
  const std::map<std::string, std::unique_ptr<OpenSlice>>& all() const { return slices_; }
  // Slices whose pages cannot be opened: they are being made or removed, or somebody took a page away.
  const std::vector<std::string>& broken() const { return broken_; }
  uint64_t opened() const { return opened_; }  // how often a slice's pages were mapped

 private:
  const SlicePages& pages_;
  std::map<std::string, std::unique_ptr<OpenSlice>> slices_;
  std::vector<std::string> broken_;
  uint64_t opened_ = 0;
};

}  // namespace tweendeck::device::nvml
