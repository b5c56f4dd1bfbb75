#include <fmt/format.h>

#include "app/cli/terminal.h"
#include "app/client/local_api.h"
#include "app/commands/commands.h"
#include "app/commands/show.h"
#include "base/units.h"

namespace tweendeck::commands {
namespace {

bool is_meant(const net::JsonValue& slice, const std::string& name) {
  return name.empty() || text_of(slice, "id") == name || text_of(slice, "owner") == name ||
         text_of(slice, "deployment") == name;
}

std::string time_cell(const net::JsonValue& use, std::string_view key) {
  return format_duration(static_cast<Nanos>(count_of(use, key)));
}

// "30 %", "30 to 100 %", and what is in force now where that is another.
std::string compute_cell(const net::JsonValue& slice) {
  const uint64_t own = count_of(slice, "compute_percent"), ceiling = count_of(slice, "ceiling_percent");
  std::string cell = ceiling > own ? fmt::format("{} to {} %", own, ceiling) : fmt::format("{} %", own);
  if (slice["paused"].bool_or(false)) return cell + ", paused";
  const double now = slice["use"]["share_in_force_percent"].number_or(0);
  return now > 0 && ceiling > own ? fmt::format("{}, now {:.0f} %", cell, now) : cell;
}

void print_kinds(const net::JsonValue& slices, const std::string& name, cli::Output& output) {
  cli::Table table({"SLICE", "KIND", "USED", "PEAK", "ALLOCATIONS"});
  for (size_t column = 2; column < 5; ++column) table.right_align(column);
  for (const net::JsonValue& slice : slices.items()) {
    if (!is_meant(slice, name)) continue;
    for (const net::JsonValue& kind : slice["use"]["kinds"].items()) {
      table.row({text_of(slice, "id"), text_of(kind, "kind"), format_bytes(count_of(kind, "used_bytes")),
                 format_bytes(count_of(kind, "peak_bytes")), std::to_string(count_of(kind, "allocations"))});
    }
  }
  if (!table.empty()) output.print("\n" + table.render(output.out_color));
}

Result<int> run(const cli::Invocation& in, cli::Output& output) {
  Result<client::LocalApi> api = client::LocalApi::of(in);
  if (!api) return fail(api.error());
  Result<client::ApiAnswer> answer = api->get("/v1/slices");
  if (!answer) return fail(answer.error());
  if (output.json) {
    output.line(answer->text);
    return 0;
  }
  const std::string name = in.arg(0);
  cli::Table table({"SLICE", "DEVICE", "MEMORY", "PEAK", "COMPUTE", "GPU TIME", "BORROWED", "THROTTLED",
                    "REFUSED", "PROCESSES", "ISOLATION"});
  for (size_t column : {2, 3, 5, 6, 7, 8, 9}) table.right_align(column);
  for (const net::JsonValue& slice : answer->json["slices"].items()) {
    if (!is_meant(slice, name)) continue;
    const net::JsonValue& use = slice["use"];
    const std::string granted = format_bytes(count_of(slice, "memory_bytes"));
    if (!use.is_object()) {
      table.row({text_of(slice, "id"), text_of(slice, "device"), granted, "-", compute_cell(slice), "-", "-",
                 "-", "-", "-", show_isolation(slice)});
      continue;
    }
    table.row({text_of(slice, "id"), text_of(slice, "device"),
               fmt::format("{} / {}", format_bytes(count_of(use, "memory_bytes")), granted),
               format_bytes(count_of(use, "memory_peak_bytes")), compute_cell(slice),
               time_cell(use, "compute_ns"), time_cell(use, "borrowed_ns"), time_cell(use, "throttled_ns"),
               std::to_string(count_of(use, "memory_refusals")), std::to_string(count_of(use, "processes")),
               show_isolation(slice)});
  }
  if (table.empty()) {
    if (!name.empty())
      return fail(Reason::NotFound, fmt::format("there is no slice of '{}'", name),
                  "`tweendeck slices` lists all");
    output.note("no slice is held; try `tweendeck exec --memory 1Gi --compute 30 -- PROGRAM`");
    return 0;
  }
  output.print(table.render(output.out_color));
  if (!name.empty()) print_kinds(answer->json["slices"], name, output);
  return 0;
}

}  // namespace

cli::Command slices_command() {
  return {.name = "slices",
          .group = kGroupLook,
          .summary = "List slices: what each was granted, uses, waited for, was refused and borrows",
          .about =
              "With NAME also the memory by what it is for. Peaks by kind are what was seen; the sum's peak "
              "is exact.",
          .args = {{.name = "NAME",
                    .help = "a slice, a replica or a deployment",
                    .required = false,
                    .complete = cli::Complete::Deployment}},
          .examples = {{"slices", "all of this machine"},
                       {"slices chat-1", "one of them, with its memory by kind"},
                       {"slices -o json", "for programs"}},
          .run = run};
}

}  // namespace tweendeck::commands
