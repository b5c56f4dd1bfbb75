// Counters, gauges and histograms with Prometheus text exposition (format version 0.0.4).
//
//   auto& requests = registry.counter("tweendeck_requests_total", "Requests by outcome.", {{"outcome",
//     "ok"}});
//   requests.add();
//
// Updating is lock-free and safe from any thread; looking a series up takes a lock, so keep the reference (it
// stays valid as long as the registry). A family holds at most kMaxSeriesPerFamily series: further label sets
// share one series with the label overflow="true", so that memory stays bounded. Names and units: base units,
// `_total`, `_seconds`, `_bytes`.
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <map>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace tweendeck {

using Labels = std::vector<std::pair<std::string, std::string>>;

class Counter {
 public:
  void add(uint64_t by = 1) { value_.fetch_add(by, std::memory_order_relaxed); }
  uint64_t value() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<uint64_t> value_{0};
};

// A counter whose total is kept elsewhere (a cgroup, a page) and only read here.
class SampledCounter {
 public:
  void raise_to(double total);  // a smaller total than before changes nothing: a counter never falls
  double value() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<double> value_{0};
};

class Gauge {
 public:
  void set(double value) { value_.store(value, std::memory_order_relaxed); }
  double value() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<double> value_{0};
};

class Histogram {
 public:
  explicit Histogram(std::vector<double> upper_bounds);
  void observe(double value);
  const std::vector<double>& upper_bounds() const { return upper_bounds_; }
  uint64_t count_in(size_t bucket) const { return buckets_[bucket].load(std::memory_order_relaxed); }
  double sum() const { return sum_.load(std::memory_order_relaxed); }

 private:
  std::vector<double> upper_bounds_;           // ascending; +Inf is implied
  std::deque<std::atomic<uint64_t>> buckets_;  // one more than bounds
  std::atomic<double> sum_{0};
};

// Seconds from 1 ms to 60 s: time to first token, queueing, request duration.
const std::vector<double>& latency_buckets_seconds();

class Registry {
 public:
  static constexpr size_t kMaxSeriesPerFamily = 2000;

  Counter& counter(std::string_view name, std::string_view help, const Labels& labels = {});
  SampledCounter& sampled_counter(std::string_view name, std::string_view help, const Labels& labels = {});
  Gauge& gauge(std::string_view name, std::string_view help, const Labels& labels = {});
  Histogram& histogram(std::string_view name, std::string_view help, const std::vector<double>& upper_bounds,
                       const Labels& labels = {});

  // Forgets every series of every family whose label `key` has `value`, for example a replica that is gone.
  // References to those series stay usable but are no longer exposed.
  void remove(std::string_view key, std::string_view value);

  std::string expose() const;

 private:
  enum class Kind { Counter, SampledCounter, Gauge, Histogram };
  struct Family {
    Kind kind;
    std::string help;
    std::map<std::string, size_t> series;  // rendered labels -> index into the deque of its kind
  };
  Family& family(std::string_view name, std::string_view help, Kind kind);
  size_t& slot(Family& family, const Labels& labels, bool& is_new);

  mutable std::mutex mutex_;
  std::map<std::string, Family, std::less<>> families_;
  std::deque<Counter> counters_;
  std::deque<SampledCounter> sampled_counters_;
  std::deque<Gauge> gauges_;
  std::deque<Histogram> histograms_;
};

}  // namespace tweendeck
