// A hard budget of bytes that several structures share. One thread.
#pragma once

#include <cstddef>

namespace tweendeck::routing::kv {

class Budget {
 public:
  explicit Budget(size_t limit) : limit_(limit) {}
  bool take(size_t bytes) {
    if (bytes > limit_ - used_) return false;
    used_ += bytes;
    return true;
  }
  void give(size_t bytes) { used_ -= bytes; }
  size_t used() const { return used_; }
  size_t limit() const { return limit_; }

 private:
  size_t limit_;
  size_t used_ = 0;
};

}  // namespace tweendeck::routing::kv
