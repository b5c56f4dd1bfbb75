#include "softgpu/model/cards.h"

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <cstring>

namespace tweendeck::softgpu {
namespace {

constexpr CardModel kModels[] = {
    {"B200-180G", 183359, 148, 1965, 3996, 8192, 10, 0, 1000, 126, 2048, 228, 6, 0x290110DE},
    {"H200-141G", 143771, 132, 1980, 3201, 6144, 9, 0, 700, 60, 2048, 228, 5, 0x233510DE},
    {"H100-80G", 81559, 132, 1980, 2619, 5120, 9, 0, 700, 50, 2048, 228, 5, 0x233010DE},
    {"A100-80G", 81920, 108, 1410, 1593, 5120, 8, 0, 400, 40, 2048, 164, 4, 0x20B210DE},
    {"A100-40G", 40960, 108, 1410, 1215, 5120, 8, 0, 400, 40, 2048, 164, 4, 0x20B010DE},
    {"RTXPRO6000-96G", 97887, 188, 2430, 14001, 512, 12, 0, 600, 128, 1536, 100, 5, 0x2BB110DE},
    {"L40S", 46068, 142, 2520, 9001, 384, 8, 9, 350, 96, 1536, 100, 4, 0x26B910DE},
    {"A30-24G", 24576, 56, 1440, 1215, 3072, 8, 0, 165, 24, 2048, 164, 4, 0x20B710DE},
    {"A10", 23028, 72, 1695, 6251, 384, 8, 6, 150, 6, 1536, 100, 4, 0x223610DE},
    {"L4", 23034, 58, 2040, 6251, 192, 8, 9, 72, 48, 1536, 100, 4, 0x27B810DE},
    {"T4", 15360, 40, 1590, 5001, 256, 7, 5, 70, 4, 1024, 64, 3, 0x1EB810DE},
};

std::string known_models() {
  std::string names;
  for (const CardModel& model : kModels) {
    if (!names.empty()) names += ", ";
    names += model.name;
  }
  return names;
}

bool parse_u32(std::string_view text, uint32_t low, uint32_t high, uint32_t& out) {
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
  return error == std::errc() && end == text.data() + text.size() && out >= low && out <= high;
}

constexpr std::string_view kExecutionNames[] = {"fifo", "time-sliced", "overlapping"};

std::expected<void, std::string> parse_group(std::string_view group, Execution execution,
                                             std::vector<CardSpec>& cards) {
  auto fail = [&](const std::string& why) {
    return std::unexpected("cards '" + std::string(group) + "': " + why +
                           "; expected COUNT:MODEL, for example 2:H100-80G");
  };
  const size_t colon = group.find(':');
  if (colon == std::string_view::npos) return fail("no ':'");
  uint32_t count = 0;
  if (!parse_u32(group.substr(0, colon), 1, kMaxCards, count)) {
    return fail("the count must be 1 to " + std::to_string(kMaxCards));
  }
  std::string_view name = group.substr(colon + 1);
  if (const size_t slash = name.find('/'); slash != std::string_view::npos) {
    const auto named = parse_execution(name.substr(slash + 1));
    if (!named) return fail("after '/' fifo, time-sliced or overlapping is expected");
    execution = *named;
    name = name.substr(0, slash);
  }
  uint32_t sms = 0;
  if (const size_t at = name.find('@'); at != std::string_view::npos) {
    if (!parse_u32(name.substr(at + 1), 1, 1024, sms))
      return fail("the number of SMs after '@' must be 1 to 1024");
    name = name.substr(0, at);
  }
  const auto* model = std::ranges::find(kModels, name, &CardModel::name);
  if (model == std::end(kModels)) return fail("no such model; known: " + known_models());
  if (cards.size() + count > kMaxCards)
    return fail("more than " + std::to_string(kMaxCards) + " cards in all");
  cards.insert(cards.end(), count, CardSpec{model, sms == 0 ? model->sm_count : sms, execution});
  return {};
}

uint64_t mix(uint64_t x) {  // SplitMix64's finaliser
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
  x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
  return x ^ (x >> 31);
}

}  // namespace

std::span<const CardModel> card_models() {
  return kModels;
}

std::string_view execution_name(Execution execution) {
  return kExecutionNames[static_cast<size_t>(execution) % std::size(kExecutionNames)];
}

std::optional<Execution> parse_execution(std::string_view name) {
  const auto* found = std::ranges::find(kExecutionNames, name);
  if (found == std::end(kExecutionNames)) return std::nullopt;
  return static_cast<Execution>(found - kExecutionNames);
}

std::expected<std::vector<CardSpec>, std::string> parse_cards(std::string_view spec, Execution execution) {
  std::vector<CardSpec> cards;
  while (true) {
    const size_t comma = spec.find(',');
    auto parsed = parse_group(spec.substr(0, comma), execution, cards);
    if (!parsed) return std::unexpected(parsed.error());
    if (comma == std::string_view::npos) return cards;
    spec.remove_prefix(comma + 1);
  }
}

CardInfo make_card_info(const CardSpec& spec, uint32_t index, uint64_t seed, int32_t numa_node) {
  const CardModel& model = *spec.model;
  CardInfo info{};
  snprintf(info.model, sizeof info.model, "%.*s", static_cast<int>(model.name.size()), model.name.data());
  snprintf(info.name, sizeof info.name, "Tweendeck Soft %s (simulated)", info.model);
  const uint64_t high = mix(seed + 2 * uint64_t{index} + 1);
  const uint64_t low = mix(high + index);
  memcpy(info.uuid, &high, 8);
  memcpy(info.uuid + 8, &low, 8);
  info.memory_bytes = model.memory_mib << 20;
  info.sm_count = spec.sm_count;
  info.sm_clock_mhz = model.sm_clock_mhz;
  info.memory_clock_mhz = model.memory_clock_mhz;
  info.memory_bus_bits = model.memory_bus_bits;
  info.compute_major = model.compute_major;
  info.compute_minor = model.compute_minor;
  info.power_limit_mw = model.power_limit_w * 1000;
  info.idle_power_mw = info.power_limit_mw / 10;
  info.l2_bytes = model.l2_mib << 20;
  info.threads_per_sm = model.threads_per_sm;
  info.shared_memory_per_sm = model.shared_kib_per_sm << 10;
  info.shared_memory_per_block_optin = (model.shared_kib_per_sm - 1) << 10;
  info.pcie_generation = model.pcie_generation;
  info.pci_bus = index + 1;
  info.pci_device_id = model.pci_device_id;
  info.numa_node = numa_node;
  info.execution = static_cast<uint32_t>(spec.execution);
  return info;
}

std::string uuid_text(const CardInfo& info) {
  std::string text = "GPU-";
  for (size_t i = 0; i < sizeof info.uuid; ++i) {
    if (i == 4 || i == 6 || i == 8 || i == 10) text += '-';
    char hex[3];
    snprintf(hex, sizeof hex, "%02x", info.uuid[i]);
    text += hex;
  }
  return text;
}

std::string pci_bus_id(const CardInfo& info) {
  char text[32];
  snprintf(text, sizeof text, "%08X:%02X:00.0", info.pci_domain, info.pci_bus);
  return text;
}

uint64_t kernel_duration_ns(const CardInfo& card, uint64_t blocks, uint64_t threads_per_block) {
  const uint64_t per_sm = std::clamp<uint64_t>(card.threads_per_sm / std::max<uint64_t>(threads_per_block, 1),
                                               1, kMaxBlocksPerSm);
  const uint64_t per_wave = per_sm * card.sm_count;
  const uint64_t waves = (blocks + per_wave - 1) / per_wave;
  return kLaunchNs + waves * (kWaveCycles * 1000 / card.sm_clock_mhz);
}

}  // namespace tweendeck::softgpu
