// Time and randomness are injected, so that every decision can be replayed.
//
// Engines take `Nanos now` as an argument and never ask a clock. Adapters hold a Clock&.
// ManualClock is for tests. All are safe from any thread.
#pragma once

#include <atomic>
#include <cstdint>

namespace tweendeck {

using Nanos = int64_t;  // nanoseconds; on the monotonic time line unless a name says `wall`

inline constexpr Nanos kMicrosecond = 1'000;
inline constexpr Nanos kMillisecond = 1'000'000;
inline constexpr Nanos kSecond = 1'000'000'000;

class Clock {
 public:
  virtual ~Clock() = default;
  virtual Nanos now() const = 0;       // monotonic
  virtual Nanos wall_now() const = 0;  // since the Unix epoch, for people and records
};

class SystemClock final : public Clock {
 public:
  Nanos now() const override;
  Nanos wall_now() const override;
};

class ManualClock final : public Clock {
 public:
  explicit ManualClock(Nanos start = 0) : now_(start) {}
  Nanos now() const override { return now_.load(std::memory_order_relaxed); }
  Nanos wall_now() const override { return now(); }
  void advance(Nanos by) { now_.fetch_add(by, std::memory_order_relaxed); }

 private:
  std::atomic<Nanos> now_;
};

// Deterministic random numbers (SplitMix64, Steele et al. 2014): same seed, same sequence, on every machine.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}
  uint64_t next();
  uint64_t below(uint64_t bound);  // uniform in [0, bound); bound > 0
  double unit();                   // uniform in [0, 1)

 private:
  uint64_t state_;
};

}  // namespace tweendeck
