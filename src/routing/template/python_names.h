// The attributes that Python's types have. A template that names one gets it rather than a dict's member; one that the
// subset lacks must be refused and not taken for a missing member.
#pragma once

#include <algorithm>
#include <span>
#include <string_view>

namespace tweendeck::routing::chat_template {

inline constexpr std::string_view kDictAttributes[] = {
    "clear", "copy", "fromkeys", "get", "items", "keys", "pop", "popitem", "setdefault", "update", "values"};
inline constexpr std::string_view kListAttributes[] = {
    "append", "clear", "copy", "count", "extend", "index", "insert", "pop", "remove", "reverse", "sort"};
inline constexpr std::string_view kStringAttributes[] = {
    "capitalize", "casefold",     "center",       "count",   "encode",     "endswith",    "expandtabs",
    "find",       "format",       "format_map",   "index",   "isalnum",    "isalpha",     "isascii",
    "isdecimal",  "isdigit",      "isidentifier", "islower", "isnumeric",  "isprintable", "isspace",
    "istitle",    "isupper",      "join",         "ljust",   "lower",      "lstrip",      "maketrans",
    "partition",  "removeprefix", "removesuffix", "replace", "rfind",      "rindex",      "rjust",
    "rpartition", "rsplit",       "rstrip",       "split",   "splitlines", "startswith",  "strip",
    "swapcase",   "title",        "translate",    "upper",   "zfill"};

inline bool is_python_attribute(std::span<const std::string_view> of, std::string_view name) {
  return std::ranges::find(of, name) != of.end();
}

}  // namespace tweendeck::routing::chat_template
