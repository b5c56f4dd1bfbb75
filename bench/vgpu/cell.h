// One cell of the accuracy matrix: tenants as real processes under the preloaded library, with real pages, on
// a software GPU whose clock is virtual. The caller's process plays the node: it takes part in virtual time,
// gives the daemon's own feedback and reads, as NVML would, how long each slice was busy.
//
// A cell is a line of text, "cap=30 sms=132 kernel=1ms kind=graph processes=4"; caps of several slices as in
// cap=30+70, borrow=yes, execution=fifo (the default), time-sliced or overlapping, with fill=half for kernels that take
// half of the SMs. The same cell gives the same figures on every machine. One cell at a time in a process.
#pragma once

#include <algorithm>
#include <cstdint>
#include <expected>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace tweendeck::bench {

inline constexpr uint64_t kMs = 1'000'000;
inline constexpr uint64_t kWindowNs = 250 * kMs;
inline constexpr uint64_t kRunNs = 5'000 * kMs;
inline constexpr double kMeanPoints = 2;
inline constexpr double kWindowPoints = 5;

// Borrowing: all slices but the last use what they get from the start; the last, the owner, comes back.
inline constexpr uint64_t kLentFromNs = 500 * kMs;
inline constexpr uint64_t kReturnNs = 2'000 * kMs;
inline constexpr uint64_t kControlPeriodNs =
    20 * kMs;  // by then the owner has its floor, or after one unit of work
inline constexpr uint64_t kBorrowerQueueNs =
    2 * kMs;  // the owner's first launch waits no longer, or for one unit
inline constexpr double kLentPercent = 95;

struct Cell {
  std::vector<uint32_t> caps = {30};  // percent, one slice each
  uint32_t sms = 132;
  uint64_t kernel_ns = kMs;
  std::string kind = "plain";  // plain, graph, cooperative, mixed
  uint32_t processes = 1;      // of each slice
  std::string execution = "fifo";
  bool half = false;    // kernels take half of the SMs
  bool borrow = false;  // caps are floors, everything idle is lent, the last slice is idle until kReturnNs

  std::string text() const;
  uint64_t unit_ns() const;  // longest unit of work: a kernel or a graph
};
// From then on an owner that came back has its floor.
inline uint64_t floor_from_ns(const Cell& cell) {
  return kReturnNs + std::max(kControlPeriodNs, cell.unit_ns());
}
std::expected<Cell, std::string> parse_cell(std::string_view text);

struct SliceResult {
  double mean_percent = 0;
  std::vector<double> windows_percent;
};

struct BorrowResult {
  double lent_percent = 0;       // what the borrowers had of the device before the owner came back
  bool started_in_time = false;  // the owner's first work
  double first_percent = 0;      // what the owner had in the first window from when it must have its floor
  double rest_percent = 0;       // ... and after that window to the end
};

struct CellResult {
  std::vector<SliceResult> slices;
  std::optional<BorrowResult> borrow = {};
  double cpu_seconds = 0;
  uint64_t waits = 0;  // how often a process waited in virtual time: what sleeping and polling would cost

  // What misses its target, in words; empty when all is within it. With one slice every window counts; with
  // several, which get in each other's way, the means; with borrowing what the owner is promised.
  std::string misses(const Cell& cell) const;
};

// Where the build put things.
struct Built {
  std::string root;  // build/release

  std::string tenant() const { return root + "/bin/vgpu_tenant"; }
  std::string drivers() const { return root + "/lib/softgpu"; }
  std::string library() const { return root + "/lib/libtweendeck-vgpu.so"; }
};

std::expected<CellResult, std::string> run_cell(const Cell& cell, const Built& built);

}  // namespace tweendeck::bench
