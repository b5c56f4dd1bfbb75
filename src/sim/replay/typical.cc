#include "sim/replay/typical.h"

#include <algorithm>
#include <map>
#include <string>
#include <tuple>

namespace tweendeck::sim {

std::vector<TypicalPod> typical_pods(const PodList& list) {
  using Key = std::tuple<int32_t, int16_t, uint8_t, std::string_view>;
  struct Shape {
    Key key;
    Ask ask;
    size_t count = 0;
  };
  std::map<Key, Shape> counted;
  for (const TracePod& pod : list.pods) {
    Key key{pod.cpu_milli, pod.gpu_milli, pod.gpus, pod.spec};
    Shape& shape = counted[key];
    shape.key = key;
    shape.ask = {pod.cpu_milli, pod.gpus, pod.gpu_milli, pod.models};
    ++shape.count;
  }
  std::vector<Shape> shapes;
  for (auto& [key, shape] : counted) shapes.push_back(shape);
  std::ranges::sort(shapes, [](const Shape& a, const Shape& b) {
    return std::tie(a.count, a.key) > std::tie(b.count, b.key);
  });
  const double total = static_cast<double>(list.pods.size());
  double covered = 0;
  size_t taken = 0;
  while (taken < shapes.size() && covered / total < kTypicalCover)
    covered += static_cast<double>(shapes[taken++].count);
  std::vector<TypicalPod> typical;
  for (size_t at = 0; at < taken; ++at) {
    // In this order of operations: published scores depend on the last bit.
    double popularity = static_cast<double>(shapes[at].count) / total / (covered / total);
    typical.push_back({shapes[at].ask, popularity});
  }
  return typical;
}

}  // namespace tweendeck::sim
