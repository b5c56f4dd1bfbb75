// Keeps the last bytes of an answer and finds the engine's token counts in them, so that answers need no
// buffer. Works for a JSON answer and for the last event of a stream alike. Pure.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

namespace tweendeck::routing::dialect {

struct Usage {
  uint64_t prompt_tokens = 0;  // 0 = not told
  uint64_t output_tokens = 0;
  uint64_t cached_tokens = 0;
  bool operator==(const Usage&) const = default;
};

class UsageSniffer {
 public:
  static constexpr size_t kTailBytes = 2048;

  void reset() { size_ = 0; }
  void update(std::string_view content);
  Usage find() const;

 private:
  std::array<char, kTailBytes> ring_;
  uint64_t size_ = 0;  // of everything seen
};

}  // namespace tweendeck::routing::dialect
