// What the probe can do; each prints one JSON object and returns the exit code.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace probe {

struct SpinOptions {
  std::string mode;  // plain, graph, cooperative, extended, mixed
  double seconds = 0;
  uint64_t kernel_us = 0;
  double on_ms = 0, off_ms = 0;  // bursts; 0 = always on
  std::string log;               // file for the device's own log: {start, end, own} ns each
};

int info();
int spin(const SpinOptions& options);
// Per way to launch and kernel length: what part of the time kernels run themselves when nothing holds them back.
int saturate(double seconds, const std::vector<std::string>& kernels_us);
// Takes memory by one path down to the finest piece that is granted; holds it until a line comes on stdin.
int fill(const std::string& path);
int race(double seconds, unsigned seed);
int ipc_export(uint64_t bytes);
int ipc_import(const std::string& handle);
// Added nanoseconds per call: launch, pair (alloc + free), info.
int cost(const std::string& what);
// Asks for the memory total again and again and prints when it changed.
int follow(double seconds);
int hold();

}  // namespace probe
