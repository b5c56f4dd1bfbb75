#include "sim/book.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>

namespace tweendeck::sim {

namespace {

Bar bar_at(const NodeState& node, int64_t memory_mib, const TracePod& pod, const Ask& ask) {
  if (ask.gpus > 0 && !node.has_model(ask)) return Bar::Model;
  if (!gpu_fits(node, ask)) return Bar::Gpu;
  if (node.cpu_milli < ask.cpu_milli) return Bar::Cpu;
  return memory_mib < pod.memory_mib ? Bar::Memory : Bar::None;
}

}  // namespace

std::string_view to_string(Bar bar) {
  switch (bar) {
    case Bar::None:
      return "none";
    case Bar::Model:
      return "model";
    case Bar::Gpu:
      return "gpu";
    case Bar::Cpu:
      return "cpu";
    case Bar::Memory:
      return "memory";
  }
  return "";
}

Book::Book(const NodeList& list) {
  for (const TraceNode& node : list.nodes) {
    NodeState state;
    state.cpu_milli = node.cpu_milli;
    state.gpus = node.gpus;
    state.model = node.model;
    std::fill_n(state.rest.begin(), node.gpus, static_cast<int16_t>(kGpuMilli));
    nodes_.push_back(state);
    memory_mib_.push_back(node.memory_mib);
  }
  up_.assign(nodes_.size(), true);
  pods_of_class_.resize(nodes_.size());
  total_milli_ = list.gpu_milli();
}

Bar Book::bar(const TracePod& pod) const {
  const Ask ask = ask_of(pod);
  std::array<size_t, kBars.size()> nodes{};
  for (uint32_t at = 0; at < nodes_.size(); ++at) {
    if (!up_[at]) continue;
    Bar here = bar_at(nodes_[at], memory_mib_[at], pod, ask);
    if (here == Bar::None) return Bar::None;
    ++nodes[static_cast<size_t>(here) - 1];
  }
  auto most = std::max_element(nodes.begin() + 1, nodes.end());
  return *most == 0 ? Bar::Model : kBars[static_cast<size_t>(most - nodes.begin())];
}

Status Book::place(const TracePod& pod, Placed placed) {
  const Ask ask = ask_of(pod);
  bool valid = placed.node < nodes_.size() && std::popcount(placed.gpus) == ask.gpus &&
               placed.gpus >> nodes_[placed.node].gpus == 0 && has_room(placed.node, pod);
  for (int gpu = 0; valid && gpu < kMaxGpus; ++gpu)
    valid = (placed.gpus >> gpu & 1) == 0 || nodes_[placed.node].rest[gpu] >= ask.gpu_milli;
  if (!valid) {
    return fail(Reason::Internal,
                fmt::format("the policy put pod {} on node {}, GPUs {:#x}, which has no room for it",
                            pod.name, placed.node, placed.gpus),
                "this is a defect; please report it with the trace and the policy");
  }
  nodes_[placed.node] = after(nodes_[placed.node], ask, placed.gpus);
  memory_mib_[placed.node] -= pod.memory_mib;
  allocated_milli_ += ask.asked_milli();
  count(placed.node, class_of(ask), 1);
  return {};
}

void Book::release(const TracePod& pod, Placed placed) {
  const Ask ask = ask_of(pod);
  NodeState& node = nodes_[placed.node];
  node.cpu_milli += ask.cpu_milli;
  for (int gpu = 0; gpu < node.gpus; ++gpu)
    if ((placed.gpus >> gpu & 1) != 0) node.rest[gpu] = static_cast<int16_t>(node.rest[gpu] + ask.gpu_milli);
  memory_mib_[placed.node] += pod.memory_mib;
  allocated_milli_ -= ask.asked_milli();
  count(placed.node, class_of(ask), -1);
}

void Book::set_up(uint32_t node, bool up) {
  up_[node] = up;
}

void Book::count(uint32_t node, uint8_t pod_class, int by) {
  if (pod_class == 0) return;
  uint16_t& pods = pods_of_class_[node][static_cast<size_t>(std::countr_zero(pod_class))];
  pods = static_cast<uint16_t>(pods + by);
  if (pods == 0)
    nodes_[node].classes &= static_cast<uint8_t>(~pod_class);
  else
    nodes_[node].classes |= pod_class;
}

}  // namespace tweendeck::sim
