// Any bytes as tokenizer.json: refused or loaded, and what is loaded encodes any text.
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "routing/tokenizer/tokenizer.h"

using namespace tweendeck::routing::tokenizer;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  auto loaded = load_tokenizer(input);
  if (!loaded) return 0;
  Encoder encoder(*loaded);
  std::vector<uint32_t> ids;
  encoder.encode(input, {.special = true}, ids);
  encoder.encode("Hello <s> w\u00F6rld \u4E2D\u6587 12345 don't\r\n", {}, ids);
  return 0;
}
