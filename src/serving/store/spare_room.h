// A file that takes up room in the state directory, so that a full disk can still record that something ends.
//
// Kept while the disk has plenty; given up by the first command that removes something and finds the disk
// full. Safe from any thread: its only state is the file.
#pragma once

#include <cstdint>
#include <string>

namespace tweendeck::serving {

inline constexpr uint64_t kSpareBytes = 4ull << 20;  // what SQLite's log may grow to before it starts over
inline constexpr uint64_t kSpareNeedsFree =
    4 * kSpareBytes;  // it is not made where it would be a large part of what is left

class SpareRoom {
 public:
  explicit SpareRoom(const std::string& state_dir) : path_(state_dir + "/spare") {}

  // Makes the file unless it is there or the disk has less than kSpareNeedsFree left.
  void keep() const;
  // True when there was one: now its bytes are free.
  bool give_up() const;

 private:
  std::string path_;
};

}  // namespace tweendeck::serving
