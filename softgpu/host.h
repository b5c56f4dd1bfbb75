// Making, listing and removing device-model files, for the tool and for tests. A file is made complete or not
// at all. Errors are sentences for the user. Safe from any thread.
#pragma once

#include <cstdint>
#include <expected>
#include <string>
#include <string_view>
#include <vector>

namespace tweendeck::softgpu {

struct HostOptions {
  std::string cards;               // "2:H100-80G", "1:A10/overlapping", see model/cards.h
  std::string execution = "fifo";  // of cards that name none: fifo, time-sliced, overlapping
  uint64_t slice_ns = 0;           // of time-sliced cards; 0 = 2 ms
  bool virtual_clock = false;
  uint64_t start_clients = 0;  // virtual clock: time stands still until so many processes have attached
  bool replace = false;        // replace a file that no live process uses
};

std::expected<void, std::string> create_cards(const std::string& path, const HostOptions& options);

// Refuses while processes are attached, unless `force`; they keep the removed file's cards until they end.
std::expected<void, std::string> remove_cards(const std::string& path, bool force);

struct HostProcess {
  uint64_t pid = 0;
  std::string name;
  uint64_t memory_bytes = 0;
  uint64_t peak_memory_bytes = 0;
  uint64_t busy_ns = 0;
  uint64_t launches = 0;
  uint32_t queued = 0;
  uint32_t sm_percent = 0;
};

struct HostCard {
  std::string model;
  std::string name;
  std::string uuid;
  std::string pci_bus_id;
  std::string execution;
  int numa_node = -1;
  uint64_t memory_bytes = 0;
  uint64_t used_bytes = 0;
  uint32_t sm_count = 0;
  uint32_t sm_percent = 0;
  uint32_t queued = 0;
  std::vector<HostProcess> processes;
};

struct HostState {
  bool virtual_clock = false;
  uint64_t now_ns = 0;
  uint32_t attached = 0;
  std::vector<HostCard> cards;
};

std::expected<HostState, std::string> list_cards(const std::string& path);

// One line per card model, for help: "H100-80G  132 SMs  79.6 GiB".
std::vector<std::string> describe_models();

}  // namespace tweendeck::softgpu
