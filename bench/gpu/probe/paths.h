// The ways to take device memory that a driver has, each as take(bytes) and release_all().
#pragma once

#include <cstdint>
#include <memory>
#include <string>

namespace probe {

class Path {
 public:
  virtual ~Path() = default;
  // The driver's code. Whatever it granted stays until release_all().
  virtual int take(uint64_t bytes) = 0;
  virtual void release_all() = 0;
  // No piece below this is asked for, and all are multiples of it: the driver's own granularity.
  virtual uint64_t finest() const = 0;
  // What the driver takes for such a piece at most, so that less than this is left when one is refused.
  virtual uint64_t slack() const { return finest(); }
};

// linear, pitch, managed, array, mipmap, virtual, async, pool, graph. Ends the process with kNotThere when
// the driver or the device has no such memory.
std::unique_ptr<Path> make_path(const std::string& name);

}  // namespace probe
