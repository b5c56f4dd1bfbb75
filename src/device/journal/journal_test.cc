#include "device/journal/journal.h"

#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <cerrno>
#include <filesystem>
#include <fstream>
#include <set>

#include "base/clock.h"
#include "device/journal/record.h"

namespace tweendeck::device {
namespace {

class TempFolder {
 public:
  TempFolder() {
    char name[] = "/tmp/tw-journal-XXXXXX";
    path_ = ::mkdtemp(name);
  }
  ~TempFolder() { std::filesystem::remove_all(path_); }
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

// The n-th operation from now on fails as a full disk does, and so do all after it until refill().
class FullDisk final : public Disk {
 public:
  void fail_from(int operation) { left_ = operation; }
  void free_space() { left_ = -1; }

  Result<int> open(const std::string& path, bool fresh) override {
    if (fresh && is_full()) return fail(no_space());
    return Disk::open(path, fresh);
  }
  Status write_at(int fd, uint64_t offset, std::string_view bytes) override {
    if (!is_full()) return Disk::write_at(fd, offset, bytes);
    (void)Disk::write_at(fd, offset, bytes.substr(0, bytes.size() / 2));  // what fitted
    return fail(no_space());
  }
  Status sync(int fd) override { return is_full() ? fail(no_space()) : Disk::sync(fd); }
  Status sync_folder_of(const std::string& path) override {
    return is_full() ? fail(no_space()) : Disk::sync_folder_of(path);
  }
  Status rename(const std::string& from, const std::string& to) override {
    return is_full() ? fail(no_space()) : Disk::rename(from, to);
  }
  Status truncate(int fd, uint64_t bytes) override {
    return is_full() ? fail(no_space()) : Disk::truncate(fd, bytes);
  }

 private:
  bool is_full() { return left_ == 0 || (left_ > 0 && --left_ == 0); }
  Error no_space() { return system_error(ENOSPC, "writing"); }
  int left_ = -1;
};

SliceRecord begun(const std::string& id) {
  SliceRecord record;
  record.slice.id = id;
  record.slice.device_id = "cpu0";
  record.slice.owner = std::string(100, 'o');
  record.provider = "cpu";
  return record;
}

SliceRecord step(RecordKind kind, const std::string& id) {
  SliceRecord record;
  record.kind = kind;
  record.slice.id = id;
  return record;
}

SliceTable table_on_disk(const std::string& path) {
  Disk disk;
  Result<Journal> journal = Journal::open(path, disk);
  EXPECT_TRUE(journal) << to_string(journal.error());
  return journal ? journal->table() : SliceTable();
}

TEST(Journal, KeepsWhatWasAppended) {
  TempFolder folder;
  Disk disk;
  std::string path = folder / "slices.journal";
  {
    Result<Journal> journal = Journal::open(path, disk);
    ASSERT_TRUE(journal) << to_string(journal.error());
    ASSERT_TRUE(journal->append(begun("a")));
    ASSERT_TRUE(journal->append(step(RecordKind::Prepared, "a")));
    EXPECT_FALSE(journal->append(begun("a")));
  }
  SliceTable table = table_on_disk(path);
  ASSERT_NE(table.find("a"), nullptr);
  EXPECT_EQ(table.find("a")->state, SliceState::Prepared);
  struct stat info{};
  ASSERT_EQ(::stat(path.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600u);
}

TEST(Journal, ATornTailIsCutAndCounted) {
  TempFolder folder;
  Disk disk;
  std::string path = folder / "slices.journal";
  {
    Result<Journal> journal = Journal::open(path, disk);
    ASSERT_TRUE(journal->append(begun("a")));
  }
  std::ofstream(path, std::ios::app) << "half a record";
  {
    Result<Journal> journal = Journal::open(path, disk);
    ASSERT_TRUE(journal) << to_string(journal.error());
    EXPECT_EQ(journal->discarded_bytes(), 13u);
    EXPECT_EQ(journal->table().entries().size(), 1u);
    ASSERT_TRUE(journal->append(begun("b")));
  }
  EXPECT_EQ(Journal::open(path, disk)->discarded_bytes(), 0u);
  EXPECT_EQ(table_on_disk(path).entries().size(), 2u);
}

TEST(Journal, DamageIsRefusedAndTheFileLeftAsItIs) {
  TempFolder folder;
  Disk disk;
  std::string path = folder / "slices.journal";
  std::string damaged = encode_header() + encode_record(begun("a"), 1) + encode_record(begun("b"), 2);
  damaged[kHeaderBytes + kFrameBytes + 3] ^= 1;
  std::ofstream(path) << damaged;
  Result<Journal> journal = Journal::open(path, disk);
  ASSERT_FALSE(journal);
  EXPECT_EQ(journal.error().reason, Reason::JournalCorrupt);
  EXPECT_NE(journal.error().message.find(path), std::string::npos);
  EXPECT_EQ(*disk.read(path, 1 << 20), damaged);
}

// Wherever the disk fills up, an append is either recorded or not at all, both in memory and on disk, and the
// journal goes on once there is space.
TEST(Journal, AFullDiskLeavesNothingHalfApplied) {
  for (int operation = 1; operation <= 10; ++operation) {
    TempFolder folder;
    FullDisk disk;
    std::string path = folder / "slices.journal";
    Result<Journal> journal = Journal::open(path, disk);
    ASSERT_TRUE(journal);
    ASSERT_TRUE(journal->append(begun("kept")));
    disk.fail_from(operation);
    std::set<std::string> acknowledged{"kept"};
    for (std::string id : {"a", "b", "c", "d", "e"}) {
      Status ok = journal->append(begun(id));
      if (ok) acknowledged.insert(id);
      if (!ok) EXPECT_EQ(ok.error().reason, Reason::DiskFull) << to_string(ok.error());
      EXPECT_EQ(journal->table().find(id) != nullptr, ok.has_value());
    }
    EXPECT_LT(acknowledged.size(), 6u);
    disk.free_space();
    ASSERT_TRUE(journal->append(begun("after")));
    acknowledged.insert("after");
    SliceTable table = table_on_disk(path);
    EXPECT_EQ(table.entries(), journal->table().entries());
    EXPECT_EQ(table.entries().size(), acknowledged.size()) << "operation " << operation;
    for (const std::string& id : acknowledged) EXPECT_NE(table.find(id), nullptr) << id;
  }
}

// A restart while the disk is full still reads every acknowledged record, whatever half-written bytes are
// behind it.
TEST(Journal, ARestartOnAFullDiskLosesNothing) {
  for (int operation = 1; operation < 6; ++operation) {
    TempFolder folder;
    FullDisk disk;
    std::string path = folder / "slices.journal";
    {
      Result<Journal> journal = Journal::open(path, disk);
      ASSERT_TRUE(journal->append(begun("kept")));
      disk.fail_from(operation);
      while (journal->append(begun("a" + std::to_string(journal->table().entries().size())))) {
      }
    }
    disk.free_space();
    SliceTable table = table_on_disk(path);
    EXPECT_NE(table.find("kept"), nullptr) << "operation " << operation;
  }
}

TEST(Journal, StaysSmallOverManySlices) {
  TempFolder folder;
  Disk disk;
  std::string path = folder / "slices.journal";
  Result<Journal> journal = Journal::open(path, disk);
  ASSERT_TRUE(journal->append(begun("stays")));
  uint64_t largest = 0;
  auto append = [&](const SliceRecord& record) {
    ASSERT_TRUE(journal->append(record));
    largest = std::max(largest, journal->size_bytes());
  };
  for (int i = 0; i < 1500; ++i) {
    std::string id = "s" + std::to_string(i);
    append(begun(id));
    append(step(RecordKind::Prepared, id));
    append(step(RecordKind::BeginRelease, id));
    append(step(RecordKind::Released, id));
  }
  EXPECT_LE(largest, kCompactAboveBytes + kFrameBytes + kMaxPayloadBytes);
  EXPECT_GT(largest, kCompactAboveBytes);  // else this test compacted nothing
  EXPECT_EQ(table_on_disk(path).entries(), journal->table().entries());
  EXPECT_EQ(journal->table().entries().size(), 1u);
}

TEST(Journal, AFolderThatIsNotThereIsTold) {
  Disk disk;
  Result<Journal> journal = Journal::open("/nonexistent/slices.journal", disk);
  ASSERT_FALSE(journal);
  EXPECT_EQ(journal.error().reason, Reason::NotFound);
}

}  // namespace
}  // namespace tweendeck::device
