// Kernel: what the cgroup code asks of the operating system, behind one interface so that tests can stand in
// a kernel with cgroup v2 where the machine has v1. The base class is the real thing. Stateless; safe from
// any thread. Functions that return int return 0 or an errno value.
#pragma once

#include <sys/types.h>

#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"

namespace tweendeck::device {

class Kernel {
 public:
  virtual ~Kernel() = default;

  virtual int read(const std::string& path, std::string& out);  // at most 1 MiB
  virtual int write(const std::string& path, std::string_view text);
  virtual int make_folder(const std::string& path);  // EEXIST when it is there
  virtual int remove_folder(const std::string& path);
  virtual std::vector<std::string> folders(
      const std::string& path);  // names below, sorted; empty on any error
  virtual int kill(pid_t pid);   // SIGKILL
  virtual void pause(Nanos duration);
};

}  // namespace tweendeck::device
