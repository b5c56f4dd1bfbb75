// Any bytes: replay answers or refuses, and what it accepts it accepts again as the same table. Half of the
// runs start from a valid header, so that the records behind it are reached.
#include <cstdint>
#include <cstdlib>
#include <string>

#include "device/journal/record.h"

using tweendeck::Result;
using tweendeck::device::Replay;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string bytes(reinterpret_cast<const char*>(data), size);
  if (size > 0 && data[0] % 2 == 0) bytes = tweendeck::device::encode_header() + bytes.substr(1);
  Result<Replay> first = tweendeck::device::replay(bytes);
  if (!first) return 0;
  if (first->valid_bytes > bytes.size()) std::abort();
  // The table written anew must say the same.
  std::string fresh = tweendeck::device::encode_header();
  uint64_t sequence = 1;
  for (const auto& record : first->table.snapshot())
    fresh += tweendeck::device::encode_record(record, sequence++);
  Result<Replay> second = tweendeck::device::replay(fresh);
  if (!second || second->torn || second->table.entries() != first->table.entries()) std::abort();
  return 0;
}
