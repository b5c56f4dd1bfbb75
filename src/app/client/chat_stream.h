// One streamed chat answer, read from its bytes: server-sent events of an OpenAI-compatible server. Pure.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace tweendeck::client {

inline constexpr size_t kMaxSseLineBytes = 4 << 20;

// Cuts a byte stream into the data of its events; results do not depend on how the bytes were split.
class SseReader {
 public:
  // False when a line passes kMaxSseLineBytes; the rest is ignored then.
  bool feed(std::string_view bytes, const std::function<void(std::string_view data)>& on_data);

 private:
  bool line(std::string_view text, const std::function<void(std::string_view)>& on_data);
  std::string partial_;
  bool broken_ = false;
};

struct Usage {
  uint64_t prompt_tokens = 0;
  uint64_t cached_tokens = 0;
  uint64_t output_tokens = 0;
};

// What one event says. `pieces` counts events that carried generated text, for servers that report no usage.
struct ChatProgress {
  std::string text;   // new in this event
  bool done = false;  // [DONE]
  bool has_usage = false;
  Usage usage;
  std::string finish_reason;
  std::string error;  // an error object inside the stream
};
ChatProgress read_chat_event(std::string_view data);

struct ChatMessage {
  std::string role;
  std::string content;
};

struct ChatRequest {
  std::string model = {};
  std::vector<ChatMessage> messages = {};
  uint32_t max_tokens = 0;  // 0 = the server's choice
  double temperature = -1;  // negative = the server's choice
  bool ignore_eos = false;  // exactly max_tokens, for benchmarks
};
std::string chat_body(const ChatRequest& request);

// The message of an error answer in OpenAI's form, or the body's start.
Error chat_error(int status, std::string_view body);

}  // namespace tweendeck::client
