#include "device/slice_table.h"

#include <fmt/format.h>

#include <algorithm>

namespace tweendeck::device {
namespace {

bool is_id_character(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '_' ||
         c == '-';
}

}  // namespace

std::string_view to_string(SliceState state) {
  switch (state) {
    case SliceState::Preparing:
      return "preparing";
    case SliceState::Prepared:
      return "prepared";
    case SliceState::Releasing:
      return "releasing";
  }
  return "unknown";
}

Status check_slice_id(std::string_view id) {
  bool ok = !id.empty() && id.size() <= kMaxSliceIdBytes && id[0] != '.' &&
            std::ranges::all_of(id, is_id_character);
  if (ok) return {};
  return fail(Reason::InvalidArgument,
              fmt::format("slice id '{}' is not a plain name", id.substr(0, kMaxSliceIdBytes)),
              fmt::format("use 1 to {} letters, digits, '.', '_' or '-'", kMaxSliceIdBytes));
}

Status SliceTable::check_begin_prepare(const SliceRecord& record) const {
  if (Status ok = check_slice_id(record.slice.id); !ok) return ok;
  for (const std::string* text :
       {&record.slice.device_id, &record.slice.owner, &record.slice.deployment, &record.provider}) {
    if (text->size() > kMaxSliceTextBytes) {
      return fail(Reason::InvalidArgument,
                  fmt::format("a name of slice {} has {} bytes", record.slice.id, text->size()),
                  fmt::format("keep names within {} bytes", kMaxSliceTextBytes));
    }
  }
  if (find(record.slice.id) != nullptr) {
    return fail(Reason::AlreadyExists, fmt::format("slice {} exists already", record.slice.id));
  }
  if (entries_.size() >= kMaxSlices) {
    return fail(Reason::LimitExceeded,
                fmt::format("this machine has {} slices, the most it may have", kMaxSlices),
                "stop a deployment");
  }
  return {};
}

Status SliceTable::check(const SliceRecord& record) const {
  if (record.kind == RecordKind::BeginPrepare) return check_begin_prepare(record);
  const SliceEntry* entry = find(record.slice.id);
  if (entry == nullptr)
    return fail(Reason::NotFound, fmt::format("slice {} does not exist", record.slice.id));
  if (record.kind == RecordKind::Resized && entry->state != SliceState::Prepared) {
    return fail(Reason::InvalidArgument, fmt::format("slice {} is {}, so it cannot be resized",
                                                     record.slice.id, to_string(entry->state)));
  }
  bool releasing = entry->state == SliceState::Releasing;
  if (releasing != (record.kind == RecordKind::Released)) {
    return fail(Reason::InvalidArgument,
                fmt::format("slice {} is {}, so record kind {} cannot follow", record.slice.id,
                            to_string(entry->state), static_cast<int>(record.kind)));
  }
  return {};
}

void SliceTable::apply(const SliceRecord& record) {
  if (record.kind == RecordKind::Released) {
    entries_.erase(record.slice.id);
    return;
  }
  SliceEntry& entry = entries_[record.slice.id];
  switch (record.kind) {
    case RecordKind::BeginPrepare:
      entry = {.slice = record.slice, .provider = record.provider, .state = SliceState::Preparing};
      entry.slice.isolation = Isolation::None;
      entry.slice.isolation_reason = Reason::None;
      entry.slice.paused = false;
      break;
    case RecordKind::Prepared:
      entry.state = SliceState::Prepared;
      entry.slice.isolation = record.slice.isolation;
      entry.slice.isolation_reason = record.slice.isolation_reason;
      break;
    case RecordKind::Resized:
      entry.slice.share = record.slice.share;
      entry.slice.paused = record.slice.paused;
      break;
    case RecordKind::BeginRelease:
    case RecordKind::Released:
      entry.state = SliceState::Releasing;
      break;
  }
}

const SliceEntry* SliceTable::find(std::string_view id) const {
  auto found = entries_.find(id);
  return found == entries_.end() ? nullptr : &found->second;
}

std::vector<SliceRecord> SliceTable::snapshot() const {
  std::vector<SliceRecord> records;
  for (const auto& [id, entry] : entries_) {
    Slice begun = entry.slice;
    begun.isolation = Isolation::None;
    begun.isolation_reason = Reason::None;
    records.push_back({RecordKind::BeginPrepare, begun, entry.provider});
    Slice step;
    step.id = id;
    step.isolation = entry.slice.isolation;
    step.isolation_reason = entry.slice.isolation_reason;
    step.share = entry.slice.share;
    step.paused = entry.slice.paused;
    if (entry.state != SliceState::Preparing) records.push_back({RecordKind::Prepared, step, ""});
    if (entry.slice.paused) records.push_back({RecordKind::Resized, step, ""});
    if (entry.state == SliceState::Releasing) records.push_back({RecordKind::BeginRelease, step, ""});
  }
  return records;
}

}  // namespace tweendeck::device
