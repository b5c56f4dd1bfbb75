// Journal: the one durable list of slices, an append-only checksummed file.
//
//   Result<Journal> journal = Journal::open(state_dir + "/slices.journal", disk);
//   if (Status ok = journal->append(record); !ok) ...   // nothing was recorded; the table is as before
//
// append() returns after the record is on disk. When the disk refuses, the file is cut back, and the next
// append first writes the whole file anew, because after a failed fsync nobody knows what a file holds. The
// file is compacted (new file, fsync, rename, fsync of the folder) when it is several times larger than its
// content needs, so its size is bounded by the number of slices. Not thread-safe: the device manager's lock
// covers it.
#pragma once

#include <cstdint>
#include <string>

#include "base/result.h"
#include "device/journal/disk.h"
#include "device/slice_table.h"

namespace tweendeck::device {

inline constexpr uint64_t kCompactAboveBytes = 256 * 1024;  // never compacted below
inline constexpr uint64_t kCompactFactor = 2;               // file size / size of a fresh one
inline constexpr uint64_t kMaxJournalBytes = 64ull * 1024 * 1024;

class Journal {
 public:
  // Opens or creates. Errors: JournalCorrupt, StateNewer, DiskFull, PermissionDenied, IoError.
  static Result<Journal> open(std::string path, Disk& disk);

  Status append(const SliceRecord& record);

  const SliceTable& table() const { return table_; }
  const std::string& path() const { return path_; }
  uint64_t size_bytes() const { return size_bytes_; }
  uint64_t discarded_bytes() const { return discarded_bytes_; }  // torn tail that open() cut off

 private:
  Journal(std::string path, Disk& disk) : path_(std::move(path)), disk_(&disk) {}
  Status rewrite();
  Status compact();
  Status append_bytes(const std::string& bytes);

  std::string path_;
  Disk* disk_;
  Fd file_;
  SliceTable table_;
  uint64_t size_bytes_ = 0;
  uint64_t fresh_bytes_ = 0;  // size right after the last rewrite
  uint64_t next_sequence_ = 1;
  uint64_t discarded_bytes_ = 0;
  bool needs_rewrite_ = false;
};

}  // namespace tweendeck::device
