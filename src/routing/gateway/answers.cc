#include "routing/gateway/answers.h"

#include <fmt/format.h>

#include "net/http1.h"
#include "net/json.h"

namespace tweendeck::routing::gateway {
namespace {

std::string_view openai_type(int status) {
  switch (status) {
    case 401:
      return "authentication_error";
    case 403:
      return "permission_error";
    case 404:
      return "not_found_error";
    case 429:
      return "rate_limit_error";
    default:
      return status < 500 ? "invalid_request_error" : "server_error";
  }
}

void write_model(net::JsonWriter& w, const ModelEntry& model) {
  w.object().field("id", model.id).field("object", "model").field("created", model.created_s);
  w.field("owned_by", "tweendeck").end();
}

}  // namespace

std::string plain_answer(int status, std::string_view content_type, std::string_view body, bool keep_alive,
                         bool with_body) {
  return fmt::format("HTTP/1.1 {} {}\r\nContent-Type: {}\r\nContent-Length: {}\r\n{}\r\n{}", status,
                     net::status_text(status), content_type, body.size(),
                     keep_alive ? "" : "Connection: close\r\n", with_body ? body : std::string_view());
}

std::string openai_error_json(const Error& error) {
  net::JsonWriter w;
  w.object().object("error").field("message",
                                   error.hint.empty() ? error.message : error.message + "; " + error.hint);
  w.field("type", openai_type(http_status(error.reason))).name("param").null();
  w.field("code", to_string(error.reason)).field("hint", error.hint).end().end();
  return w.take();
}

std::string error_answer(const Error& error, Nanos retry_after, bool keep_alive) {
  int status = http_status(error.reason);
  std::string body = openai_error_json(error);
  std::string fields;
  if (status == 429 || status == 503)
    fields = fmt::format("Retry-After: {}\r\n", (retry_after + kSecond - 1) / kSecond);
  if (status == 401) fields = "WWW-Authenticate: Bearer\r\n";
  if (!keep_alive) fields += "Connection: close\r\n";
  return fmt::format("HTTP/1.1 {} {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n{}\r\n{}",
                     status, net::status_text(status), body.size(), fields, body);
}

std::string models_json(const std::vector<ModelEntry>& models) {
  net::JsonWriter w;
  w.object().field("object", "list").array("data");
  for (const ModelEntry& model : models) write_model(w, model);
  w.end().end();
  return w.take();
}

std::string model_json(const ModelEntry& model) {
  net::JsonWriter w;
  write_model(w, model);
  return w.take();
}

}  // namespace tweendeck::routing::gateway
