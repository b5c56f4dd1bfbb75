// Runs cells and prints one JSON object per line: the cell, what each slice got, and what missed its target.
//
//   vgpu_matrix --all | --pairwise | --cell "cap=30 sms=132 kernel=1ms kind=graph processes=4"
//               [--build DIR] [--part I/N]    only every Nth cell, from the Ith on
#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <iterator>

#include "bench/vgpu/matrix.h"

int main(int argc, char** argv) {
  using namespace tweendeck::bench;
  CLI::App app{"Accuracy of GPU shares in virtual time"};
  bool all = false;
  bool pairwise = false;
  bool list = false;
  std::vector<std::string> named;
  uint32_t part = 0;
  uint32_t parts = 1;
  Built built{.root = std::filesystem::canonical("/proc/self/exe").parent_path().parent_path()};
  auto* choice = app.add_option_group("which");
  choice->add_flag("--all", all, "every cell");
  choice->add_flag("--pairwise", pairwise, "every pair of values");
  choice->add_option("--cell", named, "this one");
  choice->require_option(1);
  app.add_flag("--list", list, "only name the cells");
  app.add_option("--part", part, "only the cells whose number modulo --parts is this");
  app.add_option("--parts", parts)->check(CLI::Range(1u, 64u));
  app.add_option("--build", built.root, "where the build put things");
  CLI11_PARSE(app, argc, argv);

  std::vector<Cell> cells;
  for (const Group group : kGroups) {
    if (named.empty())
      std::ranges::move(all ? all_cells(group) : pairwise_cells(group), std::back_inserter(cells));
  }
  for (const std::string& text : named) {
    auto cell = parse_cell(text);
    if (!cell) {
      fprintf(stderr, "vgpu_matrix: %s\n", cell.error().c_str());
      return 2;
    }
    cells.push_back(*cell);
  }
  bool ok = true;
  for (size_t i = part; i < cells.size(); i += parts) {
    nlohmann::json line{{"number", i}, {"cell", cells[i].text()}};
    if (!list) {
      const auto result = run_cell(cells[i], built);
      const std::string misses = result ? result->misses(cells[i]) : result.error();
      ok = ok && misses.empty();
      line["misses"] = misses;
      for (size_t s = 0; result && s < result->slices.size(); ++s) {
        const auto& [mean, windows] = result->slices[s];
        line["slices"].push_back({{"cap", cells[i].caps[s]}, {"mean", mean}, {"windows", windows}});
        line["cpu_seconds"] = result->cpu_seconds;
        line["waits"] = result->waits;
      }
      if (result && result->borrow) {
        line["borrow"] = {{"lent", result->borrow->lent_percent},
                          {"started_in_time", result->borrow->started_in_time},
                          {"first", result->borrow->first_percent},
                          {"rest", result->borrow->rest_percent}};
      }
    }
    printf("%s\n", line.dump().c_str());
    fflush(stdout);
  }
  return ok ? 0 : 1;
}
