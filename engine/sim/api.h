// OpenAI's API as data: bodies of requests in, bodies of answers out. Pure; safe from any thread.
//
// Errors are OpenAI error objects as vLLM sends them. Unknown fields are ignored, as vLLM does; what the
// simulation cannot honour (several choices, other content than text) is refused rather than answered
// wrongly.
#pragma once

#include <cstdint>
#include <expected>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/sim/tokens.h"

namespace tweendeck::sim {

inline constexpr std::string_view kFingerprint = "tweendeck-sim (simulated)";
inline constexpr uint32_t kEmbeddingDimensions = 256;
inline constexpr size_t kMaxEmbeddingInputs = 2048;
inline constexpr size_t kMaxStops = 16;

struct ApiError {
  int status = 400;
  std::string message;
  std::string param;  // the field that is wrong; may be empty
};
template <class T>
using ApiResult = std::expected<T, ApiError>;

struct Generate {
  std::string model;
  std::vector<Token> prompt;
  std::optional<uint32_t> max_tokens;
  std::vector<std::string> stops;
  bool chat = false;
  bool stream = false;
  bool include_usage = false;
  bool ignore_eos = false;
};

struct Embed {
  std::string model;
  std::vector<std::vector<Token>> inputs;
  uint32_t dimensions = kEmbeddingDimensions;
  bool base64 = false;
};

struct LoraChange {
  std::string name;
};

ApiResult<Generate> parse_chat(std::string_view body);
ApiResult<Generate> parse_completion(std::string_view body);
ApiResult<Embed> parse_embed(std::string_view body);
ApiResult<LoraChange> parse_lora(std::string_view body);

// How an answer will end; known in advance, because it is a function of the prompt.
struct Outcome {
  uint32_t tokens = 0;
  uint64_t text_bytes = 0;  // less than 4 * tokens when a stop string cuts it
  bool stopped = false;     // finish_reason "stop", else "length"
};
Outcome foresee(const Generate& request, uint64_t prompt_hash, uint32_t max_tokens);

struct Usage {
  uint64_t prompt_tokens = 0;
  uint64_t completion_tokens = 0;
  uint64_t cached_tokens = 0;
};

struct AnswerHead {
  std::string id;  // "chatcmpl-..." or "cmpl-..."
  std::string model;
  int64_t created = 0;  // seconds since the epoch
  bool chat = false;
};

std::string render_error(const ApiError& error);
std::string render_answer(const AnswerHead& head, std::string_view text, bool stopped, const Usage& usage);
std::string render_models(const std::string& base, const std::vector<std::string>& adapters, int64_t created,
                          uint32_t max_context_tokens);
std::string render_embeddings(const Embed& request, uint64_t tokens);

// Server-sent events of one streamed answer.
std::string event_role(const AnswerHead& head);  // first event of a chat
std::string event_text(const AnswerHead& head, std::string_view text);
std::string event_finish(const AnswerHead& head, bool stopped);
std::string event_usage(const AnswerHead& head, const Usage& usage);
inline constexpr std::string_view kEventDone = "data: [DONE]\n\n";

}  // namespace tweendeck::sim
