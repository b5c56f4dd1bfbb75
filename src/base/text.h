// Small text functions that every room needs. Pure; safe from any thread.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace tweendeck {

// `text` as a JSON string with its quotes. Bytes that are not UTF-8 become U+FFFD, so the result is always
// valid.
std::string json_quote(std::string_view text);

// Nanoseconds since the Unix epoch as RFC 3339 in UTC with milliseconds: "2026-11-22T17:00:00.000Z".
std::string format_time(int64_t wall_ns);

std::vector<std::string_view> split(std::string_view text, char separator);
std::string_view trim(std::string_view text);  // without ASCII white space at both ends
// "1 replica", "2 replicas": a count with its noun in the right number, for nouns that take an s.
std::string counted(uint64_t count, std::string_view noun);

std::string join(const std::vector<std::string>& parts, std::string_view separator);

// The candidate that needs the fewest edits (Levenshtein, at most 3) to become `word`, or "" when none is
// near.
std::string_view nearest(std::string_view word, const std::vector<std::string_view>& candidates);

}  // namespace tweendeck
