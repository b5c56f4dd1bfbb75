#include "base/clock.h"

#include <time.h>

namespace tweendeck {
namespace {

Nanos read_clock(clockid_t id) {
  timespec ts{};
  clock_gettime(id, &ts);
  return ts.tv_sec * kSecond + ts.tv_nsec;
}

}  // namespace

Nanos SystemClock::now() const {
  return read_clock(CLOCK_MONOTONIC);
}
Nanos SystemClock::wall_now() const {
  return read_clock(CLOCK_REALTIME);
}

uint64_t Random::next() {
  uint64_t z = (state_ += 0x9e3779b97f4a7c15);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return z ^ (z >> 31);
}

uint64_t Random::below(uint64_t bound) {
  // Multiply-shift keeps the bias below 2^-32 for the bounds used here (< 2^32) and needs no division.
  return static_cast<uint64_t>((static_cast<__uint128_t>(next()) * bound) >> 64);
}

double Random::unit() {
  return static_cast<double>(next() >> 11) * 0x1.0p-53;
}

}  // namespace tweendeck
