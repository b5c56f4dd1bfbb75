#include "routing/picker/session.h"

#include <algorithm>
#include <charconv>
#include <utility>

#include "base/text.h"
#include "routing/picker/names.h"
#include "routing/picker/refusal.h"

namespace tweendeck::routing::picker {
namespace {

constexpr std::string_view kTrue = "true";
constexpr char kSmallerBody[] = "send less at once, for example a shorter prompt";

// Whether the engine, or the proxy in its place, says that the endpoint cannot be used.
bool is_gateway_error(int status) {
  return status == 502 || status == 503 || status == 504;
}

}  // namespace

Session::Session(Pool& pool, ToProxy& proxy) : pool_(pool), proxy_(proxy) {
  pool_.metrics().opened();
}

Session::~Session() {
  on_closed();
  pool_.metrics().closed();
}

void Session::on_closed() {
  over_ = true;
  pool_.leave(*this);
  settle(false);
  release_hold();
}

void Session::on_half_close() {
  if (std::exchange(over_, true)) return;
  pool_.leave(*this);
  settle(false);
  proxy_.finish();
}

void Session::on_drained() {
  if (!over_) proxy_.pause(false);
}

void Session::on_message(const net::http2::GrpcMessage& message) {
  if (over_) return;
  if (!parse_from_proxy(message.bytes(), in_)) {
    over_ = true;
    pool_.leave(*this);
    return proxy_.fail("the message is malformed, or passes a limit");
  }
  using Kind = FromProxy::Kind;
  const bool of_request = in_.kind == Kind::RequestBody || in_.kind == Kind::RequestTrailers;
  if ((of_request && phase_ == Phase::Headers) ||
      (in_.kind == Kind::RequestHeaders && phase_ != Phase::Headers) || (of_request && body_ended_)) {
    over_ = true;
    pool_.leave(*this);
    return proxy_.fail("the order is headers, body, trailers");
  }
  // The proxy has answered by itself, before an endpoint was chosen.
  if (of_request && response_began_ && choice_.destination.empty()) return;
  switch (in_.kind) {
    case Kind::Nothing:
      return;
    case Kind::RequestHeaders:
      return take_request_headers();
    case Kind::RequestBody:
      return take_request_body(message);
    case Kind::RequestTrailers:
      return take_request_trailers();
    case Kind::ResponseHeaders:
      return take_response_headers();
    case Kind::ResponseBody:
      return take_response_body(message);
    case Kind::ResponseTrailers:
      return take_response_trailers();
  }
}

// ---------------------------------------------------------------- the request

std::string_view Session::control(const Control& names) const {
  const std::string_view value = in_.header(names.name);
  return value.empty() ? in_.header(names.alias) : value;
}

// Which endpoints the proxy, or the conformance suite's header, allows.
void Session::take_hints() {
  if (in_.has_subset && pool_.config().subset_hint) {
    wanted_.limited = true;
    wanted_.allowed = pool_.resolve(in_.subset);
  }
  if (!pool_.config().test_selection) return;
  const std::string_view selection = in_.header(kTestSelection);
  if (selection.empty()) return;
  std::vector<std::string_view> addresses = split(selection, ',');
  for (std::string_view& address : addresses) address = trim(address);
  wanted_.limited = true;
  wanted_.allowed = pool_.resolve(addresses);
}

void Session::take_request_headers() {
  began_ = pool_.now();
  phase_ = Phase::Holding;
  take_hints();
  for (const HeaderView& header : in_.headers) {
    if (std::ranges::find(kStripped, header.name) == kStripped.end()) continue;
    // It is replaced, not removed.
    if (header.name != kDestinationKey) stripped_.emplace_back(header.name);
  }
  target_model_ = control(kModelRewrite);
  if (in_.header(kRequestId).empty()) request_id_ = pool_.new_request_id();
  if (!in_.end_of_stream) return;
  body_ended_ = true;
  pick_any();
}

// A request without a body (GET /v1/models): any endpoint can answer it.
void Session::pick_any() {
  Result<Choice> choice = pool_.any(wanted_);
  if (!choice) return refused(choice.error());
  chosen(std::move(*choice));
}

void Session::take_request_body(const net::http2::GrpcMessage& message) {
  if (in_.has_subset && phase_ == Phase::Holding) take_hints();
  body_ended_ = in_.end_of_stream;
  body_bytes_ += in_.body.size();
  if (!scan(in_.body)) return;
  if (phase_ == Phase::Sent || phase_ == Phase::Passing) {
    if (body_ended_ && !scan_ends()) return;
    Piece piece{nullptr, in_.body};
    piece.owner = message.keep(piece.bytes);
    send_body(true, piece, body_ended_);
    if (body_ended_) phase_ = Phase::Sent;
    if (proxy_.unsent() > pool_.config().max_unsent_bytes) proxy_.pause(true);
    return;
  }
  if (!hold(message)) return;
  if (phase_ == Phase::Waiting) {
    // An endpoint is being waited for; the rest is kept meanwhile.
    if (body_ended_) {
      scan_ends();
    } else if (held_bytes_ > pool_.config().max_hold_bytes) {
      proxy_.pause(true);
    }
    return;
  }
  if (body_ended_) return body_complete();
  if (held_bytes_ >= pool_.config().max_hold_bytes && scanner_.has_model()) submit();
}

void Session::take_request_trailers() {
  body_ended_ = true;
  if (phase_ == Phase::Passing || phase_ == Phase::Sent) {
    if (!scan_ends()) return;
    phase_ = Phase::Sent;
    write_trailers(true, out_);
    return proxy_.send(out_, nullptr, {});
  }
  trailers_wait_ = true;
  if (phase_ == Phase::Holding) return body_complete();
  scan_ends();
}

// False when the request has been refused.
bool Session::scan(std::string_view bytes) {
  if (scanner_.update(bytes)) return true;
  refused(scanner_.error());
  return false;
}

bool Session::scan_ends() {
  if (scanner_.finish()) return true;
  refused(scanner_.error());
  return false;
}

bool Session::hold(const net::http2::GrpcMessage& message) {
  if (in_.body.empty()) return true;
  if (held_bytes_ + in_.body.size() > pool_.config().max_body_bytes) {
    refused({Reason::BodyTooLarge,
             scanner_.has_model() ? "the body is larger than what is held for a request that waits"
                                  : "the body is larger than what is read in search of its model",
             kSmallerBody});
    return false;
  }
  if (!pool_.try_hold(in_.body.size())) {
    refused({Reason::Overloaded, "the picker holds as many request bytes as it may", "try again"});
    return false;
  }
  Piece piece{nullptr, in_.body};
  piece.owner = message.keep(piece.bytes);
  held_bytes_ += piece.bytes.size();
  held_.push_back(std::move(piece));
  return true;
}

void Session::release_hold() {
  held_.clear();
  pool_.release_hold(std::exchange(held_bytes_, 0));
}

void Session::body_complete() {
  if (!scan_ends()) return;
  if (!scanner_.has_model()) {
    return refused({Reason::MissingModel, "the request body names no model", "add \"model\" to it"});
  }
  submit();
}

void Session::submit() {
  phase_ = Phase::Waiting;
  if (target_model_.empty()) target_model_ = scanner_.model();
  hash_prompt();
  const auto range = scanner_.prompt_range();
  const uint64_t end = std::min<uint64_t>(range.end, body_bytes_);
  wanted_.prompt_tokens = (end - std::min(end, range.begin)) / kBytesPerToken;
  wanted_.max_output_tokens = scanner_.max_output_tokens();
  series_ = &pool_.metrics().model(scanner_.model(), target_model_);
  pool_.submit(*this, wanted_);
}

// Over the pieces of the prompt that are here.
void Session::hash_prompt() {
  PrefixHasher hasher(pool_.router_config(), target_model_);
  const auto range = scanner_.prompt_range();
  uint64_t at = 0;
  for (const Piece& piece : held_) {
    const uint64_t begin = std::clamp<uint64_t>(range.begin, at, at + piece.bytes.size());
    const uint64_t end = std::clamp<uint64_t>(range.end, at, at + piece.bytes.size());
    if (begin < end) hasher.update(piece.bytes.substr(begin - at, end - begin));
    at += piece.bytes.size();
  }
  wanted_.prefix = hasher.finish();
}

// Exchanges the model's name in what is held for the target's.
void Session::rename_model() {
  if (target_model_.empty() || target_model_ == scanner_.model()) return;
  const auto name = std::make_shared<const std::string>(json_quote(target_model_));
  const auto range = scanner_.model_range();
  std::vector<Piece> renamed;
  uint64_t at = 0;
  for (Piece& piece : held_) {
    const std::string_view bytes = piece.bytes;
    const uint64_t begin = std::clamp<uint64_t>(range.begin, at, at + bytes.size()) - at;
    const uint64_t end = std::clamp<uint64_t>(range.end, at, at + bytes.size()) - at;
    const bool begins_here = range.begin >= at && range.begin < at + bytes.size();
    if (begin > 0) renamed.push_back({piece.owner, bytes.substr(0, begin)});
    if (begins_here) renamed.push_back({name, *name});
    if (end < bytes.size()) renamed.push_back({piece.owner, bytes.substr(end)});
    at += bytes.size();
  }
  held_ = std::move(renamed);
  body_bytes_ += name->size();
  body_bytes_ -= range.end - range.begin;
}

// ---------------------------------------------------------------- the decision

void Session::chosen(Choice choice) {
  choice_ = std::move(choice);
  phase_ = body_ended_ ? Phase::Sent : Phase::Passing;
  if (series_ != nullptr) {
    series_->requests[0]->add();
    series_->requests[1]->add();
    series_->request_bytes->observe(static_cast<double>(body_bytes_));
    series_->running->set(static_cast<double>(++series_->running_now));
    running_ = true;
  }
  rename_model();
  Mutation mutation;
  mutation.set.push_back({kDestinationKey, choice_.destination});
  std::string length;
  if (body_ended_ && body_bytes_ > 0) {
    length = std::to_string(body_bytes_);
    mutation.set.push_back({"content-length", length});
  }
  if (!request_id_.empty()) mutation.set.push_back({kRequestId, request_id_});
  mutation.remove.assign(stripped_.begin(), stripped_.end());
  write_request_headers(mutation, choice_.destination, out_);
  proxy_.send(out_, nullptr, {});
  send_held();
}

void Session::send_held() {
  proxy_.pause(false);
  const bool ends = body_ended_ && !trailers_wait_;
  for (size_t i = 0; i < held_.size(); ++i) send_body(true, held_[i], ends && i + 1 == held_.size());
  release_hold();
  if (trailers_wait_) {
    write_trailers(true, out_);
    proxy_.send(out_, nullptr, {});
  }
  if (proxy_.unsent() > pool_.config().max_unsent_bytes) proxy_.pause(true);
}

void Session::send_body(bool of_request, const Piece& piece, bool end_of_stream) {
  std::string_view rest = piece.bytes;
  do {
    const std::string_view now = rest.substr(0, kMaxBodyChunk);
    rest.remove_prefix(now.size());
    write_body(of_request, now.size(), end_of_stream && rest.empty(), out_);
    proxy_.send(out_, piece.owner, now);
  } while (!rest.empty());
}

void Session::refused(const Error& error) {
  over_ = true;
  pool_.leave(*this);
  pool_.metrics().refused(error.reason);
  if (series_ != nullptr) series_->failed(to_string(error.reason));
  settle(false);
  release_hold();
  write_refusal(error, pool_.config().retry_after, out_);
  proxy_.send(out_, nullptr, {});
  proxy_.finish();
}

// ---------------------------------------------------------------- the answer

void Session::take_response_headers() {
  response_began_ = true;
  const std::string_view status = in_.header(":status");
  std::from_chars(status.data(), status.data() + status.size(), status_);
  streamed_ = in_.header("content-type").find("text/event-stream") != std::string_view::npos;
  pool_.leave(*this);  // the proxy may answer before an endpoint was chosen
  if (!in_.served.empty()) pool_.served_by(choice_, in_.served, wanted_);
  if (is_gateway_error(status_)) pool_.endpoint_failed(choice_);
  if (status_ < 500 && choice_.ticket != 0) pool_.answered(choice_);
  Mutation mutation;
  mutation.set.push_back({kResponseSeen, kTrue});
  write_response_headers(mutation, out_);
  proxy_.send(out_, nullptr, {});
  if (in_.end_of_stream) settle(true);
}

void Session::take_response_body(const net::http2::GrpcMessage& message) {
  if (!first_bytes_seen_ && !in_.body.empty()) {
    first_bytes_seen_ = true;
    if (series_ != nullptr) {
      (streamed_ ? series_->first_token_streamed : series_->first_token)
          ->observe(static_cast<double>(pool_.now() - began_) / kSecond);
    }
  }
  response_bytes_ += in_.body.size();
  sniffer_.update(in_.body);
  Piece piece{nullptr, in_.body};
  piece.owner = message.keep(piece.bytes);
  const bool ends = in_.end_of_stream;
  send_body(false, piece, ends);
  if (proxy_.unsent() > pool_.config().max_unsent_bytes) proxy_.pause(true);
  if (ends) settle(true);
}

void Session::take_response_trailers() {
  write_trailers(false, out_);
  proxy_.send(out_, nullptr, {});
  settle(true);
}

// `complete`: the answer has come to its end.
void Session::settle(bool complete) {
  const bool good = complete && status_ / 100 == 2;
  const dialect::Usage usage = good ? sniffer_.find() : dialect::Usage{};
  pool_.settle(choice_, response_began_ && status_ < 500, usage.prompt_tokens, usage.output_tokens);
  if (!std::exchange(running_, false)) return;
  series_->running->set(static_cast<double>(--series_->running_now));
  if (!good) return series_->failed(complete ? "ModelServerError" : "Cancelled");
  const double seconds = static_cast<double>(pool_.now() - began_) / kSecond;
  for (Histogram* duration : series_->duration) duration->observe(seconds);
  series_->response_bytes->observe(static_cast<double>(response_bytes_));
  if (usage.prompt_tokens > 0) series_->prompt_tokens->observe(static_cast<double>(usage.prompt_tokens));
  if (usage.output_tokens > 0) series_->output_tokens->observe(static_cast<double>(usage.output_tokens));
  if (usage.cached_tokens > 0) series_->cached_tokens->observe(static_cast<double>(usage.cached_tokens));
}

}  // namespace tweendeck::routing::picker
