// The picker's metric series under llm-d's names, looked up once and kept. Those that llm-d's dashboards still ask
// for by an older name have both. Loop thread only.
#pragma once

#include <array>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/metrics.h"
#include "base/reason.h"

namespace tweendeck::routing::picker {

// Series of one pair of model names: as the client asked, and as the engine was asked.
struct ModelSeries {
  std::array<Counter*, 2> requests;
  std::array<Histogram*, 2> duration;
  Histogram* first_token;
  Histogram* first_token_streamed;
  Histogram* request_bytes;
  Histogram* response_bytes;
  Histogram* prompt_tokens;
  Histogram* output_tokens;
  Histogram* cached_tokens;
  Gauge* running;
  uint64_t running_now = 0;

  Registry* registry;
  Labels labels;
  void failed(std::string_view code);
};

class PickerMetrics {
 public:
  // Names come from clients: so many pairs have series of their own, the others share one.
  static constexpr size_t kMaxModels = 200;

  PickerMetrics(Registry& registry, std::string pool_name);

  ModelSeries& model(std::string_view asked, std::string_view target);
  void ready(size_t endpoints) {
    ready_.set(static_cast<double>(endpoints)), ready_old_.set(static_cast<double>(endpoints));
  }
  void decided(Nanos took) { decision_.observe(static_cast<double>(took) / kSecond); }
  void refused(Reason reason);
  void opened() { streams_.set(static_cast<double>(++open_)); }
  void closed() { streams_.set(static_cast<double>(--open_)); }

 private:
  Registry& registry_;
  Gauge& ready_;
  Gauge& ready_old_;
  Gauge& streams_;
  Histogram& decision_;
  uint64_t open_ = 0;
  std::map<std::string, std::map<std::string, ModelSeries, std::less<>>, std::less<>> models_;
  size_t pairs_ = 0;
};

}  // namespace tweendeck::routing::picker
