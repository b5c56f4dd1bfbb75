#include "bench/vgpu/matrix.h"

#include <algorithm>
#include <set>
#include <utility>

namespace tweendeck::bench {
namespace {

constexpr uint32_t kSms[] = {16, 56, 108, 132, 188};
constexpr uint64_t kKernelsNs[] = {10'000, 100'000, kMs, 20 * kMs, 50 * kMs};
constexpr const char* kKinds[] = {"plain", "graph", "cooperative", "mixed"};

std::vector<Cell> single_slices() {
  std::vector<Cell> cells;
  for (const uint32_t cap : {10, 30, 50, 70}) {
    for (const uint32_t sms : kSms) {
      for (const uint64_t kernel_ns : kKernelsNs) {
        for (const char* kind : kKinds) {
          for (const uint32_t processes : {1, 4, 16}) {
            cells.push_back(
                {.caps = {cap}, .sms = sms, .kernel_ns = kernel_ns, .kind = kind, .processes = processes});
          }
        }
      }
    }
  }
  return cells;
}

std::vector<Cell> two_slices() {
  struct Way {
    const char* execution;
    bool half;
  };
  std::vector<Cell> cells;
  for (const Way way :
       {Way{"fifo", false}, {"time-sliced", false}, {"overlapping", false}, {"overlapping", true}}) {
    for (const uint32_t sms : kSms) {
      for (const uint64_t kernel_ns : kKernelsNs) {
        for (const char* kind : kKinds) {
          cells.push_back({.caps = {30, 70},
                           .sms = sms,
                           .kernel_ns = kernel_ns,
                           .kind = kind,
                           .execution = way.execution,
                           .half = way.half});
        }
      }
    }
  }
  return cells;
}

std::vector<Cell> borrowers() {
  std::vector<Cell> cells;
  for (const uint32_t floor : {10, 30, 50}) {
    for (const char* execution : {"fifo", "time-sliced", "overlapping"}) {
      for (const uint64_t kernel_ns : kKernelsNs) {
        for (const char* kind : kKinds) {
          cells.push_back({.caps = {floor, 100 - floor},
                           .kernel_ns = kernel_ns,
                           .kind = kind,
                           .execution = execution,
                           .borrow = true});
        }
      }
    }
  }
  return cells;
}

using Value = std::pair<size_t, std::string>;  // of which property
using Pair = std::pair<Value, Value>;

std::set<Pair> pairs_of(const Cell& cell) {
  const std::string values[] = {
      std::to_string(cell.caps.front()), std::to_string(cell.sms),
      std::to_string(cell.kernel_ns),    cell.kind,
      std::to_string(cell.processes),    cell.execution + (cell.half ? "/half" : "")};
  std::set<Pair> pairs;
  for (size_t a = 0; a < std::size(values); ++a) {
    for (size_t b = a + 1; b < std::size(values); ++b) pairs.insert({{a, values[a]}, {b, values[b]}});
  }
  return pairs;
}

}  // namespace

std::vector<Cell> all_cells(Group group) {
  switch (group) {
    case Group::Alone:
      return single_slices();
    case Group::Tenants:
      return two_slices();
    case Group::Borrowing:
      return borrowers();
  }
  return {};
}

// Greedy: always the cell with the most pairs that are still missing.
std::vector<Cell> pairwise_cells(Group group) {
  const std::vector<Cell> cells = all_cells(group);
  std::vector<Cell> chosen;
  std::vector<std::set<Pair>> pairs;
  std::set<Pair> missing;
  for (const Cell& cell : cells) {
    pairs.push_back(pairs_of(cell));
    missing.insert(pairs.back().begin(), pairs.back().end());
  }
  while (!missing.empty()) {
    size_t best = 0;
    size_t best_count = 0;
    for (size_t i = 0; i < cells.size(); ++i) {
      size_t count = 0;
      for (const Pair& pair : pairs[i]) count += missing.contains(pair);
      if (count > best_count) best = i;
      best_count = std::max(best_count, count);
    }
    for (const Pair& pair : pairs[best]) missing.erase(pair);
    chosen.push_back(cells[best]);
  }
  return chosen;
}

}  // namespace tweendeck::bench
