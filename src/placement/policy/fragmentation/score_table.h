// The scores of all classes for the kinds of requests that came lately, and the best place for each kind.
//
// Known scores are kept per class, a row each, also while no node is in it: classes come back. Live classes have a slot,
// and per slot a row of what shows room: a slot that changed is brought up to date for all kinds at once by vector code, and
// blocks of slots keep their maxima in a row, so the best of a kind is found in a column of maxima. A score is worked out
// when its column is searched, or ahead of that; until then it stands above all others. A column stands for the kinds that
// are priced alike, and shows what has the CPU of the least of them.
//
// Ties go to the lesser hash of the state: to what the state is, not to when it first came up.
#pragma once

#include <cstdint>
#include <vector>

#include "placement/policy/fragmentation/classes.h"
#include "placement/policy/fragmentation/scorer.h"

namespace tweendeck::placement::fragmentation {

// Known scores. Beyond that the rows of classes without nodes are used for others: it is a memo.
inline constexpr size_t kMaxScores = 1u << 20;
// Kinds that have a column at one time; the one that was not asked for longest gives way.
inline constexpr size_t kMaxColumns = 512;

class ScoreTable {
 public:
  struct Place {
    static constexpr SlotId kNone = UINT32_MAX;
    SlotId slot = kNone;
    int32_t score = Score::kNowhere;
    uint64_t hash = 0;
  };
  static constexpr Place kBeforeAll = {Place::kNone, INT32_MAX, 0};

  // What a place must have at least, as far as is known without looking at its nodes.
  struct Need {
    int32_t cpu_milli = 0;
    int64_t memory_bytes = 0;
  };

  // Brings slots up to date that changed, and all of them when `epoch` did: it changes whenever dynamic prices do.
  // Before anything below.
  void follow(Classes& classes, const Scorer& scorer, uint64_t epoch);
  // Works out at least so many of the scores that the kind's column lacks; how many it did. Less: it lacks none now.
  size_t work_out(const Classes& classes, Scorer& scorer, KindId kind, size_t least);
  // The best place that comes after this one in the order of score, then hash; slot kNone when there is none.
  Place best(const Classes& classes, Scorer& scorer, KindId kind, const Need& need,
             const Place& after = kBeforeAll);
  // kNowhere where the kind has no room. After all of `work_out`.
  int32_t score(SlotId slot, KindId kind) const { return shown_[slot * width_ + column_of_[kind]]; }
  // Of a place that `best` found.
  const Score& parts(SlotId slot, KindId kind) const {
    return parts_[row_at_[slot] * width_ + column_of_[kind]];
  }

  size_t scores() const { return scores_; }  // worked out so far

 private:
  static constexpr size_t kBlock = 16;  // slots that share a row of maxima
  static constexpr size_t kLanes = 16;  // columns are added by so many
  static constexpr uint16_t kNoColumn = UINT16_MAX;
  static constexpr uint32_t kNoRow = UINT32_MAX;
  static constexpr int32_t kUnknown = INT32_MAX;  // to be worked out
  struct Column {
    KindId kind = 0;
    uint64_t used = 0;
  };

  size_t column(const Classes& classes, const Scorer& scorer, KindId kind);
  void widen();
  void lengthen(size_t slots);
  uint32_t row_of(const Classes& classes, ClassId id);
  uint32_t free_row(const Classes& classes);
  void add_up(const Classes& classes, const Scorer& scorer, uint32_t row);
  void show(const Live& live, SlotId slot);
  void show_column(const Classes& classes, size_t column);
  void block_most(size_t block);
  void block_most(size_t block, size_t column);
  size_t work_out_block(const Classes& classes, Scorer& scorer, size_t column, size_t block);

  std::vector<Column> columns_;
  std::vector<uint16_t> column_of_;  // by kind
  size_t width_ = 0;                 // of a row, whole lanes
  std::vector<int32_t> least_cpu_;   // by column

  std::vector<uint32_t> row_of_;  // by class
  std::vector<ClassId> owner_;    // by row
  std::vector<uint64_t> added_;   // by row: the epoch of its totals
  std::vector<int32_t> totals_;   // by row, column
  std::vector<Score> parts_;      // of totals_
  uint32_t next_row_ = 0;         // where to look for a row to use again

  std::vector<uint32_t> row_at_;  // by slot, whole blocks
  std::vector<int32_t> shown_;    // by slot, column: the total where the slot lives and has the CPU
  std::vector<int32_t> most_;     // by block, column
  std::vector<uint8_t> stale_;    // by block
  std::vector<uint32_t> stale_blocks_;
  uint64_t epoch_ = 0;
  uint64_t uses_ = 0;
  size_t scores_ = 0;
};

}  // namespace tweendeck::placement::fragmentation
