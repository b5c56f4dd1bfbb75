#include "placement/policy/fragmentation/board.h"

#include <algorithm>

namespace tweendeck::placement::fragmentation {
namespace {

bool before(int32_t score, uint64_t hash, const Board::Place& place) {
  return score != place.score ? score > place.score : hash < place.hash;
}

}  // namespace

const Score& ScoreMemo::at(const Classes& classes, ClassId id, KindId kind, Scorer& scorer) {
  const uint64_t key = uint64_t{id} << 32 | kind;
  uint64_t hash = key * 0x9e3779b97f4a7c15ull;
  hash ^= hash >> 32;
  const auto [score, added] = table_.find_or_add(key, hash);
  if (added) score = scorer.score(classes[id].state, classes[id].worth, kind);
  return score;
}

void Board::resize(size_t slots) {
  const size_t blocks = (slots + kBlock - 1) / kBlock;
  if (blocks <= most_.size()) return;
  scores_.resize(blocks * kBlock, Score::kNowhere);
  known_.resize(blocks * kBlock);
  parts_.resize(blocks * kBlock);
  most_.resize(blocks, Score::kNowhere);
  stale_.resize(blocks, 0);
}

void Board::set(const Classes& classes, SlotId slot, KindId kind, Scorer& scorer, ScoreMemo& memo) {
  const Live& live = classes.slots()[slot];
  int32_t total = Score::kNowhere;
  if (live.id != kNoClass && live.max_cpu_milli >= static_cast<int64_t>(scorer.least_cpu(kind))) {
    Known& known = known_[slot];
    if (known.of != live.id) {
      parts_[slot] = memo.at(classes, live.id, kind, scorer);
      known = {live.id, parts_[slot].fixed == Score::kNowhere ? Score::kNowhere
                                                              : scorer.total(parts_[slot], live.type, kind)};
    }
    total = known.total;
  }
  const int32_t old = scores_[slot];
  if (slot == best_.slot && total == old && total != Score::kNowhere && live.hash == best_.hash) return;
  scores_[slot] = total;
  const size_t block = slot / kBlock;
  if (total >= most_[block]) {
    most_[block] = total;
  } else if (old == most_[block]) {
    stale_[block] = 1;
  }
  if (slot == best_.slot) {
    search_ = true;
  } else if (total != Score::kNowhere && !search_ && before(total, live.hash, best_)) {
    best_ = {slot, total, live.hash};
  }
}

void Board::catch_up(const Classes& classes, KindId kind, uint64_t epoch, Scorer& scorer, ScoreMemo& memo) {
  const uint64_t now = classes.cursor();
  if (epoch == epoch_ && now == cursor_) return;
  const Classes::Changes changes = classes.since(cursor_);
  const size_t slots = classes.slots().size();
  resize(slots);
  if (epoch != epoch_) {
    for (SlotId slot = 0; slot < slots; ++slot) {
      Known& known = known_[slot];
      if (known.of != classes.slots()[slot].id) {
        known.of = kNoClass;  // worked out when it is needed
      } else if (known.of != kNoClass && parts_[slot].fixed != Score::kNowhere) {
        known.total = scorer.total(parts_[slot], classes.slots()[slot].type, kind);
      }
    }
  }
  if (epoch != epoch_ || changes.lost || changes.slots.size() > slots) {
    for (SlotId slot = 0; slot < slots; ++slot) set(classes, slot, kind, scorer, memo);
  } else {
    constexpr size_t kAhead = 8;
    for (size_t i = 0; i < changes.slots.size(); ++i) {
      if (i + kAhead < changes.slots.size()) {
        __builtin_prefetch(&known_[changes.slots[i + kAhead]]);
        __builtin_prefetch(&scores_[changes.slots[i + kAhead]]);
      }
      set(classes, changes.slots[i], kind, scorer, memo);
    }
  }
  epoch_ = epoch;
  cursor_ = now;
}

const Board::Place& Board::best(const Classes& classes) {
  if (search_) {
    best_ = next(classes, {Place::kNone, INT32_MAX, 0});
    search_ = false;
  }
  return best_;
}

int32_t Board::block_most(size_t block) {
  if (stale_[block] != 0) {
    const int32_t* scores = scores_.data() + block * kBlock;
    int32_t most = Score::kNowhere;
    for (size_t i = 0; i < kBlock; ++i) most = scores[i] > most ? scores[i] : most;
    most_[block] = most;
    stale_[block] = 0;
  }
  return most_[block];
}

// The least hash among the slots of this score, if it is above `after`.
Board::Place Board::first_of(const Classes& classes, int32_t score, const Place& after) {
  Place found;
  for (size_t block = 0; block < most_.size(); ++block) {
    if (block_most(block) < score) continue;
    const int32_t* scores = scores_.data() + block * kBlock;
    for (size_t i = 0; i < kBlock; ++i) {
      if (scores[i] != score) continue;
      const auto slot = static_cast<SlotId>(block * kBlock + i);
      const uint64_t hash = classes.slots()[slot].hash;
      if (score == after.score && hash <= after.hash) continue;
      if (found.slot == Place::kNone || hash < found.hash) found = {slot, score, hash};
    }
  }
  return found;
}

Board::Place Board::next(const Classes& classes, const Place& place) {
  if (place.slot != Place::kNone) {
    const Place tied = first_of(classes, place.score, place);
    if (tied.slot != Place::kNone) return tied;
  }
  int32_t most = Score::kNowhere;
  for (size_t block = 0; block < most_.size(); ++block) {
    int32_t below = block_most(block);
    if (below >= place.score) {
      const int32_t* scores = scores_.data() + block * kBlock;
      below = Score::kNowhere;
      for (size_t i = 0; i < kBlock; ++i) {
        const int32_t score = scores[i] < place.score ? scores[i] : Score::kNowhere;
        below = score > below ? score : below;
      }
    }
    most = below > most ? below : most;
  }
  return most == Score::kNowhere ? Place{} : first_of(classes, most, place);
}

}  // namespace tweendeck::placement::fragmentation
