#include "app/client/chat_stream.h"

#include <fmt/format.h>

#include "net/json.h"

namespace tweendeck::client {
namespace {

constexpr size_t kMaxQuotedBodyBytes = 200;

uint64_t count_of(const net::JsonValue& value) {
  int64_t number = value.integer_or(0);
  return number < 0 ? 0 : static_cast<uint64_t>(number);
}

}  // namespace

bool SseReader::feed(std::string_view bytes, const std::function<void(std::string_view)>& on_data) {
  while (!bytes.empty() && !broken_) {
    size_t end = bytes.find('\n');
    std::string_view part = bytes.substr(0, end);
    if (partial_.size() + part.size() > kMaxSseLineBytes) {
      broken_ = true;
    } else if (end == std::string_view::npos) {
      partial_ += part;
    } else if (partial_.empty()) {
      line(part, on_data);
    } else {
      partial_ += part;
      line(partial_, on_data);
      partial_.clear();
    }
    bytes = end == std::string_view::npos ? std::string_view() : bytes.substr(end + 1);
  }
  return !broken_;
}

bool SseReader::line(std::string_view text, const std::function<void(std::string_view)>& on_data) {
  if (text.ends_with('\r')) text.remove_suffix(1);
  if (!text.starts_with("data:")) return false;
  text.remove_prefix(5);
  if (text.starts_with(' ')) text.remove_prefix(1);
  on_data(text);
  return true;
}

ChatProgress read_chat_event(std::string_view data) {
  ChatProgress progress;
  if (data == "[DONE]") {
    progress.done = true;
    return progress;
  }
  Result<net::JsonValue> event = net::parse_json(data);
  if (!event) {
    progress.error = "the stream holds an event that is no JSON";
    return progress;
  }
  const net::JsonValue& error = (*event)["error"];
  if (!error.is_null()) progress.error = error["message"].text_or("the server reported an error");
  for (const net::JsonValue& choice : (*event)["choices"].items()) {
    progress.text += choice["delta"]["content"].text_or("");
    progress.text += choice["delta"]["reasoning_content"].text_or("");
    progress.finish_reason = choice["finish_reason"].text_or("");
  }
  const net::JsonValue& usage = (*event)["usage"];
  if (usage.is_object()) {
    progress.has_usage = true;
    progress.usage = {.prompt_tokens = count_of(usage["prompt_tokens"]),
                      .cached_tokens = count_of(usage["prompt_tokens_details"]["cached_tokens"]),
                      .output_tokens = count_of(usage["completion_tokens"])};
  }
  return progress;
}

std::string chat_body(const ChatRequest& request) {
  net::JsonWriter w;
  w.object().field("model", request.model).array("messages");
  for (const ChatMessage& message : request.messages) {
    w.object().field("role", message.role).field("content", message.content).end();
  }
  w.end();
  if (request.max_tokens > 0) w.field("max_tokens", request.max_tokens);
  if (request.temperature >= 0) w.field("temperature", request.temperature);
  if (request.ignore_eos) w.field("ignore_eos", true);
  w.field("stream", true).object("stream_options").field("include_usage", true).end().end();
  return w.take();
}

Error chat_error(int status, std::string_view body) {
  Result<net::JsonValue> answer = net::parse_json(body);
  const net::JsonValue null;
  const net::JsonValue& error = answer ? (*answer)["error"] : null;
  std::string message(error["message"].text_or(""));
  if (message.empty()) message = fmt::format("HTTP {}: {}", status, body.substr(0, kMaxQuotedBodyBytes));
  // The gateway's errors carry a reason as `code`; an engine's own do not.
  Reason reason = parse_reason(error["code"].text_or(""))
                      .value_or(status == 404   ? Reason::NotFound
                                : status >= 500 ? Reason::UpstreamFailed
                                                : Reason::MalformedRequest);
  std::string hint(error["hint"].text_or(""));
  // For clients that show the message only, the gateway says the hint there too.
  if (std::string tail = "; " + hint; !hint.empty() && message.ends_with(tail))
    message.resize(message.size() - tail.size());
  return {reason, std::move(message), std::move(hint)};
}

}  // namespace tweendeck::client
