#include "routing/dialect/errors.h"

#include "net/json.h"

namespace tweendeck::routing::dialect {
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

}  // namespace

std::string openai_error(const Error& error) {
  net::JsonWriter w;
  w.object().object("error").field("message",
                                   error.hint.empty() ? error.message : error.message + "; " + error.hint);
  w.field("type", openai_type(http_status(error.reason))).name("param").null();
  w.field("code", to_string(error.reason)).field("hint", error.hint).end().end();
  return w.take();
}

}  // namespace tweendeck::routing::dialect
