#include "sim/curve.h"

#include <algorithm>

namespace tweendeck::sim {

void Curve::add(int64_t arrived, int64_t total, int64_t part, int64_t whole) {
  size_t percent = std::min(static_cast<size_t>(rounded_to_even(100 * arrived, total)), kMaxPercent);
  if (percent >= buckets_.size()) buckets_.resize(percent + 1);
  buckets_[percent].sum += rounded(10'000 * part, whole);
  ++buckets_[percent].count;
}

int64_t Curve::hundredths(size_t percent) const {
  return rounded_to_even(buckets_[percent].sum, buckets_[percent].count);
}

bool Curve::is_tie(size_t percent) const {
  const Bucket& bucket = buckets_[percent];
  return 2 * bucket.sum % (2 * bucket.count) == bucket.count;
}

}  // namespace tweendeck::sim
