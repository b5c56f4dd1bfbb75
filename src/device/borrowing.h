// Borrowing: who may use what part of a device's time that its owners leave idle. Pure; not thread-safe.
//
//   Borrowing borrowing;                                    // one per device, kept between rounds
//   for (const ShareGrant& grant : borrowing.decide(now, slices, others_permille)) ...   // in their order
//
// A slice has a floor (its own), a ceiling and a weight. Its floor is its own at once: the library in the
// tenant never takes less, so an owner that returns does not wait for a round. A round only says what is
// lent:
//
// - the reserve of a slice is the part of its floor that is kept free for it. It is the whole floor from the
//   first sign of work on, and shrinks only while the slice shows, with all of its floor at its disposal,
//   that it needs less; so a slice that is slowed down by borrowers is not taken for one that wants little.
// - what the reserves leave of the whole goes to the slices that want more, the highest priority first,
//   within one priority by weight, never above a ceiling. Everything that is wanted is given
//   (work-conserving).
//
// The sum of the grants is never above the whole, as long as the floors are not.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "base/clock.h"

namespace tweendeck::device {

inline constexpr uint32_t kWholePermille = 1000;
inline constexpr Nanos kBorrowPeriod = 5 * kMillisecond;  // between rounds while somebody borrows or waits
inline constexpr Nanos kYieldTo =
    2 * kBorrowPeriod;  // a higher priority counts as at work for so long after a sign of it
inline constexpr Nanos kLendAfter = 100 * kMillisecond;  // how long a floor stays reserved that is not needed
inline constexpr uint32_t kLeastHeadroomPermille = 20;   // above the use that was seen, at least
inline constexpr uint32_t kHeadroomDivisor = 8;          // and this part of it

// What one slice is granted and what it does. Counters are those of its usage page: they only grow.
struct SliceActivity {
  std::string id;
  uint32_t floor_permille = 0;
  uint32_t ceiling_permille = 0;  // 0 or above the whole: not limited; below the floor: the floor
  uint32_t weight = 1;            // 0 counts as 1
  int32_t priority = 0;           // higher goes first
  bool paused = false;
  uint64_t charged_ns = 0;    // GPU time charged so far
  uint64_t throttled_ns = 0;  // time that threads waited for the share so far
  bool waiting = false;       // somebody waits right now, where that is known
  Nanos last_active = 0;      // when it last launched, wanted to or had work queued, where that is known
};

struct ShareGrant {
  uint32_t effective_permille = 0;  // share of the whole that the slice may use until the next round
  uint32_t borrowed_permille = 0;   // of that, above its floor
  uint32_t reserve_permille = 0;    // part of its floor that was not lent
  bool wants_more = false;          // waited since the last round
  bool yields = false;              // has had its floor while a slice of higher priority is at work
};

class Borrowing {
 public:
  // `others_permille`: device time used outside of all slices; it can be lent to nobody. Slices that are not
  // named any more are forgotten.
  std::vector<ShareGrant> decide(Nanos now, const std::vector<SliceActivity>& slices,
                                 uint32_t others_permille);

  // Whether the last round found anybody who borrows or could, so that the next is due after kBorrowPeriod.
  bool is_busy() const { return busy_; }

 private:
  struct Seen {
    Nanos at = 0;
    Nanos active_at = 0;
    Nanos whole_at = 0;  // when all of the floor was last needed, or thought to be
    uint64_t charged_ns = 0;
    uint64_t throttled_ns = 0;
    bool at_work = false;  // had work queued at that time
    double use = 0;        // permille, smoothed
    double reserve = 0;    // permille of the whole
    bool active = false;
    bool wants_more = false;
  };
  void observe(Nanos now, const SliceActivity& slice, Seen& seen) const;

  std::map<std::string, Seen, std::less<>> seen_;
  bool busy_ = false;
};

}  // namespace tweendeck::device
