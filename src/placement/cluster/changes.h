// A bounded log of which nodes changed, for indices that catch up. Readers keep a cursor each.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace tweendeck::placement {

// What a reader may be behind before it must read everything again.
inline constexpr size_t kChangeLog = 1u << 16;

class ChangeLog {
 public:
  struct Changes {
    std::span<const uint32_t> nodes;  // valid until the next change
    bool lost = false;                // older than the log: read everything again
  };

  void push(uint32_t node) {
    // Moved down once in kChangeLog pushes, so that what is left of the log is one span.
    if (log_.size() == 2 * kChangeLog) {
      log_.erase(log_.begin(), log_.begin() + kChangeLog);
      begin_ += kChangeLog;
    }
    log_.push_back(node);
  }

  // Nobody can catch up from before this point.
  void lose() {
    begin_ += log_.size() + 1;
    log_.clear();
  }

  uint64_t cursor() const { return begin_ + log_.size(); }

  Changes since(uint64_t cursor) const {
    if (cursor < begin_) return {{}, true};
    return {std::span(log_).subspan(static_cast<size_t>(cursor - begin_)), false};
  }

 private:
  std::vector<uint32_t> log_;
  uint64_t begin_ = 0;  // cursor of log_[0]
};

}  // namespace tweendeck::placement
