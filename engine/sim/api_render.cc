#include <fmt/core.h>

#include <cstring>

#include "base/text.h"
#include "engine/sim/api.h"

namespace tweendeck::sim {
namespace {

std::string head_fields(const AnswerHead& head, std::string_view object) {
  return fmt::format(R"("id":"{}","object":"{}","created":{},"model":{},"system_fingerprint":"{}")", head.id,
                     object, head.created, json_quote(head.model), kFingerprint);
}

std::string usage_fields(const Usage& u) {
  return fmt::format(
      R"("usage":{{"prompt_tokens":{},"completion_tokens":{},"total_tokens":{},"prompt_tokens_details":{{"cached_tokens":{}}}}})",
      u.prompt_tokens, u.completion_tokens, u.prompt_tokens + u.completion_tokens, u.cached_tokens);
}

std::string_view finish_reason(bool stopped) {
  return stopped ? "stop" : "length";
}

std::string event(const AnswerHead& head, std::string_view rest) {
  return fmt::format("data: {{{},{}}}\n\n",
                     head_fields(head, head.chat ? "chat.completion.chunk" : "text_completion"), rest);
}

std::string base64(const std::vector<float>& values) {
  static constexpr char kDigits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string bytes(values.size() * sizeof(float), '\0');
  memcpy(bytes.data(), values.data(), bytes.size());
  std::string out;
  out.reserve((bytes.size() + 2) / 3 * 4);
  for (size_t at = 0; at < bytes.size(); at += 3) {
    const size_t left = std::min<size_t>(3, bytes.size() - at);
    uint32_t group = 0;
    for (size_t i = 0; i < 3; ++i) group = group << 8 | (i < left ? static_cast<uint8_t>(bytes[at + i]) : 0u);
    for (size_t i = 0; i < 4; ++i) out += i <= left ? kDigits[group >> (18 - 6 * i) & 63] : '=';
  }
  return out;
}

std::string vector_json(const std::vector<float>& values) {
  std::string out = "[";
  for (size_t i = 0; i < values.size(); ++i) out += fmt::format("{}{:.6g}", i == 0 ? "" : ",", values[i]);
  return out + "]";
}

}  // namespace

std::string render_error(const ApiError& error) {
  const std::string_view type = error.status == 404   ? "NotFoundError"
                                : error.status == 429 ? "RateLimitError"
                                : error.status >= 500 ? "InternalServerError"
                                                      : "BadRequestError";
  return fmt::format(R"({{"error":{{"message":{},"type":"{}","param":{},"code":{}}}}})",
                     json_quote(error.message), type, error.param.empty() ? "null" : json_quote(error.param),
                     error.status);
}

std::string render_answer(const AnswerHead& head, std::string_view text, bool stopped, const Usage& usage) {
  const std::string body =
      head.chat ? fmt::format(R"("message":{{"role":"assistant","content":{}}})", json_quote(text))
                : fmt::format(R"("text":{})", json_quote(text));
  return fmt::format(R"({{{},"choices":[{{"index":0,{},"logprobs":null,"finish_reason":"{}"}}],{}}})",
                     head_fields(head, head.chat ? "chat.completion" : "text_completion"), body,
                     finish_reason(stopped), usage_fields(usage));
}

std::string render_models(const std::string& base, const std::vector<std::string>& adapters, int64_t created,
                          uint32_t max_context_tokens) {
  auto card = [&](const std::string& id, const std::string& parent) {
    return fmt::format(
        R"({{"id":{},"object":"model","created":{},"owned_by":"{}","root":{},"parent":{},"max_model_len":{}}})",
        json_quote(id), created, kFingerprint, json_quote(base), parent, max_context_tokens);
  };
  std::string data = card(base, "null");
  for (const std::string& adapter : adapters) data += "," + card(adapter, json_quote(base));
  return fmt::format(R"({{"object":"list","data":[{}]}})", data);
}

std::string render_embeddings(const Embed& request, uint64_t tokens) {
  std::string data;
  for (size_t i = 0; i < request.inputs.size(); ++i) {
    const auto vector = embed(request.inputs[i].data(), request.inputs[i].size(), request.dimensions);
    data += fmt::format(R"({}{{"object":"embedding","index":{},"embedding":{}}})", i == 0 ? "" : ",", i,
                        request.base64 ? json_quote(base64(vector)) : vector_json(vector));
  }
  return fmt::format(
      R"({{"object":"list","model":{},"data":[{}],"usage":{{"prompt_tokens":{},"total_tokens":{}}},"system_fingerprint":"{}"}})",
      json_quote(request.model), data, tokens, tokens, kFingerprint);
}

std::string event_role(const AnswerHead& head) {
  return event(
      head,
      R"("choices":[{"index":0,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}])");
}

std::string event_text(const AnswerHead& head, std::string_view text) {
  if (head.chat) {
    return event(
        head,
        fmt::format(
            R"("choices":[{{"index":0,"delta":{{"content":{}}},"logprobs":null,"finish_reason":null}}])",
            json_quote(text)));
  }
  return event(head,
               fmt::format(R"("choices":[{{"index":0,"text":{},"logprobs":null,"finish_reason":null}}])",
                           json_quote(text)));
}

std::string event_finish(const AnswerHead& head, bool stopped) {
  return event(head, fmt::format(R"("choices":[{{"index":0,{},"logprobs":null,"finish_reason":"{}"}}])",
                                 head.chat ? R"("delta":{})" : R"("text":"")", finish_reason(stopped)));
}

std::string event_usage(const AnswerHead& head, const Usage& usage) {
  return event(head, fmt::format(R"("choices":[],{})", usage_fields(usage)));
}

}  // namespace tweendeck::sim
