#include "base/metrics.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace tweendeck {
namespace {

std::string escape(std::string_view value) {
  std::string out;
  for (char c : value) {
    if (c == '\\' || c == '"') out += '\\';
    if (c == '\n') {
      out += "\\n";
    } else {
      out += c;
    }
  }
  return out;
}

// `a="1",b="2"` without braces; the key of a series and the text of its line.
std::string render(const Labels& labels) {
  std::string out;
  for (const auto& [key, value] : labels) {
    if (!out.empty()) out += ',';
    out += fmt::format("{}=\"{}\"", key, escape(value));
  }
  return out;
}

std::string number(double value) {
  if (std::isnan(value)) return "NaN";
  if (std::isinf(value)) return value > 0 ? "+Inf" : "-Inf";
  return fmt::format("{}", value);
}

std::string braces(const std::string& labels) {
  return labels.empty() ? "" : "{" + labels + "}";
}

}  // namespace

void SampledCounter::raise_to(double total) {
  double known = value_.load(std::memory_order_relaxed);
  while (total > known && !value_.compare_exchange_weak(known, total, std::memory_order_relaxed)) {
  }
}

Histogram::Histogram(std::vector<double> upper_bounds)
    : upper_bounds_(std::move(upper_bounds)), buckets_(upper_bounds_.size() + 1) {}

void Histogram::observe(double value) {
  auto bound = std::lower_bound(upper_bounds_.begin(), upper_bounds_.end(), value);
  buckets_[static_cast<size_t>(bound - upper_bounds_.begin())].fetch_add(1, std::memory_order_relaxed);
  sum_.fetch_add(value, std::memory_order_relaxed);
}

const std::vector<double>& latency_buckets_seconds() {
  static const std::vector<double> kBounds = {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25,
                                              0.5,   1,      2.5,   5,    10,    30,   60};
  return kBounds;
}

Registry::Family& Registry::family(std::string_view name, std::string_view help, Kind kind) {
  auto found = families_.find(name);
  if (found == families_.end()) {
    found = families_.emplace(std::string(name), Family{kind, std::string(help), {}}).first;
  }
  return found->second;
}

size_t& Registry::slot(Family& family, const Labels& labels, bool& is_new) {
  std::string key = render(labels);
  auto found = family.series.find(key);
  is_new = found == family.series.end();
  if (!is_new) return found->second;
  if (family.series.size() >= kMaxSeriesPerFamily) key = "overflow=\"true\"";
  auto [at, inserted] = family.series.emplace(std::move(key), 0);
  is_new = inserted;
  return at->second;
}

Counter& Registry::counter(std::string_view name, std::string_view help, const Labels& labels) {
  std::lock_guard lock(mutex_);
  bool is_new = false;
  size_t& index = slot(family(name, help, Kind::Counter), labels, is_new);
  if (is_new) {
    index = counters_.size();
    counters_.emplace_back();
  }
  return counters_[index];
}

SampledCounter& Registry::sampled_counter(std::string_view name, std::string_view help,
                                          const Labels& labels) {
  std::lock_guard lock(mutex_);
  bool is_new = false;
  size_t& index = slot(family(name, help, Kind::SampledCounter), labels, is_new);
  if (is_new) {
    index = sampled_counters_.size();
    sampled_counters_.emplace_back();
  }
  return sampled_counters_[index];
}

Gauge& Registry::gauge(std::string_view name, std::string_view help, const Labels& labels) {
  std::lock_guard lock(mutex_);
  bool is_new = false;
  size_t& index = slot(family(name, help, Kind::Gauge), labels, is_new);
  if (is_new) {
    index = gauges_.size();
    gauges_.emplace_back();
  }
  return gauges_[index];
}

Histogram& Registry::histogram(std::string_view name, std::string_view help,
                               const std::vector<double>& upper_bounds, const Labels& labels) {
  std::lock_guard lock(mutex_);
  bool is_new = false;
  size_t& index = slot(family(name, help, Kind::Histogram), labels, is_new);
  if (is_new) {
    index = histograms_.size();
    histograms_.emplace_back(upper_bounds);
  }
  return histograms_[index];
}

void Registry::remove(std::string_view key, std::string_view value) {
  std::string wanted = fmt::format("{}=\"{}\"", key, escape(value));
  std::lock_guard lock(mutex_);
  for (auto& [name, family] : families_) {
    std::erase_if(family.series, [&](const auto& series) {
      std::string padded = "," + series.first + ",";
      return padded.find("," + wanted + ",") != std::string::npos;
    });
  }
}

std::string Registry::expose() const {
  static constexpr std::string_view kKinds[] = {"counter", "counter", "gauge", "histogram"};
  std::lock_guard lock(mutex_);
  std::string out;
  for (const auto& [name, family] : families_) {
    if (family.series.empty()) continue;
    out += fmt::format("# HELP {} {}\n# TYPE {} {}\n", name, family.help, name,
                       kKinds[static_cast<size_t>(family.kind)]);
    for (const auto& [labels, index] : family.series) {
      switch (family.kind) {
        case Kind::Counter:
          out += fmt::format("{}{} {}\n", name, braces(labels), counters_[index].value());
          break;
        case Kind::SampledCounter:
          out += fmt::format("{}{} {}\n", name, braces(labels), number(sampled_counters_[index].value()));
          break;
        case Kind::Gauge:
          out += fmt::format("{}{} {}\n", name, braces(labels), number(gauges_[index].value()));
          break;
        case Kind::Histogram: {
          const Histogram& histogram = histograms_[index];
          std::string comma = labels.empty() ? "" : ",";
          uint64_t total = 0;
          for (size_t i = 0; i <= histogram.upper_bounds().size(); ++i) {
            total += histogram.count_in(i);
            std::string bound =
                i < histogram.upper_bounds().size() ? number(histogram.upper_bounds()[i]) : "+Inf";
            out += fmt::format("{}_bucket{{{}{}le=\"{}\"}} {}\n", name, labels, comma, bound, total);
          }
          out += fmt::format("{}_sum{} {}\n", name, braces(labels), number(histogram.sum()));
          out += fmt::format("{}_count{} {}\n", name, braces(labels), total);
          break;
        }
      }
    }
  }
  return out;
}

}  // namespace tweendeck
