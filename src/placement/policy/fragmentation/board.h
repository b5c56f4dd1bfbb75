// The scores of all live classes for the kinds of requests that are priced alike, and the best of them. Where the CPU of
// a kind fits is for its reader to see: a board shows what fits the least of them.
//
// Ties go to the lesser hash of the state: to what the state is, not to when it first came up.
#pragma once

#include <cstdint>
#include <vector>

#include "placement/policy/fragmentation/classes.h"
#include "placement/policy/fragmentation/flat_table.h"
#include "placement/policy/fragmentation/scorer.h"

namespace tweendeck::placement::fragmentation {

inline constexpr size_t kMaxScores = 1u << 20;

// Scores by (class, kind): a class that comes back, or a board that is rebuilt, need not work them out again.
class ScoreMemo {
 public:
  const Score& at(const Classes& classes, ClassId id, KindId kind, Scorer& scorer);
  size_t size() const { return table_.size(); }

 private:
  FlatTable<uint64_t, Score> table_{kMaxScores};
};

class Board {
 public:
  struct Place {
    static constexpr SlotId kNone = UINT32_MAX;
    SlotId slot = kNone;
    int32_t score = Score::kNowhere;
    uint64_t hash = 0;
  };

  // `epoch` changes whenever dynamic prices do: then everything is added up anew.
  void catch_up(const Classes& classes, KindId kind, uint64_t epoch, Scorer& scorer, ScoreMemo& memo);
  // The best place; slot kNone when the kind fits in no class.
  const Place& best(const Classes& classes);
  // The best place after this one in the order of score, then hash.
  Place next(const Classes& classes, const Place& place);
  const Score& score_at(const Place& place) const { return parts_[place.slot]; }
  int32_t score(SlotId slot) const { return slot < scores_.size() ? scores_[slot] : Score::kNowhere; }

 private:
  // So many slots share a maximum, kept up to date when asked for.
  static constexpr size_t kBlock = 32;
  struct Known {  // of the slot's last class
    ClassId of = kNoClass;
    int32_t total = Score::kNowhere;
  };
  void set(const Classes& classes, SlotId slot, KindId kind, Scorer& scorer, ScoreMemo& memo);
  void resize(size_t slots);
  int32_t block_most(size_t block);
  Place first_of(const Classes& classes, int32_t score, const Place& after);

  std::vector<int32_t> scores_;  // by slot, whole blocks
  std::vector<Known> known_;  // by slot, apart from what is seldom read: catching up is bound by cache misses
  std::vector<Score> parts_;  // of known_
  std::vector<int32_t> most_;   // by block
  std::vector<uint8_t> stale_;  // by block
  uint64_t cursor_ = 0;
  uint64_t epoch_ = UINT64_MAX;
  Place best_;
  bool search_ = true;  // best_ is not known
};

}  // namespace tweendeck::placement::fragmentation
