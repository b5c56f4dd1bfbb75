// SliceTable: which slices exist, as the fold of the slice journal's records. Pure data; not thread-safe.
//
//   BeginPrepare -> Preparing -> Prepared -> Prepared        (again Prepared: its isolation was read back
//   anew)
//                                         -> Resized         (another share, paused or resumed)
//                       \------------\----> BeginRelease -> Releasing -> Released (gone)
//
// Any other order is refused, so a journal whose records do not form such paths is corrupt, not "mostly
// right".
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/types.h"

namespace tweendeck::device {

inline constexpr size_t kMaxSlices = 4096;         // of one machine
inline constexpr size_t kMaxSliceIdBytes = 63;     // what the limits page of a GPU slice has room for
inline constexpr size_t kMaxSliceTextBytes = 256;  // device id, owner, deployment, provider: each

enum class SliceState : uint8_t { Preparing, Prepared, Releasing };
std::string_view to_string(SliceState state);  // "preparing", "prepared", "releasing"

struct SliceEntry {
  Slice slice;
  std::string provider;
  SliceState state = SliceState::Preparing;
  bool operator==(const SliceEntry&) const = default;
};

// The numbers are the journal's on-disk values.
enum class RecordKind : uint8_t {
  BeginPrepare = 1,
  Prepared = 2,
  BeginRelease = 3,
  Released = 4,
  Resized = 5
};

// One step of a slice. BeginPrepare uses every field but `paused`; Prepared the id and the isolation; Resized
// the id, the share and `paused`; the others the id only.
struct SliceRecord {
  RecordKind kind = RecordKind::BeginPrepare;
  Slice slice;
  std::string provider;
  bool operator==(const SliceRecord&) const = default;
};

// Ids become file and cgroup names: 1..128 of [A-Za-z0-9._-], not starting with a dot. Errors:
// InvalidArgument.
Status check_slice_id(std::string_view id);

class SliceTable {
 public:
  // Whether `record` may follow. Errors: AlreadyExists, NotFound, InvalidArgument, LimitExceeded.
  Status check(const SliceRecord& record) const;
  void apply(const SliceRecord& record);  // must have passed check()

  const SliceEntry* find(std::string_view id) const;  // nullptr when unknown; valid until the next apply()
  const std::map<std::string, SliceEntry, std::less<>>& entries() const { return entries_; }

  // The fewest records that make an empty table equal to this one; ordered by id.
  std::vector<SliceRecord> snapshot() const;

 private:
  Status check_begin_prepare(const SliceRecord& record) const;

  std::map<std::string, SliceEntry, std::less<>> entries_;
};

}  // namespace tweendeck::device
