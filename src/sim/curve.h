// The published sampling rule: a curve over the GPUs that arrived, in percent of the cluster's. Pure.
//
// After each arrival, placed or not, the value of that moment, rounded to 0.01, goes into the bucket of the arrived
// percent, rounded to a whole number; a bucket's value is the mean of what is in it, rounded to 0.01 (FGD simulator,
// experiments/analysis). Halves of buckets and means go to the even neighbour, as in the Python of the published
// analysis. Integers throughout.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace tweendeck::sim {

inline constexpr size_t kMaxPercent = 1000;  // further arrivals count into the last bucket

class Curve {
 public:
  // `part` of `whole`, at `arrived` of `total`; `whole` and `total` are above 0.
  void add(int64_t arrived, int64_t total, int64_t part, int64_t whole);

  size_t size() const { return buckets_.size(); }  // percents 0 .. size() - 1
  bool has(size_t percent) const { return percent < buckets_.size() && buckets_[percent].count > 0; }
  int64_t hundredths(size_t percent) const;  // has(percent)
  // The mean ends in exactly half a hundredth: in floating point it may round either way.
  bool is_tie(size_t percent) const;

 private:
  struct Bucket {
    int64_t sum = 0;  // hundredths of a percent
    int64_t count = 0;
  };
  std::vector<Bucket> buckets_;
};

// part / whole, rounded to the nearest whole number, halves up. part >= 0, whole > 0.
constexpr int64_t rounded(int64_t part, int64_t whole) {
  return (2 * part + whole) / (2 * whole);
}

// The same with halves to the even neighbour.
constexpr int64_t rounded_to_even(int64_t part, int64_t whole) {
  const int64_t up = rounded(part, whole);
  return up % 2 != 0 && 2 * part + whole == 2 * whole * up ? up - 1 : up;
}

}  // namespace tweendeck::sim
