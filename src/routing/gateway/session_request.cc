// Session's reading of requests: what is answered here, what goes to a replica and in which form.
#include <fmt/format.h>

#include <algorithm>

#include "routing/gateway/session.h"
#include "routing/gateway/upstream.h"

namespace tweendeck::routing::gateway {
namespace {

constexpr uint64_t kBytesPerToken = 4;  // a rough mean over texts and tokenizers
constexpr char kSmallerBody[] = "send less at once, for example a shorter prompt";
constexpr std::string_view kModelsPath = "/v1/models";

bool is_read(std::string_view method) {
  return method == "GET" || method == "HEAD";
}

}  // namespace

void Session::begin_request(const net::RequestHead& head) {
  request_.minor_version = head.minor_version;
  request_.keep_alive = head.keep_alive;
  request_.framing = head.framing;
  request_.content_length = head.content_length;
  request_.to_head = head.method == "HEAD";
  request_.reader = net::BodyReader(head, core_.config.http);
  request_.complete = request_.reader.done();
  std::string_view path = head.target.substr(0, head.target.find('?'));
  bool is_health = path == "/healthz" || path == "/readyz";
  if (core_.keys.required() && !is_health && !core_.keys.accepts(head.find("authorization"))) {
    fail({Reason::Unauthorized, "the API key is missing or wrong", "send it as Authorization: Bearer KEY"});
    return;
  }
  if (answer_locally(head, path)) return;
  if (auto ok = admissible(head, path); !ok) return fail(ok.error());

  if (head.framing == net::Framing::Length) {
    size_t wanted = static_cast<size_t>(std::min<uint64_t>(head.content_length, core_.config.max_hold_bytes));
    if (!core_.try_hold(wanted)) {
      return fail({Reason::Overloaded, "the gateway holds as many request bytes as it may", "try again"});
    }
    request_.held_bytes = wanted;
    request_.body.reserve(wanted);
  }
  build_forward_head(head);
  phase_ = Phase::Body;
  body_began_ = core_.now();
  if (head.expect_continue) {
    out_ += "HTTP/1.1 100 Continue\r\n\r\n";
    flush();
  }
}

// What the gateway knows itself.
bool Session::answer_locally(const net::RequestHead& head, std::string_view path) {
  bool is_models = path == kModelsPath || path.starts_with("/v1/models/");
  if (!is_models && path != "/healthz" && path != "/readyz" && path != "/metrics") return false;
  if (!is_read(head.method)) {
    fail({Reason::MethodNotAllowed, fmt::format("{} takes GET only", path), ""});
    return true;
  }
  bool keep = wants_keep_alive();
  auto send = [&](int status, std::string_view type, std::string_view body) {
    answer(plain_answer(status, type, body, keep, !request_.to_head), status, keep);
    return true;
  };
  if (path == "/healthz") return send(200, "text/plain", "ok\n");
  if (path == "/readyz") {
    return core_.refusing() ? send(503, "text/plain", "draining\n") : send(200, "text/plain", "ok\n");
  }
  if (path == "/metrics")
    return send(200, "text/plain; version=0.0.4; charset=utf-8", core_.registry.expose());
  std::vector<ModelEntry> models = core_.models();
  if (path == kModelsPath) return send(200, "application/json", models_json(models));
  std::string_view id = path.substr(kModelsPath.size() + 1);
  for (const ModelEntry& model : models) {
    if (model.id == id) return send(200, "application/json", model_json(model));
  }
  fail({Reason::UnknownModel, fmt::format("no deployment serves model \"{}\"", id), core_.model_hint()});
  return true;
}

// Whether a request for a replica may be read at all.
Status Session::admissible(const net::RequestHead& head, std::string_view path) const {
  if (!path.starts_with("/v1/")) {
    return tweendeck::fail(Reason::NotFound, fmt::format("there is no path {}", path.substr(0, 100)),
                           "the OpenAI API is below /v1/");
  }
  if (head.method != "POST") {
    return tweendeck::fail(Reason::MethodNotAllowed,
                           fmt::format("{} takes POST with a JSON body", path.substr(0, 100)),
                           "see docs/reference/http-api.md");
  }
  if (head.framing == net::Framing::Length && head.content_length > core_.config.max_body_bytes) {
    return tweendeck::fail(Reason::BodyTooLarge,
                           fmt::format("the body has {} bytes; at most {} are taken", head.content_length,
                                       core_.config.max_body_bytes),
                           kSmallerBody);
  }
  if (request_.reader.done()) {
    return tweendeck::fail(Reason::MissingModel, "the request has no body",
                           "send a JSON object that names a model");
  }
  if (core_.refusing())
    return tweendeck::fail(Reason::ShuttingDown, "the gateway is stopping",
                           "send it again when the gateway is back");
  return {};
}

void Session::build_forward_head(const net::RequestHead& head) {
  std::string& out = request_.head;
  out.append(head.method).append(" ").append(head.target).append(" HTTP/1.1\r\n");
  for (const net::HeaderField& field : head.fields) {
    switch (field.id) {
      case net::Field::Host:
      case net::Field::ContentLength:
      case net::Field::Expect:
        continue;
      case net::Field::Authorization:
        if (core_.keys.required()) continue;  // it is this gateway's key, not the replica's
        break;
      default:
        break;
    }
    if (net::is_hop_by_hop(field, head)) continue;
    out.append(field.name).append(": ").append(field.value).append("\r\n");
  }
}

// False when the request has ended here.
bool Session::take_content(std::string_view content) {
  if (!request_.scanner.update(content)) {
    const Error& error = request_.scanner.error();
    return upstream_ != nullptr ? fail_streaming(error) : fail(error), false;
  }
  if (request_.reader.content_bytes() > core_.config.max_body_bytes) {
    Error error{Reason::BodyTooLarge, fmt::format("the body passes {} bytes", core_.config.max_body_bytes),
                kSmallerBody};
    return upstream_ != nullptr ? fail_streaming(error) : fail(error), false;
  }
  if (request_.streaming) {
    if (request_.framing == net::Framing::Chunked) {
      fmt::format_to(std::back_inserter(request_.overflow), "{:x}\r\n{}\r\n", content.size(), content);
    } else {
      request_.overflow += content;
    }
    return true;
  }
  if (request_.body.size() + content.size() > request_.held_bytes) {
    size_t more = request_.body.size() + content.size() - request_.held_bytes;
    if (!core_.try_hold(more)) {
      fail({Reason::Overloaded, "the gateway holds as many request bytes as it may", "try again"});
      return false;
    }
    request_.held_bytes += more;
  }
  request_.body += content;
  if (request_.body.size() < core_.config.max_hold_bytes || request_.reader.done()) return true;
  return start_streaming();
}

// The body is larger than what is kept: a replica is chosen by what is known now. False: reading pauses or
// has ended.
bool Session::start_streaming() {
  if (!request_.scanner.has_model()) {
    fail({Reason::BodyTooLarge,
          fmt::format("the first {} bytes of the body do not name a model", request_.body.size()),
          "put \"model\" before the messages"});
    return false;
  }
  request_.streaming = true;
  if (request_.framing == net::Framing::Chunked)
    request_.overflow = "\r\n";  // ends the chunk that `body` becomes
  estimate_prompt();
  core_.submit(*this, {});
  return false;
}

// The whole body is there.
bool Session::finish_body() {
  if (!request_.scanner.finish()) {
    const Error& error = request_.scanner.error();
    return upstream_ != nullptr ? fail_streaming(error) : fail(error), true;
  }
  request_.complete = true;
  if (request_.streaming) {
    if (request_.framing == net::Framing::Chunked) request_.overflow += "0\r\n\r\n";
    if (upstream_ != nullptr) upstream_->pump();
    return true;
  }
  if (!request_.scanner.has_model()) {
    fail({Reason::MissingModel, "the request body names no model", core_.model_hint()});
    return true;
  }
  estimate_prompt();
  core_.submit(*this, {});
  return true;
}

void Session::estimate_prompt() {
  dialect::BodyScanner::Range range = request_.scanner.prompt_range();
  uint64_t end = std::min<uint64_t>(range.end, request_.body.size());
  PrefixHasher hasher(core_.router_config, model());
  if (end > range.begin)
    hasher.update(std::string_view(request_.body).substr(range.begin, end - range.begin));
  request_.prefix = hasher.finish();
  uint64_t bytes = request_.streaming ? std::max<uint64_t>(request_.content_length, end) : end;
  request_.prompt_tokens = (bytes - std::min(bytes, range.begin)) / kBytesPerToken;
}

}  // namespace tweendeck::routing::gateway
