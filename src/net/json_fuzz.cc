// Any bytes: what parse_json accepts is written and read back the same.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "net/json.h"

using namespace tweendeck::net;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  auto value = parse_json(std::string_view(reinterpret_cast<const char*>(data), size));
  if (!value) return 0;
  JsonWriter first;
  first.value(*value);
  auto again = parse_json(first.text());
  if (!again) std::abort();
  JsonWriter second;
  second.value(*again);
  if (first.text() != second.text()) std::abort();
  return 0;
}
