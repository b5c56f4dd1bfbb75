#include "vgpu/hami.h"

#include <string.h>

namespace tweendeck::vgpu {
namespace {

constexpr size_t kMaxVariable = sizeof(HamiLimits::bad_variable);

// Decimal digits at `text`; moves behind them.
bool parse_digits(const char*& text, uint64_t& value) {
  const char* const start = text;
  value = 0;
  for (; *text >= '0' && *text <= '9'; ++text) {
    if (__builtin_mul_overflow(value, 10, &value) ||
        __builtin_add_overflow(value, static_cast<uint64_t>(*text - '0'), &value)) {
      return false;
    }
  }
  return text != start;
}

bool parse_percent(const char* text, uint64_t& percent) {
  return parse_digits(text, percent) && *text == 0;
}

bool equal_ignoring_case(const char* text, const char* lower) {
  for (; *text && *lower; ++text, ++lower) {
    const char c = *text >= 'A' && *text <= 'Z' ? static_cast<char>(*text + ('a' - 'A')) : *text;
    if (c != *lower) return false;
  }
  return *text == *lower;
}

// `name`, or name_<device>.
void write_variable(char (&out)[kMaxVariable], const char* name, int device) {
  size_t size = strlen(name);
  memcpy(out, name, size);
  if (device >= 0) {
    out[size++] = '_';
    if (device >= 10) out[size++] = static_cast<char>('0' + device / 10);
    out[size++] = static_cast<char>('0' + device % 10);
  }
  out[size] = 0;
}

class Reader {
 public:
  Reader(Environment get, HamiLimits& limits) : get_(get), limits_(limits) {}

  // The device's own value, else the common one, else 0.
  template <class Parse>
  uint64_t value(const char* name, int device, Parse parse) {
    const int order[] = {device, -1};
    for (const int which : order) {
      char variable[kMaxVariable];
      write_variable(variable, name, which);
      const char* const text = get_(variable);
      if (!text || !*text) continue;
      limits_.asked = true;
      uint64_t parsed = 0;
      if (parse(text, parsed)) return parsed;
      if (!limits_.bad_variable[0]) memcpy(limits_.bad_variable, variable, sizeof(variable));
      return 0;
    }
    return 0;
  }

 private:
  Environment get_;
  HamiLimits& limits_;
};

}  // namespace

bool parse_hami_size(const char* text, uint64_t& bytes) {
  uint64_t value = 0;
  if (!parse_digits(text, value)) return false;
  unsigned shift = 0;
  switch (*text) {
    case 'k':
    case 'K':
      shift = 10;
      break;
    case 'm':
    case 'M':
      shift = 20;
      break;
    case 'g':
    case 'G':
      shift = 30;
      break;
    case 0:
      break;
    default:
      return false;
  }
  if (shift != 0 && text[1] != 0) return false;
  bytes = value << shift;
  return bytes >> shift == value;
}

int visible_number(const char* visible, unsigned index, const char* uuid) {
  if (!visible) return index < TW_VGPU_MAX_DEVICES ? static_cast<int>(index) : -1;
  for (int number = 0; number < TW_VGPU_MAX_DEVICES && *visible; ++number) {
    const char* const entry = visible;
    while (*visible && *visible != ',') ++visible;
    const auto size = static_cast<size_t>(visible - entry);
    const char* end = entry;
    uint64_t value = 0;
    if (parse_digits(end, value)) {
      if (end == visible && value == index) return number;
    } else if (size > 0 && strncmp(entry, uuid, size) == 0) {
      return number;
    }
    if (*visible) ++visible;
  }
  return -1;
}

HamiLimits read_hami_limits(Environment get) {
  HamiLimits limits;
  Reader reader(get, limits);
  const char* const policy = get("GPU_CORE_UTILIZATION_POLICY");
  const bool time_is_limited = !policy || !equal_ignoring_case(policy, "disable");
  const char* const priority = get("CUDA_TASK_PRIORITY");
  limits.set.device_count = TW_VGPU_MAX_DEVICES;
  for (int i = 0; i < TW_VGPU_MAX_DEVICES; ++i) {
    tw_vgpu_device_limit& device = limits.set.devices[i];
    device.memory_bytes = reader.value("CUDA_DEVICE_MEMORY_LIMIT", i, parse_hami_size);
    const uint64_t percent = reader.value("CUDA_DEVICE_SM_LIMIT", i, parse_percent);
    if (time_is_limited && percent < kHamiPercent) {
      device.compute_ceiling_permille = static_cast<uint32_t>(percent * TW_VGPU_WHOLE / kHamiPercent);
      device.compute_floor_permille = device.compute_ceiling_permille;
    }
    device.weight = 1;
    device.priority = priority && equal_ignoring_case(priority, "0") ? 1 : 0;
  }
  const char* const oversubscribe = get("CUDA_OVERSUBSCRIBE");
  limits.oversubscribe = oversubscribe && equal_ignoring_case(oversubscribe, "true");
  const char* const level = get("LIBCUDA_LOG_LEVEL");
  if (level && *level >= '0' && *level <= '9' && level[1] == 0) limits.log_level = *level - '0';
  limits.shared_cache = get("CUDA_DEVICE_MEMORY_SHARED_CACHE");
  limits.visible_devices = get("CUDA_VISIBLE_DEVICES");
  return limits;
}

}  // namespace tweendeck::vgpu
