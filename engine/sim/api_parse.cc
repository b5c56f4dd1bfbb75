#include <fmt/core.h>
#include <simdjson.h>

#include <algorithm>

#include "engine/sim/api.h"

namespace tweendeck::sim {
namespace {

using simdjson::dom::element;
using simdjson::dom::object;

constexpr uint64_t kMaxTokens = 1u << 24;

std::unexpected<ApiError> bad(std::string message, std::string param = {}) {
  return std::unexpected(ApiError{400, std::move(message), std::move(param)});
}

// Keeps the parsed document alive; its elements point into it.
struct Document {
  simdjson::dom::parser parser;
  object root;
};

ApiResult<object> parse_object(Document& document, std::string_view body) {
  element root;
  const simdjson::padded_string padded(body);
  if (const auto error = document.parser.parse(padded).get(root)) {
    return bad(fmt::format("the body is not JSON: {}", simdjson::error_message(error)));
  }
  if (root.get(document.root) != simdjson::SUCCESS) return bad("the body is not a JSON object");
  return document.root;
}

bool has(const object& root, const char* key, element& out) {
  return root.at_key(key).get(out) == simdjson::SUCCESS && !out.is_null();
}

ApiResult<std::string> required_string(const object& root, const char* key) {
  element value;
  std::string_view text;
  if (!has(root, key, value)) return bad(fmt::format("{} is missing", key), key);
  if (value.get(text) != simdjson::SUCCESS) return bad(fmt::format("{} is not a string", key), key);
  return std::string(text);
}

ApiResult<bool> optional_bool(const object& root, const char* key) {
  element value;
  bool flag = false;
  if (!has(root, key, value)) return false;
  if (value.get(flag) != simdjson::SUCCESS) return bad(fmt::format("{} is not true or false", key), key);
  return flag;
}

ApiResult<std::optional<uint32_t>> optional_count(const object& root, const char* key, uint64_t least) {
  element value;
  uint64_t count = 0;
  if (!has(root, key, value)) return std::nullopt;
  if (value.get(count) != simdjson::SUCCESS || count < least || count > kMaxTokens) {
    return bad(fmt::format("{} must be a whole number from {} to {}", key, least, kMaxTokens), key);
  }
  return static_cast<uint32_t>(count);
}

ApiResult<std::vector<std::string>> parse_stops(const object& root) {
  std::vector<std::string> stops;
  element value;
  if (!has(root, "stop", value)) return stops;
  auto add = [&](const element& item) {
    std::string_view text;
    if (item.get(text) != simdjson::SUCCESS || text.empty() || stops.size() == kMaxStops) return false;
    stops.emplace_back(text);
    return true;
  };
  simdjson::dom::array items;
  bool good = true;
  if (value.get(items) == simdjson::SUCCESS) {
    for (const element item : items) good = good && add(item);
  } else {
    good = add(value);
  }
  if (!good)
    return bad(fmt::format("stop must be a string or up to {} strings, none empty", kMaxStops), "stop");
  return stops;
}

ApiResult<void> parse_common(const object& root, Generate& out) {
  auto model = required_string(root, "model");
  if (!model) return std::unexpected(model.error());
  out.model = std::move(*model);
  const auto choices = optional_count(root, "n", 1);
  if (!choices) return std::unexpected(choices.error());
  if (choices->value_or(1) != 1)
    return bad("the simulated engine gives one choice per request: n must be 1", "n");
  auto stops = parse_stops(root);
  if (!stops) return std::unexpected(stops.error());
  out.stops = std::move(*stops);
  const auto stream = optional_bool(root, "stream");
  if (!stream) return std::unexpected(stream.error());
  out.stream = *stream;
  const auto ignore_eos = optional_bool(root, "ignore_eos");
  if (!ignore_eos) return std::unexpected(ignore_eos.error());
  out.ignore_eos = *ignore_eos;
  for (const char* key : {"max_tokens", "max_completion_tokens"}) {
    const auto count = optional_count(root, key, 1);
    if (!count) return std::unexpected(count.error());
    if (*count) out.max_tokens = *count;
  }
  element options;
  object fields;
  if (has(root, "stream_options", options)) {
    if (options.get(fields) != simdjson::SUCCESS)
      return bad("stream_options is not an object", "stream_options");
    const auto usage = optional_bool(fields, "include_usage");
    if (!usage) return std::unexpected(usage.error());
    out.include_usage = *usage;
  }
  return {};
}

// A message's content: a string, or parts of type text.
bool append_content(std::vector<Token>& tokens, const element& content) {
  std::string_view text;
  if (content.is_null()) return true;
  if (content.get(text) == simdjson::SUCCESS) {
    append_text(tokens, text);
    return true;
  }
  simdjson::dom::array parts;
  if (content.get(parts) != simdjson::SUCCESS) return false;
  for (const element part : parts) {
    std::string_view type;
    if (part["type"].get(type) != simdjson::SUCCESS || type != "text") return false;
    if (part["text"].get(text) != simdjson::SUCCESS) return false;
    append_text(tokens, text);
  }
  return true;
}

std::optional<Special> role_of(std::string_view role) {
  if (role == "system" || role == "developer") return Special::System;
  if (role == "user") return Special::User;
  if (role == "assistant") return Special::Assistant;
  if (role == "tool" || role == "function") return Special::Tool;
  return std::nullopt;
}

ApiResult<void> append_message(std::vector<Token>& tokens, const element& message) {
  std::string_view role;
  if (message["role"].get(role) != simdjson::SUCCESS) return bad("a message has no role", "messages");
  const auto kind = role_of(role);
  if (!kind) return bad(fmt::format("the role \"{}\" is not known", role), "messages");
  tokens.push_back(special(*kind));
  element content;
  if (message["content"].get(content) == simdjson::SUCCESS && !append_content(tokens, content)) {
    return bad("the simulated engine takes text only: content must be a string or parts of type text",
               "messages");
  }
  tokens.push_back(special(Special::EndOfMessage));
  return {};
}

// A text or an array of token ids.
bool append_prompt(std::vector<Token>& tokens, const element& prompt) {
  std::string_view text;
  if (prompt.get(text) == simdjson::SUCCESS) {
    append_text(tokens, text);
    return true;
  }
  simdjson::dom::array ids;
  if (prompt.get(ids) != simdjson::SUCCESS) return false;
  for (const element id : ids) {
    uint64_t token = 0;
    if (id.get(token) != simdjson::SUCCESS || token > UINT32_MAX) return false;
    tokens.push_back(static_cast<Token>(token));
  }
  return true;
}

bool is_list_of_prompts(const element& value) {
  simdjson::dom::array items;
  if (value.get(items) != simdjson::SUCCESS || items.size() == 0) return false;
  const element first = items.at(0);
  return first.is_string() || first.is_array();
}

}  // namespace

ApiResult<Generate> parse_chat(std::string_view body) {
  Document document;
  const auto root = parse_object(document, body);
  if (!root) return std::unexpected(root.error());
  Generate out;
  out.chat = true;
  if (auto common = parse_common(*root, out); !common) return std::unexpected(common.error());
  element value;
  simdjson::dom::array messages;
  if (!has(*root, "messages", value) || value.get(messages) != simdjson::SUCCESS || messages.size() == 0) {
    return bad("messages is missing or not a list with at least one message", "messages");
  }
  out.prompt.push_back(special(Special::Begin));
  for (const element message : messages) {
    if (auto added = append_message(out.prompt, message); !added) return std::unexpected(added.error());
  }
  out.prompt.push_back(special(Special::Assistant));
  return out;
}

ApiResult<Generate> parse_completion(std::string_view body) {
  Document document;
  const auto root = parse_object(document, body);
  if (!root) return std::unexpected(root.error());
  Generate out;
  if (auto common = parse_common(*root, out); !common) return std::unexpected(common.error());
  element prompt;
  if (!has(*root, "prompt", prompt)) return bad("prompt is missing", "prompt");
  simdjson::dom::array items;
  if (is_list_of_prompts(prompt) && prompt.get(items) == simdjson::SUCCESS) {
    if (items.size() != 1) return bad("the simulated engine takes one prompt per request", "prompt");
    prompt = items.at(0);
  }
  out.prompt.push_back(special(Special::Begin));
  if (!append_prompt(out.prompt, prompt))
    return bad("prompt must be a text or a list of token ids", "prompt");
  return out;
}

ApiResult<Embed> parse_embed(std::string_view body) {
  Document document;
  const auto root = parse_object(document, body);
  if (!root) return std::unexpected(root.error());
  Embed out;
  auto model = required_string(*root, "model");
  if (!model) return std::unexpected(model.error());
  out.model = std::move(*model);
  const auto dimensions = optional_count(*root, "dimensions", 1);
  if (!dimensions) return std::unexpected(dimensions.error());
  out.dimensions = dimensions->value_or(kEmbeddingDimensions);
  if (out.dimensions > kEmbeddingDimensions) {
    return bad(fmt::format("dimensions may be at most {}", kEmbeddingDimensions), "dimensions");
  }
  element value;
  std::string_view format;
  if (has(*root, "encoding_format", value)) {
    if (value.get(format) != simdjson::SUCCESS || (format != "float" && format != "base64")) {
      return bad("encoding_format must be float or base64", "encoding_format");
    }
    out.base64 = format == "base64";
  }
  if (!has(*root, "input", value)) return bad("input is missing", "input");
  std::vector<element> inputs = {value};
  simdjson::dom::array items;
  if (is_list_of_prompts(value) && value.get(items) == simdjson::SUCCESS)
    inputs.assign(items.begin(), items.end());
  if (inputs.size() > kMaxEmbeddingInputs) {
    return bad(fmt::format("input may hold at most {} texts", kMaxEmbeddingInputs), "input");
  }
  for (const element& input : inputs) {
    if (!append_prompt(out.inputs.emplace_back(), input) || out.inputs.back().empty()) {
      return bad("input must be texts or lists of token ids, none empty", "input");
    }
  }
  return out;
}

ApiResult<LoraChange> parse_lora(std::string_view body) {
  Document document;
  const auto root = parse_object(document, body);
  if (!root) return std::unexpected(root.error());
  auto name = required_string(*root, "lora_name");
  if (!name) return std::unexpected(name.error());
  if (name->empty()) return bad("lora_name is empty", "lora_name");
  return LoraChange{std::move(*name)};
}

Outcome foresee(const Generate& request, uint64_t prompt_hash, uint32_t max_tokens) {
  Outcome out;
  const uint32_t natural = request.ignore_eos ? UINT32_MAX : natural_length(prompt_hash);
  out.tokens = std::min(max_tokens, natural);
  out.stopped = natural <= max_tokens;
  out.text_bytes = uint64_t{out.tokens} * kTokenBytes;
  if (request.stops.empty()) return out;
  const std::string text = answer_text(prompt_hash, 0, out.tokens);
  size_t first = std::string::npos;
  size_t end = 0;
  for (const std::string& stop : request.stops) {
    const size_t at = text.find(stop);
    if (at < first) first = at, end = at + stop.size();
  }
  if (first == std::string::npos) return out;
  out.tokens = static_cast<uint32_t>((end + kTokenBytes - 1) / kTokenBytes);
  out.text_bytes = first;
  out.stopped = true;
  return out;
}

}  // namespace tweendeck::sim
