// The published rows against the replay.
#include <fmt/format.h>

#include "app/simulate/runs.h"
#include "net/json.h"
#include "sim/gate.h"

namespace tweendeck::simulate {

namespace {

constexpr size_t kRowsPerStep = 10;  // of the progress

std::string hundredths(int64_t value) {
  return fmt::format("{}.{:02}", value / 100, value % 100);
}

void print_cells(const cli::Output& output, std::string_view title, const std::vector<sim::GateCell>& cells) {
  if (cells.empty()) return;
  output.line(title);
  cli::Table table({"WORKLOAD", "POLICY", "SEED", "@", "PUBLISHED", "REPLAYED"});
  for (const sim::GateCell& cell : cells) {
    table.row({cell.workload, cell.policy, fmt::to_string(cell.seed), fmt::to_string(cell.percent),
               hundredths(cell.published_hundredths), hundredths(cell.replayed_hundredths)});
  }
  output.print(table.render(output.out_color));
}

void write_cells(net::JsonWriter& w, std::string_view key, const std::vector<sim::GateCell>& cells) {
  w.array(key);
  for (const sim::GateCell& cell : cells) {
    w.object().field("workload", cell.workload).field("policy", cell.policy).field("seed", cell.seed);
    w.field("percent", static_cast<uint64_t>(cell.percent));
    w.field("published", static_cast<double>(cell.published_hundredths) / 100);
    w.field("replayed", static_cast<double>(cell.replayed_hundredths) / 100).end();
  }
  w.end();
}

}  // namespace

Result<int> run_gate(const Context& context) {
  cli::Progress progress(context.output);
  auto step = [&](size_t done, size_t rows) {
    if (done % kRowsPerStep == 0 || done == rows)
      progress.update(fmt::format("{} of {} rows replayed", done, rows));
  };
  Result<sim::GateResult> result = sim::run_gate({.folder = context.in.text("data"),
                                                  .threads = threads_of(context.in),
                                                  .progress = step,
                                                  .stop = &context.stop});
  progress.done();
  if (!result) return ended(result.error());
  if (context.output.json) {
    net::JsonWriter w;
    w.object().field("rows", static_cast<uint64_t>(result->rows));
    w.field("equal", static_cast<uint64_t>(result->equal)).field("passed", result->passed());
    write_cells(w, "ties", result->ties);
    write_cells(w, "wrong", result->wrong);
    context.output.line(w.end().text());
  } else {
    print_cells(context.output, "0.01 apart, where the mean ends in exactly half a hundredth:", result->ties);
    print_cells(context.output, "different:", result->wrong);
    context.output.line(fmt::format("{} of {} published rows are equal from @{} on", result->equal,
                                    result->rows, sim::kGateFirstPercent));
  }
  return result->passed() ? 0 : static_cast<int>(ExitCode::General);
}

}  // namespace tweendeck::simulate
