#include "sim/trace/cluster_trace.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/text.h"
#include "sim/trace/lines.h"

namespace tweendeck::sim {

namespace {

constexpr size_t kMaxQueues = 256;  // TracePod::queue

// The index of `name`, added when it is new; -1 when there are `limit` others already.
int intern(std::vector<std::string>& names, std::string_view name, size_t limit) {
  auto found = std::ranges::find(names, name);
  if (found != names.end()) return static_cast<int>(found - names.begin());
  if (names.size() == limit) return -1;
  names.emplace_back(name);
  return static_cast<int>(names.size() - 1);
}

uint32_t model_set(std::string_view spec, const NodeList& nodes) {
  if (spec.empty()) return kAnyModel;
  uint32_t models = 0;
  for (std::string_view name : split(spec, '|')) {
    auto found = std::ranges::find(nodes.models, name);
    if (found != nodes.models.end()) models |= 1u << (found - nodes.models.begin());
  }
  return models;
}

struct PodColumns {
  int name, cpu, memory, gpus, milli, spec, qos, deletion, scheduled;
};

Result<int64_t> lifetime(const Lines& lines, const PodColumns& at,
                         const std::vector<std::string_view>& fields) {
  if (at.deletion < 0 || at.scheduled < 0 || fields[at.deletion].empty() || fields[at.scheduled].empty())
    return -1;
  Result<int64_t> end = lines.whole(fields[at.deletion], "deletion_time", 0, kMaxSeconds);
  if (!end) return end;
  Result<int64_t> start = lines.whole(fields[at.scheduled], "scheduled_time", 0, kMaxSeconds);
  if (!start) return start;
  if (*end < *start) {
    return fail(lines.error(fmt::format("deletion_time {} is before scheduled_time {}", *end, *start),
                            "both are seconds from the start of the trace"));
  }
  return *end - *start;
}

Result<TracePod> parse_pod(const Lines& lines, const PodColumns& at,
                           const std::vector<std::string_view>& fields) {
  TracePod pod;
  pod.name = fields[at.name];
  Result<int64_t> cpu = lines.whole(fields[at.cpu], "cpu_milli", 0, kMaxCpuMilli);
  if (!cpu) return fail(cpu.error());
  Result<int64_t> memory = lines.whole(fields[at.memory], "memory_mib", 0, kMaxMemoryMib);
  if (!memory) return fail(memory.error());
  Result<int64_t> gpus = lines.whole(fields[at.gpus], "num_gpu", 0, kMaxGpus);
  if (!gpus) return fail(gpus.error());
  Result<int64_t> milli = lines.whole(fields[at.milli], "gpu_milli", 0, kGpuMilli);
  if (!milli) return fail(milli.error());
  Result<int64_t> life = lifetime(lines, at, fields);
  if (!life) return fail(life.error());
  if (*gpus > 0 && *milli == 0) {
    return fail(lines.error(fmt::format("num_gpu is {} and gpu_milli 0", *gpus),
                            "a pod with GPUs asks for 1 to 1000 thousandths of each"));
  }
  if (*gpus > 1 && *milli != kGpuMilli) {
    return fail(lines.error(fmt::format("num_gpu is {} and gpu_milli {}", *gpus, *milli),
                            "a share is of one GPU; several GPUs are whole ones"));
  }
  pod.cpu_milli = static_cast<int32_t>(*cpu);
  pod.memory_mib = *memory;
  pod.gpus = static_cast<uint8_t>(*gpus);
  pod.gpu_milli = static_cast<int16_t>(*gpus == 0 ? 0 : *milli);
  if (at.spec >= 0) pod.spec = fields[at.spec];
  pod.lifetime_s = *life;
  return pod;
}

}  // namespace

int64_t NodeList::gpu_milli() const {
  int64_t sum = 0;
  for (const TraceNode& node : nodes) sum += node.gpus * kGpuMilli;
  return sum;
}

Result<NodeList> parse_nodes(std::string_view text, const std::string& source) {
  Lines lines(text, source);
  Result<Columns> columns = Columns::read(lines, {"sn", "cpu_milli", "memory_mib", "gpu", "model"});
  if (!columns) return fail(columns.error());
  const int name = columns->index("sn"), cpu_at = columns->index("cpu_milli");
  const int memory_at = columns->index("memory_mib"), gpu_at = columns->index("gpu");
  const int model_at = columns->index("model");
  NodeList list;
  std::string_view line;
  while (lines.next(line)) {
    Result<std::vector<std::string_view>> fields = columns->fields(lines, line);
    if (!fields) return fail(fields.error());
    Result<int64_t> cpu = lines.whole((*fields)[cpu_at], "cpu_milli", 0, kMaxCpuMilli);
    if (!cpu) return fail(cpu.error());
    Result<int64_t> memory = lines.whole((*fields)[memory_at], "memory_mib", 0, kMaxMemoryMib);
    if (!memory) return fail(memory.error());
    Result<int64_t> gpus = lines.whole((*fields)[gpu_at], "gpu", 0, kMaxGpus);
    if (!gpus) return fail(gpus.error());
    int model = intern(list.models, (*fields)[model_at], kMaxModels);
    if (model < 0) {
      return fail(
          lines.error(fmt::format("more than {} GPU models", kMaxModels), "split the trace by model"));
    }
    if (list.nodes.size() == kMaxNodes) {
      return fail(lines.error(fmt::format("more than {} nodes", kMaxNodes), "split the trace"));
    }
    list.nodes.push_back({std::string((*fields)[name]), static_cast<int32_t>(*cpu), *memory,
                          static_cast<uint8_t>(*gpus), static_cast<uint8_t>(model)});
  }
  if (list.gpu_milli() == 0)
    return fail(lines.error("no node has a GPU", "the simulation is about GPUs: give nodes with some"));
  return list;
}

Result<PodList> parse_pods(std::string_view text, const std::string& source, const NodeList& nodes) {
  Lines lines(text, source);
  Result<Columns> columns = Columns::read(lines, {"name", "cpu_milli", "memory_mib", "num_gpu", "gpu_milli"});
  if (!columns) return fail(columns.error());
  const PodColumns at{
      columns->index("name"),    columns->index("cpu_milli"),     columns->index("memory_mib"),
      columns->index("num_gpu"), columns->index("gpu_milli"),     columns->index("gpu_spec"),
      columns->index("qos"),     columns->index("deletion_time"), columns->index("scheduled_time")};
  PodList list;
  std::string_view line;
  while (lines.next(line)) {
    Result<std::vector<std::string_view>> fields = columns->fields(lines, line);
    if (!fields) return fail(fields.error());
    Result<TracePod> pod = parse_pod(lines, at, *fields);
    if (!pod) return fail(pod.error());
    int queue =
        intern(list.queues, at.qos < 0 || (*fields)[at.qos].empty() ? "-" : (*fields)[at.qos], kMaxQueues);
    if (queue < 0)
      return fail(lines.error(fmt::format("more than {} values of qos", kMaxQueues), "each is a queue"));
    if (list.pods.size() == kMaxPods)
      return fail(lines.error(fmt::format("more than {} pods", kMaxPods), "split the trace"));
    pod->queue = static_cast<uint8_t>(queue);
    pod->models = model_set(pod->spec, nodes);
    list.pods.push_back(std::move(*pod));
  }
  if (list.pods.empty()) return fail(lines.error("no pods", "one line per pod follows the header"));
  return list;
}

NodeList repeat_nodes(const NodeList& nodes, uint32_t times) {
  NodeList all = nodes;
  for (uint32_t copy = 1; copy < times; ++copy) {
    for (const TraceNode& node : nodes.nodes) {
      all.nodes.push_back(node);
      all.nodes.back().name += fmt::format("-{}", copy);
    }
  }
  return all;
}

}  // namespace tweendeck::sim
