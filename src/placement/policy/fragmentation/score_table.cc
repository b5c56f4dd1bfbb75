#include "placement/policy/fragmentation/score_table.h"

#include <algorithm>
#include <array>

namespace tweendeck::placement::fragmentation {

void ScoreTable::lengthen(size_t slots) {
  const size_t blocks = (slots + kBlock - 1) / kBlock;
  if (blocks <= stale_.size()) return;
  row_at_.resize(blocks * kBlock, kNoRow);
  shown_.resize(blocks * kBlock * width_, Score::kNowhere);
  most_.resize(blocks * width_, Score::kNowhere);
  stale_.resize(blocks, 0);
}

void ScoreTable::widen() {
  const size_t old = width_;
  width_ += kLanes;
  const auto spread = [&](auto& cells, size_t rows, auto empty) {
    std::remove_reference_t<decltype(cells)> wider(rows * width_, empty);
    for (size_t row = 0; row < rows; ++row) {
      std::copy_n(cells.begin() + static_cast<ptrdiff_t>(row * old), old,
                  wider.begin() + static_cast<ptrdiff_t>(row * width_));
    }
    cells = std::move(wider);
  };
  spread(totals_, owner_.size(), kUnknown);
  spread(parts_, owner_.size(), Score{});
  spread(shown_, row_at_.size(), Score::kNowhere);
  spread(most_, stale_.size(), Score::kNowhere);
  least_cpu_.resize(width_, INT32_MAX);
}

uint32_t ScoreTable::row_of(const Classes& classes, ClassId id) {
  if (row_of_.size() <= id) row_of_.resize(classes.size(), kNoRow);
  if (row_of_[id] != kNoRow) return row_of_[id];
  const uint32_t row = free_row(classes);
  row_of_[id] = row;
  owner_[row] = id;
  added_[row] = epoch_;
  return row;
}

uint32_t ScoreTable::free_row(const Classes& classes) {
  const size_t most = std::max(kMaxScores / std::max(width_, kLanes), 2 * classes.slots().size());
  if (owner_.size() < most) {
    const auto row = static_cast<uint32_t>(owner_.size());
    owner_.push_back(kNoClass);
    added_.push_back(0);
    totals_.resize(owner_.size() * width_, kUnknown);
    parts_.resize(owner_.size() * width_);
    return row;
  }
  do {
    next_row_ = next_row_ + 1 < owner_.size() ? next_row_ + 1 : 0;
  } while (classes[owner_[next_row_]].nodes > 0);
  row_of_[owner_[next_row_]] = kNoRow;
  std::fill_n(totals_.begin() + static_cast<ptrdiff_t>(next_row_ * width_), width_, kUnknown);
  return next_row_;
}

void ScoreTable::add_up(const Classes& classes, const Scorer& scorer, uint32_t row) {
  added_[row] = epoch_;
  const uint16_t type = classes[owner_[row]].state.type;
  for (size_t column = 0; column < columns_.size(); ++column) {
    const Score& parts = parts_[row * width_ + column];
    int32_t& total = totals_[row * width_ + column];
    if (total == kUnknown || parts.fixed == Score::kNowhere) continue;
    total = scorer.total(parts, type, columns_[column].kind);
  }
}

void ScoreTable::show(const Live& live, SlotId slot) {
  int32_t* shown = shown_.data() + slot * width_;
  if (live.id == kNoClass) {
    std::fill_n(shown, width_, Score::kNowhere);
    return;
  }
  const int32_t* totals = totals_.data() + row_at_[slot] * width_;
  const int32_t* least = least_cpu_.data();
  const int32_t cpu = live.max_cpu_milli;
  const size_t width = width_;
  for (size_t i = 0; i < width; ++i) shown[i] = cpu >= least[i] ? totals[i] : Score::kNowhere;
}

void ScoreTable::show_column(const Classes& classes, size_t column) {
  for (SlotId slot = 0; slot < row_at_.size(); ++slot) {
    const bool shows = slot < classes.slots().size() && classes.slots()[slot].id != kNoClass &&
                       classes.slots()[slot].max_cpu_milli >= least_cpu_[column];
    shown_[slot * width_ + column] = shows ? totals_[row_at_[slot] * width_ + column] : Score::kNowhere;
  }
  for (size_t block = 0; block < stale_.size(); ++block) block_most(block, column);
}

void ScoreTable::block_most(size_t block) {
  for (size_t first = 0; first < width_; first += kLanes) {
    const int32_t* shown = shown_.data() + block * kBlock * width_ + first;
    std::array<int32_t, kLanes> most;
    most.fill(Score::kNowhere);
    for (size_t row = 0; row < kBlock; ++row, shown += width_) {
      for (size_t i = 0; i < kLanes; ++i) most[i] = shown[i] > most[i] ? shown[i] : most[i];
    }
    std::ranges::copy(most, most_.begin() + static_cast<ptrdiff_t>(block * width_ + first));
  }
}

void ScoreTable::block_most(size_t block, size_t column) {
  const int32_t* shown = shown_.data() + block * kBlock * width_ + column;
  int32_t most = Score::kNowhere;
  for (size_t row = 0; row < kBlock; ++row) most = std::max(most, shown[row * width_]);
  most_[block * width_ + column] = most;
}

void ScoreTable::follow(Classes& classes, const Scorer& scorer, uint64_t epoch) {
  const bool all = epoch != epoch_;
  if (!all && classes.changed().empty()) return;
  epoch_ = epoch;
  lengthen(classes.slots().size());
  const auto bring_up = [&](SlotId slot) {
    const Live& live = classes.slots()[slot];
    if (live.id != kNoClass) {
      row_at_[slot] = row_of(classes, live.id);
      if (added_[row_at_[slot]] != epoch_) add_up(classes, scorer, row_at_[slot]);
    }
    show(live, slot);
    const size_t block = slot / kBlock;
    if (stale_[block] != 0) return;
    stale_[block] = 1;
    stale_blocks_.push_back(static_cast<uint32_t>(block));
  };
  if (all) {
    for (SlotId slot = 0; slot < classes.slots().size(); ++slot) bring_up(slot);
  } else {
    for (const SlotId slot : classes.changed()) bring_up(slot);
  }
  for (const uint32_t block : stale_blocks_) {
    block_most(block);
    stale_[block] = 0;
  }
  stale_blocks_.clear();
  classes.forget_changed();
}

size_t ScoreTable::column(const Classes& classes, const Scorer& scorer, KindId kind) {
  if (kind >= column_of_.size()) column_of_.resize(kind + 1, kNoColumn);
  const auto least_cpu = static_cast<int32_t>(scorer.least_cpu(kind));
  size_t at = column_of_[kind];
  if (at == kNoColumn) {
    at = columns_.size();
    if (at < kMaxColumns) {
      columns_.emplace_back();
      if (at == width_) widen();
    } else {
      at = static_cast<size_t>(std::ranges::min_element(columns_, {}, &Column::used) - columns_.begin());
      column_of_[columns_[at].kind] = kNoColumn;
      for (size_t row = 0; row < owner_.size(); ++row) totals_[row * width_ + at] = kUnknown;
    }
    column_of_[kind] = static_cast<uint16_t>(at);
    columns_[at].kind = kind;
    least_cpu_[at] = least_cpu;
    show_column(classes, at);
  } else if (least_cpu_[at] != least_cpu) {
    least_cpu_[at] = least_cpu;
    show_column(classes, at);
  }
  columns_[at].used = ++uses_;
  return at;
}

size_t ScoreTable::work_out_block(const Classes& classes, Scorer& scorer, size_t column, size_t block) {
  const KindId kind = columns_[column].kind;
  size_t done = 0;
  for (SlotId slot = static_cast<SlotId>(block * kBlock); slot < (block + 1) * kBlock; ++slot) {
    if (shown_[slot * width_ + column] != kUnknown) continue;
    const Live& live = classes.slots()[slot];
    const size_t at = row_at_[slot] * width_ + column;
    parts_[at] = scorer.score(classes[live.id].state, classes[live.id].worth, kind);
    totals_[at] =
        parts_[at].fixed == Score::kNowhere ? Score::kNowhere : scorer.total(parts_[at], live.type, kind);
    shown_[slot * width_ + column] = totals_[at];
    ++done;
  }
  block_most(block, column);
  scores_ += done;
  return done;
}

size_t ScoreTable::work_out(const Classes& classes, Scorer& scorer, KindId kind, size_t least) {
  const size_t at = column(classes, scorer, kind);
  size_t done = 0;
  for (size_t block = 0; block < stale_.size() && done < least; ++block) {
    if (most_[block * width_ + at] == kUnknown) done += work_out_block(classes, scorer, at, block);
  }
  return done;
}

// The block with the highest maximum first, then those that could hold something better.
ScoreTable::Place ScoreTable::best(const Classes& classes, Scorer& scorer, KindId kind, const Need& need,
                                   const Place& after) {
  work_out(classes, scorer, kind, SIZE_MAX);
  const size_t column = column_of_[kind];
  Place found;
  const auto search = [&](size_t block) {
    for (SlotId slot = static_cast<SlotId>(block * kBlock); slot < (block + 1) * kBlock; ++slot) {
      const int32_t score = shown_[slot * width_ + column];
      if (score == Score::kNowhere || score < found.score || score > after.score) continue;
      const Live& live = classes.slots()[slot];
      if (score == found.score && live.hash >= found.hash) continue;
      if (score == after.score && live.hash <= after.hash) continue;
      if (live.max_cpu_milli < need.cpu_milli || live.max_memory_bytes < need.memory_bytes) continue;
      found = {slot, score, live.hash};
    }
  };
  size_t top = 0;
  for (size_t block = 1; block < stale_.size(); ++block) {
    if (most_[block * width_ + column] > most_[top * width_ + column]) top = block;
  }
  if (!stale_.empty()) search(top);
  for (size_t block = 0; block < stale_.size(); ++block) {
    const int32_t most = most_[block * width_ + column];
    if (block != top && most != Score::kNowhere && most >= found.score) search(block);
  }
  return found;
}

}  // namespace tweendeck::placement::fragmentation
