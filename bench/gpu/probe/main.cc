// A tenant for the GPU suite: what one process gets out of a slice, on a real GPU or a software one.
//
//   gpu_probe info | hold                     the device as the tenant sees it | a context, until stdin ends
//   gpu_probe spin MODE SECONDS KERNEL_US LOG [ON_MS OFF_MS]
//   gpu_probe saturate SECONDS KERNEL_US...   what part of the time kernels run when nothing holds them back
//   gpu_probe fill PATH                       takes memory down to the finest piece; see paths.h
//   gpu_probe race SECONDS SEED               takes and gives back random pieces, at the limit
//   gpu_probe ipc-export BYTES | ipc-import HANDLE
//   gpu_probe cost launch|pair|info           what a preloaded library adds to the call
//   gpu_probe follow SECONDS                  when the memory total changed
//
// JSON objects on stdout, one per line. Exit code 3: this driver or device has no such thing.
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "driver.h"
#include "modes.h"

namespace {

int run(const std::vector<std::string>& args) {
  const std::string& mode = args[0];
  const auto number = [&](size_t i) { return std::atof(args[i].c_str()); };
  const auto is = [&](const char* name, size_t count) { return mode == name && args.size() == count + 1; };
  if (is("info", 0)) return probe::info();
  if (is("hold", 0)) return probe::hold();
  if (is("spin", 4) || is("spin", 6)) {
    probe::SpinOptions options{args[1], number(2), static_cast<uint64_t>(number(3)), 0, 0, args[4]};
    if (args.size() == 7) options.on_ms = number(5), options.off_ms = number(6);
    return probe::spin(options);
  }
  if (mode == "saturate" && args.size() > 2)
    return probe::saturate(number(1), {args.begin() + 2, args.end()});
  if (is("fill", 1)) return probe::fill(args[1]);
  if (is("race", 2)) return probe::race(number(1), static_cast<unsigned>(number(2)));
  if (is("ipc-export", 1)) return probe::ipc_export(static_cast<uint64_t>(number(1)));
  if (is("ipc-import", 1)) return probe::ipc_import(args[1]);
  if (is("cost", 1)) return probe::cost(args[1]);
  if (is("follow", 1)) return probe::follow(number(1));
  probe::stop(probe::kUsage, "usage: see the head of main.cc; not ", mode.c_str());
}

}  // namespace

int main(int count, char** words) {
  const std::vector<std::string> args(words + 1, words + count);
  if (args.empty()) probe::stop(probe::kUsage, "usage: gpu_probe MODE ...", "");
  probe::start_driver();
  return run(args);
}
