#include "routing/gateway/answers.h"

#include <fmt/format.h>

#include "net/http1.h"
#include "net/json.h"
#include "routing/dialect/errors.h"

namespace tweendeck::routing::gateway {
namespace {

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

std::string error_answer(const Error& error, Nanos retry_after, bool keep_alive) {
  int status = http_status(error.reason);
  std::string body = dialect::openai_error(error);
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
