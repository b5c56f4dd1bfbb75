// Whatever a server sends is read without a fault, and the same however it is split.
#include <cstdint>
#include <cstdlib>
#include <string>

#include "app/client/chat_stream.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace tweendeck::client;
  std::string_view bytes(reinterpret_cast<const char*>(data), size);
  auto text_of = [&](size_t cut) {
    SseReader reader;
    std::string text;
    auto take = [&](std::string_view event) { text += read_chat_event(event).text; };
    reader.feed(bytes.substr(0, cut), take);
    reader.feed(bytes.substr(cut), take);
    return text;
  };
  if (text_of(size / 2) != text_of(size)) std::abort();
  return 0;
}
