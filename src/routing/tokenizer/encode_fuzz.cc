// Any text through every known pattern: the tokens' texts, joined, are the text that was encoded.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "routing/tokenizer/tokenizer.h"
#include "routing/tokenizer/tokenizer_testing.h"
#include "routing/tokenizer/unicode.h"

using namespace tweendeck::routing::tokenizer;

namespace {

std::shared_ptr<const Tokenizer> make(std::string pre_tokenizer) {
  SmallTokenizer small{
      .merges = {{"t", "h"}, {"th", "e"}, {" ", "the"}, {"\xE4", "\xB8"}, {"a", "a"}, {"aa", "aa"}}};
  small.pre_tokenizer = std::move(pre_tokenizer);
  return load_tokenizer(small.json()).value();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static Encoder encoders[] = {
      Encoder(make(R"({"type": "ByteLevel", "add_prefix_space": false, "use_regex": true})")),
      Encoder(make(
          R"({"type": "Sequence", "pretokenizers": [{"type": "Split", "behavior": "Isolated", "pattern": {"Regex":
          "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]*[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]+|[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]+[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]*|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"}},
          {"type": "ByteLevel", "add_prefix_space": false, "use_regex": false}]})")),
      Encoder(make(
          R"({"type": "Sequence", "pretokenizers": [{"type": "Split", "behavior": "Isolated", "pattern": {"Regex":
          "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"}},
          {"type": "ByteLevel", "add_prefix_space": false, "use_regex": false}]})")),
  };
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const std::string text = repaired_utf8(input);
  if (!is_utf8(text) || (is_utf8(input) && text != input)) std::abort();
  for (Encoder& encoder : encoders) {
    std::vector<uint32_t> ids;
    encoder.encode(input, {}, ids);
    std::string joined;
    for (const uint32_t id : ids) joined += encoder.tokenizer().text_of(id);
    if (joined != text) std::abort();
  }
  if (to_nfc(to_nfc(text)) != to_nfc(text) || (is_surely_nfc(text) && to_nfc(text) != text)) std::abort();
  return 0;
}
