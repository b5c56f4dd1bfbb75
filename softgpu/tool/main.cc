// tweendeck-softgpu: creates, lists and removes software GPUs. Exit codes: 0, 1 = refused or failed, 2 =
// usage.
#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include <cstdio>
#include <string>

#include "softgpu/host.h"

namespace {

using nlohmann::json;

constexpr uint64_t kLeastSliceUs = 1;
constexpr uint64_t kMostSliceUs = 10'000'000;
namespace softgpu = tweendeck::softgpu;

json to_json(const softgpu::HostState& state) {
  json cards = json::array();
  for (const auto& card : state.cards) {
    json processes = json::array();
    for (const auto& process : card.processes) {
      processes.push_back({{"pid", process.pid},
                           {"name", process.name},
                           {"memory_bytes", process.memory_bytes},
                           {"peak_memory_bytes", process.peak_memory_bytes},
                           {"busy_ns", process.busy_ns},
                           {"launches", process.launches},
                           {"queued", process.queued},
                           {"sm_percent", process.sm_percent}});
    }
    cards.push_back({{"model", card.model},
                     {"name", card.name},
                     {"uuid", card.uuid},
                     {"pci_bus_id", card.pci_bus_id},
                     {"execution", card.execution},
                     {"numa_node", card.numa_node},
                     {"memory_bytes", card.memory_bytes},
                     {"used_bytes", card.used_bytes},
                     {"sm_count", card.sm_count},
                     {"sm_percent", card.sm_percent},
                     {"queued", card.queued},
                     {"simulated", true},
                     {"processes", processes}});
  }
  return {{"simulated", true},
          {"clock", state.virtual_clock ? "virtual" : "real"},
          {"now_ns", state.now_ns},
          {"attached", state.attached},
          {"cards", cards}};
}

void print(const softgpu::HostState& state) {
  constexpr double kGiB = 1 << 30;
  printf("Simulated GPUs (no real hardware), %s clock, %u processes attached\n",
         state.virtual_clock ? "virtual" : "real", state.attached);
  for (size_t i = 0; i < state.cards.size(); ++i) {
    const auto& card = state.cards[i];
    printf("%2zu  %-40s %6.1f of %6.1f GiB used  %3u %% busy  %4u queued  %s  %s\n", i, card.name.c_str(),
           static_cast<double>(card.used_bytes) / kGiB, static_cast<double>(card.memory_bytes) / kGiB,
           card.sm_percent, card.queued, card.uuid.c_str(), card.execution.c_str());
    for (const auto& process : card.processes) {
      printf("      pid %-8llu %-16s %6.1f GiB  %3u %% busy  %llu launches\n",
             static_cast<unsigned long long>(process.pid), process.name.c_str(),
             static_cast<double>(process.memory_bytes) / kGiB, process.sm_percent,
             static_cast<unsigned long long>(process.launches));
    }
  }
}

int fail(const std::string& message, bool as_json) {
  if (as_json) printf("%s\n", json{{"simulated", true}, {"error", message}}.dump().c_str());
  fprintf(stderr, "tweendeck-softgpu: %s\n", message.c_str());
  return 1;
}

int show(const std::string& path, bool as_json) {
  auto state = softgpu::list_cards(path);
  if (!state) return fail(state.error(), as_json);
  if (as_json) {
    printf("%s\n", to_json(*state).dump().c_str());
  } else {
    print(*state);
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"Software GPUs: simulated cards for machines without a GPU. Kernels are timed, not computed."};
  app.require_subcommand(1);
  std::string path;
  std::string format = "text";
  std::string clock = "real";
  softgpu::HostOptions options;
  uint64_t slice_us = 2'000;
  bool force = false;
  auto with_common = [&](CLI::App* command) {
    command->add_option("-o,--output", format, "text or json")->check(CLI::IsMember({"text", "json"}));
    return command;
  };
  CLI::App* create = with_common(app.add_subcommand("create", "Make a device-model file with cards"));
  create->add_option("--cards", options.cards, "COUNT:MODEL[@SMS][/EXECUTION],... for example 2:H100-80G")
      ->required();
  create->add_option("--clock", clock, "real: busy time follows the clock; virtual: deterministic")
      ->check(CLI::IsMember({"real", "virtual"}));
  create
      ->add_option(
          "--execution", options.execution,
          "how cards that name no execution run what several processes queue: fifo: one kernel at a "
          "time in order; time-sliced: processes take turns; overlapping: side by side while SMs are "
          "free")
      ->check(CLI::IsMember({"fifo", "time-sliced", "overlapping"}));
  create->add_option("--slice-us", slice_us, "length of a time slice")
      ->check(CLI::Range(kLeastSliceUs, kMostSliceUs));
  create->add_option("--start-clients", options.start_clients,
                     "virtual clock: time stands still until so many processes have attached");
  create->add_flag("--replace", options.replace, "replace a file that no process uses");
  create->add_option("FILE", path, "the device-model file")->required();
  CLI::App* list = with_common(app.add_subcommand("ls", "Show the cards and who uses them"));
  list->add_option("FILE", path, "the device-model file")->required();
  CLI::App* remove = with_common(app.add_subcommand("rm", "Remove a device-model file"));
  remove->add_flag("--force", force, "also while processes are attached");
  remove->add_option("FILE", path, "the device-model file")->required();
  CLI::App* models = app.add_subcommand("models", "List the card models");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  const bool as_json = format == "json";
  options.virtual_clock = clock == "virtual";
  options.slice_ns = slice_us * 1000;
  if (*models) {
    for (const std::string& line : softgpu::describe_models()) printf("%s\n", line.c_str());
    return 0;
  }
  if (*list) return show(path, as_json);
  if (*create) {
    auto made = softgpu::create_cards(path, options);
    return made ? show(path, as_json) : fail(made.error(), as_json);
  }
  auto removed = softgpu::remove_cards(path, force);
  if (!removed) return fail(removed.error(), as_json);
  if (as_json) printf("%s\n", json{{"simulated", true}, {"removed", path}}.dump().c_str());
  return 0;
}
