#include "base/units.h"

#include <fmt/format.h>

#include <array>
#include <charconv>
#include <cmath>

namespace tweendeck {
namespace {

struct Suffix {
  std::string_view text;
  double factor;
};

constexpr std::array kByteSuffixes = {
    Suffix{"", 1},        Suffix{"Ki", 0x1p10}, Suffix{"Mi", 0x1p20}, Suffix{"Gi", 0x1p30},
    Suffix{"Ti", 0x1p40}, Suffix{"Pi", 0x1p50}, Suffix{"k", 1e3},     Suffix{"K", 1e3},
    Suffix{"M", 1e6},     Suffix{"G", 1e9},     Suffix{"T", 1e12},    Suffix{"P", 1e15},
};

constexpr std::array kDurationSuffixes = {
    Suffix{"", 1e9},  Suffix{"ns", 1},   Suffix{"us", 1e3},   Suffix{"ms", 1e6},
    Suffix{"s", 1e9}, Suffix{"m", 60e9}, Suffix{"h", 3600e9},
};

constexpr double kLargest = 0x1p63;

// Splits "1.5Gi" into its number and suffix and scales; negative, NaN and overflow are refused.
template <size_t N>
Result<double> parse_scaled(std::string_view text, const std::array<Suffix, N>& suffixes) {
  double number = 0;
  auto [end, code] =
      std::from_chars(text.data(), text.data() + text.size(), number, std::chars_format::fixed);
  if (code != std::errc{} || text.front() == '-') return fail(Reason::InvalidArgument, "no number");
  std::string_view suffix = text.substr(static_cast<size_t>(end - text.data()));
  for (const Suffix& known : suffixes) {
    if (suffix != known.text) continue;
    double value = number * known.factor;
    if (!std::isfinite(value) || value >= kLargest) return fail(Reason::InvalidArgument, "out of range");
    return value;
  }
  return fail(Reason::InvalidArgument, "unknown unit");
}

}  // namespace

Result<uint64_t> parse_bytes(std::string_view text) {
  std::string_view body = text;
  if (body.size() > 1 && body.back() == 'B') body.remove_suffix(1);
  Result<double> value =
      body.empty() ? fail(Reason::InvalidArgument, "no number") : parse_scaled(body, kByteSuffixes);
  if (!value) {
    return fail(Reason::InvalidArgument, fmt::format("'{}' is not a size: {}", text, value.error().message),
                "write a number with Ki, Mi, Gi or Ti, for example 1.5Gi");
  }
  return static_cast<uint64_t>(*value);
}

std::string format_bytes(uint64_t bytes) {
  static constexpr std::array kUnits = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  size_t unit = 0;
  double value = static_cast<double>(bytes);
  while (value >= 1024 && unit + 1 < kUnits.size()) {
    value /= 1024;
    ++unit;
  }
  double rounded = std::round(value * 10) / 10;
  return rounded == std::floor(rounded) ? fmt::format("{:.0f} {}", rounded, kUnits[unit])
                                        : fmt::format("{:.1f} {}", rounded, kUnits[unit]);
}

Result<Nanos> parse_duration(std::string_view text) {
  Result<double> value =
      text.empty() ? fail(Reason::InvalidArgument, "no number") : parse_scaled(text, kDurationSuffixes);
  if (!value) {
    return fail(Reason::InvalidArgument,
                fmt::format("'{}' is not a duration: {}", text, value.error().message),
                "write a number with ms, s, m or h, for example 30s");
  }
  return static_cast<Nanos>(*value);
}

std::string format_duration(Nanos duration) {
  double seconds = static_cast<double>(duration) / 1e9;
  if (duration < kMillisecond) return fmt::format("{:.0f} us", seconds * 1e6);
  if (duration < kSecond) return fmt::format("{:.0f} ms", seconds * 1e3);
  if (duration < 60 * kSecond) return fmt::format("{:.1f} s", seconds);
  int64_t whole = duration / kSecond;
  if (whole < 3600) return fmt::format("{}m{:02}s", whole / 60, whole % 60);
  if (whole < 86400) return fmt::format("{}h{:02}m", whole / 3600, whole % 3600 / 60);
  return fmt::format("{}d{:02}h", whole / 86400, whole % 86400 / 3600);
}

Result<uint64_t> parse_count(std::string_view text, uint64_t max, std::string_view what) {
  uint64_t value = 0;
  auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (text.empty() || code != std::errc{} || end != text.data() + text.size() || value > max) {
    return fail(Reason::InvalidArgument,
                fmt::format("{} is '{}', not a whole number from 0 to {}", what, text, max));
  }
  return value;
}

}  // namespace tweendeck
