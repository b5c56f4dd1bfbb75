// The scanner on any bytes, whole and split: same verdict, ranges inside the body.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "routing/dialect/body_scanner.h"

using tweendeck::routing::dialect::BodyScanner;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string_view text(reinterpret_cast<const char*>(data), size);
  BodyScanner whole, split;
  bool whole_ok = whole.update(text) && whole.finish();
  bool split_ok = true;
  for (size_t at = 0, step = 1; at < size && split_ok; at += step, step = 1 + (step * 7 + size) % 13) {
    split_ok = split.update(text.substr(at, step));
  }
  split_ok = split_ok && split.finish();
  if (whole_ok != split_ok || (whole_ok && whole.model() != split.model())) std::abort();
  for (BodyScanner::Range range : {whole.model_range(), whole.prompt_range()}) {
    if (range.end > size || range.begin > range.end) std::abort();
  }
  return 0;
}
