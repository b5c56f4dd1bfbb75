// Answers the gateway gives itself, as complete HTTP messages. Pure.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/result.h"

namespace tweendeck::routing::gateway {

std::string plain_answer(int status, std::string_view content_type, std::string_view body, bool keep_alive,
                         bool with_body = true);

// OpenAI's error object; `code` is the reason. 429 and 503 carry Retry-After.
std::string error_answer(const Error& error, Nanos retry_after, bool keep_alive);

struct ModelEntry {
  std::string id;
  int64_t created_s = 0;
};
std::string models_json(const std::vector<ModelEntry>& models);
std::string model_json(const ModelEntry& model);

}  // namespace tweendeck::routing::gateway
