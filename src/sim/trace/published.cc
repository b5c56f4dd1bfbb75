#include "sim/trace/published.h"

#include <fmt/format.h>

#include <cmath>

#include "sim/trace/lines.h"

namespace tweendeck::sim {

Result<std::vector<PublishedRow>> parse_published(std::string_view text, const std::string& source) {
  Lines lines(text, source);
  Result<Columns> columns = Columns::read(lines, {"workload", "policy", "seed", "0"});
  if (!columns) return fail(columns.error());
  std::vector<int> percents;
  for (int at = columns->index("0"); at >= 0; at = columns->index(fmt::to_string(percents.size())))
    percents.push_back(at);
  std::vector<PublishedRow> rows;
  std::string_view line;
  while (lines.next(line)) {
    Result<std::vector<std::string_view>> fields = columns->fields(lines, line);
    if (!fields) return fail(fields.error());
    PublishedRow row;
    row.workload = (*fields)[static_cast<size_t>(columns->index("workload"))];
    row.policy = (*fields)[static_cast<size_t>(columns->index("policy"))];
    Result<int64_t> seed =
        lines.whole((*fields)[static_cast<size_t>(columns->index("seed"))], "seed", 0, UINT32_MAX);
    if (!seed) return fail(seed.error());
    row.seed = static_cast<uint32_t>(*seed);
    for (int at : percents) {
      Result<double> percent = lines.decimal((*fields)[static_cast<size_t>(at)], "allocation", 100);
      if (!percent) return fail(percent.error());
      row.hundredths.push_back(static_cast<int32_t>(std::lround(*percent * 100)));
    }
    rows.push_back(std::move(row));
  }
  return rows;
}

}  // namespace tweendeck::sim
