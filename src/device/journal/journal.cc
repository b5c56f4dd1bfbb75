#include "device/journal/journal.h"

#include <algorithm>
#include <utility>

#include "device/journal/record.h"

namespace tweendeck::device {

Result<Journal> Journal::open(std::string path, Disk& disk) {
  Journal journal(std::move(path), disk);
  Result<std::string> bytes = disk.read(journal.path_, kMaxJournalBytes);
  if (!bytes && bytes.error().reason != Reason::NotFound) return fail(bytes.error());
  if (!bytes || bytes->empty()) {
    if (Status ok = journal.rewrite(); !ok) return fail(ok.error());
    return journal;
  }
  Result<Replay> replayed = replay(*bytes);
  if (!replayed) {
    Error error = replayed.error();
    error.message = journal.path_ + ": " + error.message;
    return fail(error);
  }
  journal.table_ = std::move(replayed->table);
  journal.size_bytes_ = replayed->valid_bytes;
  journal.next_sequence_ = replayed->next_sequence;
  if (replayed->torn) {
    journal.discarded_bytes_ = bytes->size() - replayed->valid_bytes;
    if (Status ok = journal.rewrite(); !ok) return fail(ok.error());
    return journal;
  }
  if (replayed->version < kJournalVersion) {
    if (Status ok = journal.rewrite(); !ok) return fail(ok.error());
    return journal;
  }
  Result<int> fd = disk.open(journal.path_, false);
  if (!fd) return fail(fd.error());
  journal.file_ = Fd(*fd);
  return journal;
}

Status Journal::rewrite() {
  std::string bytes = encode_header();
  uint64_t sequence = 1;
  for (const SliceRecord& record : table_.snapshot()) bytes += encode_record(record, sequence++);

  std::string fresh_path = path_ + ".new";
  Result<int> fd = disk_->open(fresh_path, true);
  if (!fd) return fail(fd.error());
  Fd fresh(*fd);
  Status written = disk_->write_at(fresh.get(), 0, bytes);
  if (written) written = disk_->sync(fresh.get());
  if (written) written = disk_->rename(fresh_path, path_);
  if (!written) {
    disk_->remove(fresh_path);
    return written;
  }
  // From here the new file is the journal, whether or not the folder reaches the disk now.
  file_ = std::move(fresh);
  size_bytes_ = fresh_bytes_ = bytes.size();
  next_sequence_ = sequence;
  Status durable = disk_->sync_folder_of(path_);
  needs_rewrite_ = !durable.has_value();
  return durable;
}

Status Journal::append_bytes(const std::string& bytes) {
  Status written = disk_->write_at(file_.get(), size_bytes_, bytes);
  if (written) written = disk_->sync(file_.get());
  if (written) return {};
  needs_rewrite_ = true;
  // Best effort: the rewrite replaces the file anyway, but until then a restart should not see half a record.
  if (Status cut = disk_->truncate(file_.get(), size_bytes_); !cut)
    written.error().message += "; " + cut.error().message;
  return written;
}

Status Journal::compact() {
  if (size_bytes_ <= std::max(kCompactAboveBytes, kCompactFactor * fresh_bytes_)) return {};
  Status ok = rewrite();
  if (ok || needs_rewrite_ || size_bytes_ >= kMaxJournalBytes) return ok;
  fresh_bytes_ = size_bytes_;  // the old file is whole; try again when it has doubled
  return {};
}

Status Journal::append(const SliceRecord& record) {
  if (Status ok = table_.check(record); !ok) return ok;
  Status ok = needs_rewrite_ ? rewrite() : compact();
  std::string bytes = encode_record(record, next_sequence_);
  if (ok) ok = append_bytes(bytes);
  if (!ok) {
    ok.error().message = path_ + ": " + ok.error().message;
    return ok;
  }
  table_.apply(record);
  size_bytes_ += bytes.size();
  ++next_sequence_;
  return {};
}

}  // namespace tweendeck::device
