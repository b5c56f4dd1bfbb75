// Pace: how fast the replicas of one deployment work, learned from their own requests.
//
// It turns time into tokens and back, so that waiting for a busy replica can be compared with computing a
// prompt again. Sums decay with every sample and large samples weigh more, so one odd request moves little.
// Integers only.
#pragma once

#include <algorithm>
#include <cstdint>

#include "base/clock.h"

namespace tweendeck::routing {

class Pace {
 public:
  // A request's fixed cost (connection, template, one step), counted as prompt tokens.
  static constexpr uint64_t kOverheadTokens = 32;
  // Answers shorter than this say nothing about the speed of decoding.
  static constexpr uint64_t kMinDecodeSample = 8;

  Nanos prefill_ns_per_token() const { return prefill_.per_token(); }
  Nanos decode_ns_per_token() const { return decode_.per_token(); }
  uint64_t typical_output_tokens() const { return output_mean_x8_ / 8; }

  // `tokens` is what had to be prefilled until this first byte, other requests' tokens included.
  void saw_first_byte(Nanos took, uint64_t tokens) { prefill_.add(took, tokens + kOverheadTokens); }
  void saw_output(Nanos took, uint64_t tokens) {
    output_mean_x8_ = output_mean_x8_ - output_mean_x8_ / 8 + std::min<uint64_t>(tokens, kMaxTokens);
    if (took > 0 && tokens >= kMinDecodeSample) decode_.add(took, tokens);
  }

 private:
  static constexpr uint64_t kMaxTokens = 1 << 24;
  static constexpr Nanos kMaxSample = 3600 * kSecond;

  struct Rate {
    Nanos ns;
    uint64_t tokens;
    Nanos per_token() const {
      return std::clamp<Nanos>(ns / static_cast<Nanos>(tokens), kMicrosecond, kSecond);
    }
    void add(Nanos took, uint64_t count) {
      ns = ns - ns / 8 + std::clamp<Nanos>(took, 0, kMaxSample);
      tokens = tokens - tokens / 8 + std::clamp<uint64_t>(count, 1, kMaxTokens);
    }
  };
  // Before the first sample: a small model on a share of a CPU.
  Rate prefill_{64 * kMillisecond, 64};
  Rate decode_{16 * 16 * kMillisecond, 16};
  uint64_t output_mean_x8_ = 128 * 8;
};

}  // namespace tweendeck::routing
