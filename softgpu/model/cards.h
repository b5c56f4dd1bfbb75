// The card models a software GPU can have, with the public figures of the real product each is named after.
// Pure data; safe from any thread.
#pragma once

#include <cstdint>
#include <expected>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "softgpu/model/layout.h"

namespace tweendeck::softgpu {

struct CardModel {
  std::string_view name;  // "H100-80G"
  uint64_t memory_mib;
  uint32_t sm_count;
  uint32_t sm_clock_mhz;
  uint32_t memory_clock_mhz;
  uint32_t memory_bus_bits;
  uint32_t compute_major;
  uint32_t compute_minor;
  uint32_t power_limit_w;
  uint32_t l2_mib;
  uint32_t threads_per_sm;
  uint32_t shared_kib_per_sm;
  uint32_t pcie_generation;
  uint32_t pci_device_id;  // device << 16 | vendor
};

std::span<const CardModel> card_models();

// "fifo", "time-sliced", "overlapping".
std::string_view execution_name(Execution execution);
std::optional<Execution> parse_execution(std::string_view name);

// "2:H100-80G", "1:H100-80G,4:A10", "1:A10@16" (16 SMs instead of its own), "1:A10/time-sliced",
// "1:A10@16/overlapping". One element per card; `execution` is that of cards that name none. The error is a
// sentence for the user and names the known models.
struct CardSpec {
  const CardModel* model;
  uint32_t sm_count;
  Execution execution = Execution::Fifo;
};
std::expected<std::vector<CardSpec>, std::string> parse_cards(std::string_view spec,
                                                              Execution execution = Execution::Fifo);

// `seed` makes UUIDs differ between device-model files and stay equal for one.
CardInfo make_card_info(const CardSpec& spec, uint32_t index, uint64_t seed, int32_t numa_node);

std::string uuid_text(const CardInfo& info);   // "GPU-8-4-4-4-12"
std::string pci_bus_id(const CardInfo& info);  // "00000000:01:00.0"

// How long a kernel that is not tw_spin takes: kLaunchNs plus one wave time per full wave of blocks, where a
// wave is what all SMs hold at once (threads_per_sm / block size blocks each, at most kMaxBlocksPerSm) and
// takes kWaveCycles at the card's SM clock.
inline constexpr uint64_t kLaunchNs = 2'000;
inline constexpr uint64_t kWaveCycles = 10'000;
inline constexpr uint32_t kMaxBlocksPerSm = 32;
uint64_t kernel_duration_ns(const CardInfo& card, uint64_t blocks, uint64_t threads_per_block);

}  // namespace tweendeck::softgpu
