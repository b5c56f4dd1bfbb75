// A GPU's UUID as text and as bytes.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace tweendeck::device::nvml {

// "GPU-8-4-4-4-12" or "MIG-..." in hexadecimal as the 16 bytes that the CUDA driver gives.
bool parse_uuid(std::string_view text, uint8_t (&out)[16]);

// The text of 16 bytes: "GPU-...".
std::string format_uuid(const uint8_t (&uuid)[16]);

}  // namespace tweendeck::device::nvml
