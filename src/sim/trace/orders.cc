#include "sim/trace/orders.h"

#include <fmt/format.h>

#include "base/text.h"
#include "sim/trace/lines.h"

namespace tweendeck::sim {

namespace {

constexpr std::string_view kHeader = "an order starts with the line: seed S nodes N arrivals A";

// Exactly `count` numbers below `limit`, separated by single spaces.
Result<std::vector<uint32_t>> numbers(Lines& lines, std::string_view what, size_t count, size_t limit) {
  std::string_view line;
  if (!lines.next(line))
    return fail(lines.error(fmt::format("the file ends before its {}", what), "copy the file again"));
  std::vector<uint32_t> found;
  // The line says how many there can be: a header with a wild count must not allocate for it.
  found.reserve(std::min(count, line.size() / 2 + 1));
  while (!line.empty()) {
    size_t space = line.find(' ');
    Result<int64_t> value = lines.whole(line.substr(0, space), what, 0, static_cast<int64_t>(limit) - 1);
    if (!value) return fail(value.error());
    found.push_back(static_cast<uint32_t>(*value));
    if (space == std::string_view::npos) break;
    line.remove_prefix(space + 1);
  }
  if (found.size() != count) {
    return fail(lines.error(fmt::format("{} {}, the header says {}", found.size(), what, count),
                            "copy the file again"));
  }
  return found;
}

Result<Order> parse_order(Lines& lines, std::string_view header, size_t nodes, size_t pods) {
  std::vector<std::string_view> words = split(header, ' ');
  if (words.size() != 6 || words[0] != "seed" || words[2] != "nodes" || words[4] != "arrivals")
    return fail(lines.error("not a header of an order", std::string(kHeader)));
  Result<int64_t> seed = lines.whole(words[1], "seed", 0, UINT32_MAX);
  if (!seed) return fail(seed.error());
  Result<int64_t> node_count = lines.whole(words[3], "nodes", 1, INT32_MAX);
  if (!node_count) return fail(node_count.error());
  Result<int64_t> arrivals = lines.whole(words[5], "arrivals", 1, kMaxArrivals);
  if (!arrivals) return fail(arrivals.error());
  if (static_cast<size_t>(*node_count) != nodes) {
    return fail(lines.error(fmt::format("an order for {} nodes, the node list has {}", *node_count, nodes),
                            "give the node list that the order was made for"));
  }
  Order order;
  order.seed = static_cast<uint32_t>(*seed);
  Result<std::vector<uint32_t>> ranks = numbers(lines, "ranks", nodes, nodes);
  if (!ranks) return fail(ranks.error());
  std::vector<bool> taken(nodes, false);
  for (uint32_t rank : *ranks) {
    if (taken[rank]) {
      return fail(lines.error(fmt::format("rank {} comes twice", rank),
                              fmt::format("the ranks are 0 to {}, each once", nodes - 1)));
    }
    taken[rank] = true;
  }
  Result<std::vector<uint32_t>> rows = numbers(lines, "arrivals", static_cast<size_t>(*arrivals), pods);
  if (!rows) return fail(rows.error());
  order.ranks = std::move(*ranks);
  order.arrivals = std::move(*rows);
  return order;
}

}  // namespace

Result<std::vector<Order>> parse_orders(std::string_view text, const std::string& source, size_t nodes,
                                        size_t pods) {
  Lines lines(text, source);
  std::vector<Order> orders;
  std::string_view header;
  while (lines.next(header)) {
    Result<Order> order = parse_order(lines, header, nodes, pods);
    if (!order) return fail(order.error());
    for (const Order& other : orders) {
      if (other.seed == order->seed) {
        return fail(lines.error(fmt::format("seed {} comes twice", order->seed), "one order per seed"));
      }
    }
    if (orders.size() == kMaxSeeds)
      return fail(lines.error(fmt::format("more than {} seeds", kMaxSeeds), "split the file"));
    orders.push_back(std::move(*order));
  }
  if (orders.empty()) return fail(lines.error("no orders", std::string(kHeader)));
  return orders;
}

Order repeat_order(const Order& order, uint32_t times) {
  Order all = order;
  const uint32_t nodes = static_cast<uint32_t>(order.ranks.size());
  for (uint32_t copy = 1; copy < times; ++copy) {
    for (uint32_t rank : order.ranks) all.ranks.push_back(rank + copy * nodes);
    all.arrivals.insert(all.arrivals.end(), order.arrivals.begin(), order.arrivals.end());
  }
  return all;
}

}  // namespace tweendeck::sim
