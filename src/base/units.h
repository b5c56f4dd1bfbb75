// Quantities as people write them and as the code keeps them. Pure functions.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "base/result.h"

namespace tweendeck {

inline constexpr uint64_t kKiB = 1ull << 10;
inline constexpr uint64_t kMiB = 1ull << 20;
inline constexpr uint64_t kGiB = 1ull << 30;
inline constexpr uint64_t kTiB = 1ull << 40;

// "512", "64Ki", "1.5Gi", "20GB", "1G": bytes. Binary suffixes Ki Mi Gi Ti Pi, decimal k K M G T P, each with
// an optional trailing B. Errors: InvalidArgument for malformed, negative, or values that pass 2^63.
Result<uint64_t> parse_bytes(std::string_view text);

// The largest binary unit with at most one decimal: "1.5 GiB", "512 MiB", "17 B".
std::string format_bytes(uint64_t bytes);

// "30", "30s", "250ms", "5m", "1h": a plain number is seconds. Errors: InvalidArgument.
Result<Nanos> parse_duration(std::string_view text);

// "1.2 s", "15 ms", "3m12s": short, for people.
std::string format_duration(Nanos duration);

// A whole number without sign, spaces or suffix, at most `max`. Errors: InvalidArgument, naming `what`.
Result<uint64_t> parse_count(std::string_view text, uint64_t max, std::string_view what);

}  // namespace tweendeck
