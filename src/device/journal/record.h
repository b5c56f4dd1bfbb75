// The slice journal's bytes (docs/internals/slice-journal.md). Pure; safe from any thread.
//
//   file   = header record*
//   header = "TWSLICE\n" u32 version u32 check                16 bytes
//   record = u32 payload_bytes u64 sequence u64 check payload
//
// A check is XXH3-64 of what follows it, seeded with XXH3-64 of what precedes it in the same header or
// record; the header keeps its low half.
//
// Numbers are little-endian. Sequences count from 1 within a file without gaps.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"
#include "device/slice_table.h"

namespace tweendeck::device {

inline constexpr uint32_t kJournalVersion = 2;
inline constexpr uint32_t kOldestJournalVersion = 1;  // that can be read
inline constexpr size_t kHeaderBytes = 16;
inline constexpr size_t kFrameBytes = 20;         // before the payload
inline constexpr size_t kMaxPayloadBytes = 4096;  // above what kMaxSliceIdBytes and kMaxSliceTextBytes allow

std::string encode_header(uint32_t version = kJournalVersion);
std::string encode_record(const SliceRecord& record, uint64_t sequence);

// What a journal file says.
struct Replay {
  SliceTable table;
  uint64_t valid_bytes = 0;  // header and whole records; what follows is a torn tail
  uint64_t next_sequence = 1;
  uint32_t version = kJournalVersion;
  bool torn = false;  // a record (or the header) was being written when the machine stopped
};

// Only the last record can be torn: each is on disk before the next is written. Damage with a valid record
// behind it, or more than one record long, is not torn. Errors: JournalCorrupt, StateNewer.
Result<Replay> replay(std::string_view bytes);

}  // namespace tweendeck::device
