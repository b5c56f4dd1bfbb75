#include "sim/trace/lines.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "base/text.h"

namespace tweendeck::sim {

namespace {

constexpr size_t kShownBytes = 40;  // of a bad value in an error

std::string shown(std::string_view text) {
  std::string quoted = json_quote(text.substr(0, kShownBytes));
  if (text.size() > kShownBytes) quoted += "...";
  return quoted;
}

}  // namespace

bool Lines::next(std::string_view& line) {
  if (rest_.empty()) return false;
  size_t end = rest_.find('\n');
  line = rest_.substr(0, end);
  rest_ = end == std::string_view::npos ? std::string_view() : rest_.substr(end + 1);
  if (line.ends_with('\r')) line.remove_suffix(1);
  ++number_;
  return true;
}

Error Lines::error(std::string what, std::string hint) const {
  return {Reason::InvalidArgument, fmt::format("{}:{}: {}", source_, number_, what), std::move(hint)};
}

Result<int64_t> Lines::whole(std::string_view text, std::string_view what, int64_t lowest,
                             int64_t highest) const {
  int64_t value = 0;
  auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (problem != std::errc() || end != text.data() + text.size() || value < lowest || value > highest) {
    return fail(error(fmt::format("{} is {}", what, shown(text)),
                      fmt::format("it must be a whole number from {} to {}", lowest, highest)));
  }
  return value;
}

Result<double> Lines::decimal(std::string_view text, std::string_view what, double highest) const {
  double value = 0;
  auto [end, problem] =
      std::from_chars(text.data(), text.data() + text.size(), value, std::chars_format::fixed);
  if (problem != std::errc() || end != text.data() + text.size() || !(value >= 0 && value <= highest)) {
    return fail(error(fmt::format("{} is {}", what, shown(text)),
                      fmt::format("it must be a number from 0 to {:.0f}", highest)));
  }
  return value;
}

Result<Columns> Columns::read(Lines& lines, const std::vector<std::string_view>& required) {
  std::string_view line;
  if (!lines.next(line)) return fail(lines.error("the file is empty", "a header line comes first"));
  Columns columns;
  for (std::string_view name : split(line, ',')) columns.names_.emplace_back(name);
  for (std::string_view name : required) {
    if (columns.index(name) < 0) {
      return fail(lines.error(fmt::format("the header has no column {}", name),
                              "the columns are described in docs/guides/simulate.md"));
    }
  }
  return columns;
}

int Columns::index(std::string_view name) const {
  auto found = std::ranges::find(names_, name);
  return found == names_.end() ? -1 : static_cast<int>(found - names_.begin());
}

Result<std::vector<std::string_view>> Columns::fields(const Lines& lines, std::string_view line) const {
  std::vector<std::string_view> fields = split(line, ',');
  if (fields.size() != names_.size()) {
    return fail(lines.error(fmt::format("{} fields, the header has {}", fields.size(), names_.size()),
                            "each line has one field per column"));
  }
  return fields;
}

}  // namespace tweendeck::sim
