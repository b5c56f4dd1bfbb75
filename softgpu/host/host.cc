#include "softgpu/host.h"

#include <errno.h>
#include <sys/random.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>

#include "softgpu/model/cards.h"
#include "softgpu/model/model.h"

namespace tweendeck::softgpu {
namespace {

// Not by std::random_device, which asks for a newer C library than the rest of the stand-ins.
uint64_t fresh_seed() {
  uint64_t seed = 0;
  while (getrandom(&seed, sizeof(seed), 0) != sizeof(seed)) {
  }
  return seed;
}

// Cards alternate over the machine's NUMA nodes, as they do in servers.
int32_t numa_nodes() {
  int32_t count = 0;
  while (access(("/sys/devices/system/node/node" + std::to_string(count)).c_str(), F_OK) == 0) ++count;
  return count;
}

HostProcess to_host(const ProcessUsage& process) {
  return {.pid = process.pid,
          .name = process.name,
          .memory_bytes = process.memory_bytes,
          .peak_memory_bytes = process.peak_memory_bytes,
          .busy_ns = process.busy_ns,
          .launches = process.launches,
          .queued = process.queued,
          .sm_percent = process.sm_percent};
}

}  // namespace

std::expected<void, std::string> create_cards(const std::string& path, const HostOptions& options) {
  const auto execution = parse_execution(options.execution);
  if (!execution) {
    return std::unexpected("execution '" + options.execution + "' is none of fifo, time-sliced, overlapping");
  }
  auto specs = parse_cards(options.cards, *execution);
  if (!specs) return std::unexpected(specs.error());
  if (options.start_clients > kMaxClients) {
    return std::unexpected("start clients " + std::to_string(options.start_clients) + " is more than " +
                           std::to_string(kMaxClients));
  }
  if (access(path.c_str(), F_OK) == 0) {
    if (!options.replace) return std::unexpected(path + " exists already; remove it or replace it");
    if (auto removed = remove_cards(path, false); !removed) return removed;
  }
  CreateOptions create;
  create.clock = options.virtual_clock ? ClockMode::Virtual : ClockMode::Real;
  create.start_clients = options.start_clients;
  if (options.slice_ns != 0) create.slice_ns = options.slice_ns;
  const uint64_t seed = fresh_seed();
  const int32_t nodes = numa_nodes();
  for (uint32_t i = 0; i < specs->size(); ++i) {
    const int32_t node = nodes == 0 ? -1 : static_cast<int32_t>(i) % nodes;
    create.cards.push_back(make_card_info((*specs)[i], i, seed, node));
  }
  return Shared::create(path, create);
}

// A file that is no usable device model (another version, another boot) has no clients and goes too.
std::expected<void, std::string> remove_cards(const std::string& path, bool force) {
  if (!force) {
    if (auto model = Model::open(path); model) {
      if (const uint32_t live = (*model)->live_clients(); live > 0) {
        return std::unexpected(path + " is in use by " + std::to_string(live) +
                               " processes; stop them, or remove it by force");
      }
    }
  }
  if (unlink(path.c_str()) != 0) return std::unexpected("cannot remove " + path + ": " + strerror(errno));
  return {};
}

std::expected<HostState, std::string> list_cards(const std::string& path) {
  auto model = Model::open(path);
  if (!model) return std::unexpected(model.error());
  HostState state;
  state.virtual_clock = (*model)->clock_mode() == ClockMode::Virtual;
  state.now_ns = (*model)->now();
  state.attached = (*model)->live_clients();
  for (uint32_t i = 0; i < (*model)->card_count(); ++i) {
    const CardInfo& info = (*model)->info(i);
    const CardUsage usage = (*model)->usage(i);
    HostCard card{.model = info.model,
                  .name = info.name,
                  .uuid = uuid_text(info),
                  .pci_bus_id = pci_bus_id(info),
                  .execution = std::string(execution_name(static_cast<Execution>(info.execution))),
                  .numa_node = info.numa_node,
                  .memory_bytes = info.memory_bytes,
                  .used_bytes = usage.used_bytes,
                  .sm_count = info.sm_count,
                  .sm_percent = usage.sm_percent,
                  .queued = usage.queued,
                  .processes = {}};
    for (const ProcessUsage& process : usage.processes) card.processes.push_back(to_host(process));
    state.cards.push_back(std::move(card));
  }
  return state;
}

std::vector<std::string> describe_models() {
  std::vector<std::string> lines;
  for (const CardModel& model : card_models()) {
    char line[96];
    snprintf(line, sizeof line, "%-15s %3u SMs  %6.1f GiB  compute %u.%u", std::string(model.name).c_str(),
             model.sm_count, static_cast<double>(model.memory_mib) / 1024, model.compute_major,
             model.compute_minor);
    lines.emplace_back(line);
  }
  return lines;
}

}  // namespace tweendeck::softgpu
