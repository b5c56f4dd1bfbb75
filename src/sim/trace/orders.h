// Arrival orders: who arrives when, and which node wins a tie. Text, three lines per seed (gzip is the caller's):
//
//   seed S nodes N arrivals A
//   N ranks: the i-th is the rank of node i; of nodes with equal scores the lowest rank wins
//   A rows of the pod list, 0-based, in order of arrival; a row may come more than once
//
// Pure; the text is any bytes.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace tweendeck::sim {

inline constexpr size_t kMaxSeeds = 1000;
inline constexpr int64_t kMaxArrivals = 100'000'000;

struct Order {
  uint32_t seed = 0;
  std::vector<uint32_t> ranks;     // by node; a permutation
  std::vector<uint32_t> arrivals;  // rows of the pod list
  bool operator==(const Order&) const = default;
};

// Errors: InvalidArgument with file and line; also when an order is not for `nodes` nodes or `pods` pods.
Result<std::vector<Order>> parse_orders(std::string_view text, const std::string& source, size_t nodes,
                                        size_t pods);

// For repeat_nodes(nodes, times): each copy's ranks follow the former's, and the arrivals come `times` times.
Order repeat_order(const Order& order, uint32_t times);

}  // namespace tweendeck::sim
