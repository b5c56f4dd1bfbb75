#include "routing/gateway/session.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "routing/gateway/upstream.h"

namespace tweendeck::routing::gateway {
namespace {

constexpr int kMaxReadsPerTurn = 16;  // then other connections get their turn
constexpr size_t kKeptCapacityBytes = 64 * 1024;

}  // namespace

Session::Session(Core& core, size_t buffer_bytes) : core_(core), stream_(core.loop, *this, buffer_bytes) {}

Session::~Session() = default;

Status Session::open(net::Fd fd) {
  set_phase(Phase::Idle, core_.config.idle_timeout);
  return stream_.adopt(std::move(fd), core_.tls.get());
}

void Session::turn_away(const Error& error) {
  refuse_all_ = std::make_unique<Error>(error);
}

void Session::set_phase(Phase phase, Nanos timeout) {
  phase_ = phase;
  deadline_ = core_.now() + timeout;
}

void Session::close() {
  if (phase_ == Phase::Closed) return;
  phase_ = Phase::Closed;
  core_.leave_queue(*this);
  if (Upstream* upstream = std::exchange(upstream_, nullptr)) upstream->detach();
  if (entry_) settle(answer_begun_);
  release_body();
  stream_.close();
  core_.forget(this);
}

void Session::begin_drain() {
  if (phase_ == Phase::Idle) close();
}

// --- reading

void Session::on_readable() {
  if (phase_ == Phase::Lingering) return linger();
  advance();
}

void Session::on_writable() {
  if (stream_.broken()) return close();
  if (!flush()) return;
  if (phase_ == Phase::Flushing) {
    end_answer();
    if (phase_ == Phase::Idle) advance();
  } else if (upstream_ != nullptr) {
    upstream_->pump();
  }
}

void Session::advance() {
  for (int reads = 0;;) {
    if (phase_ == Phase::Idle || phase_ == Phase::Head) {
      if (read_head()) continue;
    } else if (reads_body()) {
      if (read_body()) continue;
      if (reads_body() && request_.overflow.size() >= core_.config.max_overflow_bytes)
        return;  // the replica is slower
    }
    bool wants_bytes = phase_ == Phase::Idle || phase_ == Phase::Head || reads_body();
    if (!wants_bytes) {
      if ((phase_ == Phase::Queued || phase_ == Phase::Proxying) &&
          (stream_.peer_closed() || stream_.broken())) {
        client_left();
      }
      return;
    }
    if (!stream_.readable()) return;
    if (++reads > kMaxReadsPerTurn) return stream_.call_again();
    switch (stream_.fill()) {
      case net::Stream::Fill::Data:
        break;
      case net::Stream::Fill::WouldBlock:
        return;
      case net::Stream::Fill::Full:
        return fail({Reason::HeadersTooLarge, "the head passes the input buffer", ""});
      case net::Stream::Fill::End:
      case net::Stream::Fill::Broken:
        return client_left();
    }
  }
}

// True when the phase has changed.
bool Session::read_head() {
  std::string_view input = stream_.input();
  if (input.empty()) return false;
  if (phase_ == Phase::Idle) {
    set_phase(Phase::Head, core_.config.head_timeout);
    request_began_ = deadline_ - core_.config.head_timeout;
    scanned_ = 0;
    request_.reset();
    metrics_ = nullptr;
    close_after_answer_ = true;  // until the request is known to be complete
    if (refuse_all_) return fail(*refuse_all_), true;
  }
  auto size = net::head_size(input, scanned_, core_.config.http);
  if (!size) return fail(size.error()), true;
  if (*size == 0) return false;
  auto parsed = net::parse_request_head(input.substr(0, *size), core_.config.http, head_);
  if (!parsed) return fail(parsed.error()), true;
  stream_.consume(*size);  // the views in head_ stay valid until the next fill()
  begin_request(head_);
  return true;
}

bool Session::read_body() {
  std::string_view input = stream_.input();
  while (!request_.reader.done() && !input.empty()) {
    net::BodyReader::Piece piece;
    if (!request_.reader.next(input, piece)) {
      Error error{Reason::MalformedRequest, request_.reader.error(), ""};
      return upstream_ != nullptr ? fail_streaming(error) : fail(error), true;
    }
    stream_.consume(piece.consumed);
    input = stream_.input();
    if (!piece.content.empty() && !take_content(piece.content)) return true;
    if (request_.overflow.size() >= core_.config.max_overflow_bytes) break;
  }
  if (request_.reader.done()) return finish_body();
  if (upstream_ != nullptr && !request_.overflow.empty()) upstream_->pump();
  return false;
}

// --- the replica's side

void Session::dispatched(std::shared_ptr<EndpointEntry> entry, Pick pick) {
  if (held_since_ != 0) {
    metrics_->queued->observe(static_cast<double>(core_.now() - held_since_) / kSecond);
    held_since_ = 0;
  }
  entry_ = std::move(entry);
  pick_ = std::move(pick);
  answer_begun_ = false;
  freshly_connected_ =
      request_.streaming;  // a streaming body cannot be sent twice: no connection that may be stale
  set_phase(Phase::Proxying, core_.config.first_byte_timeout);
  upstream_ = core_.connection(entry_, freshly_connected_);
  if (upstream_->connecting()) deadline_ = core_.now() + core_.config.connect_timeout;
  upstream_->begin(*this);
  if (request_.streaming && phase_ == Phase::Proxying) stream_.call_again();  // reads on
}

void Session::held(Reason why) {
  held_reason = why;
  if (held_since_ == 0) held_since_ = core_.now();
  phase_ = Phase::Queued;
  deadline_ = held_since_ + core_.config.queue_timeout;
}

void Session::upstream_connected() {
  deadline_ = core_.now() + core_.config.first_byte_timeout;
}

void Session::body_drained() {
  if (phase_ == Phase::Proxying && !request_.complete && stream_.is_open()) stream_.call_again();
}

void Session::answer_started(int status, bool request_sent) {
  answer_begun_ = true;
  status_ = status;
  Nanos now = core_.now();
  core_.router.first_byte(pick_.ticket, now);
  metrics_->first_byte->observe(static_cast<double>(now - request_began_) / kSecond);
  sniffer_.reset();
  if (request_sent) release_body();
}

size_t Session::relay(std::string_view bytes) {
  size_t waiting = backlog();
  size_t taken = 0;
  if (waiting > 0) {
    iovec parts[2] = {{out_.data() + out_sent_, waiting}, {const_cast<char*>(bytes.data()), bytes.size()}};
    size_t sent = stream_.write(parts, bytes.empty() ? 1 : 2);
    out_sent_ += std::min(sent, waiting);
    if (out_sent_ == out_.size()) out_.clear(), out_sent_ = 0;
    taken = sent > waiting ? sent - waiting : 0;
  } else if (!bytes.empty()) {
    taken = stream_.write(bytes);
  }
  if (stream_.broken()) {
    client_left();
    return 0;
  }
  deadline_ =
      core_.now() + (stream_.writable() ? core_.config.upstream_idle_timeout : core_.config.write_timeout);
  return taken;
}

void Session::answer_finished(bool keep_client) {
  upstream_ = nullptr;
  close_after_answer_ = !keep_client;
  settle(true);
  record();
  release_body();
  set_phase(Phase::Flushing, core_.config.write_timeout);
  if (backlog() == 0 || flush()) end_answer();
}

void Session::upstream_failed(const Upstream& upstream, const Error& error) {
  upstream_ = nullptr;
  if (upstream.reused() && !upstream.got_bytes() && !freshly_connected_) {
    // The replica closed a kept-alive connection just as it was used again: no fault of anyone.
    freshly_connected_ = true;
    upstream_ = core_.connection(entry_, true);
    deadline_ = core_.now() + core_.config.connect_timeout;
    return upstream_->begin(*this);
  }
  std::shared_ptr<EndpointEntry> failed = entry_;
  core_.endpoint_failed(failed, error, upstream.never_connected());
  settle(false);
  if (answer_begun_) {
    core_.lost_request(*failed, error, RequestFate::Cut);
    record();
    return close();  // without the end of its framing, so that the client knows that the answer is cut
  }
  if (retried_ || request_.streaming) {
    core_.lost_request(*failed, error, RequestFate::Failed);
    return fail(error);
  }
  retried_ = true;
  metrics_->retries->add();
  core_.submit(*this, failed->endpoint.id);
  RequestFate fate = entry_ ? RequestFate::Retried : queued ? RequestFate::Waiting : RequestFate::Failed;
  core_.lost_request(*failed, error, fate, entry_ ? entry_->endpoint.id : std::string());
}

// --- ends

void Session::settle(bool ok) {
  dialect::Usage usage = ok && status_ / 100 == 2 ? sniffer_.find() : dialect::Usage{};
  if (metrics_ != nullptr) {
    metrics_->prompt_tokens->add(usage.prompt_tokens);
    metrics_->output_tokens->add(usage.output_tokens);
    metrics_->cached_tokens->add(ok ? pick_.cached_tokens : 0);
  }
  std::shared_ptr<EndpointEntry> entry = std::exchange(entry_, nullptr);
  core_.finish(*entry, pick_.ticket, ok, usage.prompt_tokens, usage.output_tokens);
}

void Session::release_body() {
  core_.release_hold(std::exchange(request_.held_bytes, 0));
  request_.body.clear();
  if (request_.body.capacity() > kKeptCapacityBytes) request_.body.shrink_to_fit();
}

void Session::record() {
  if (metrics_ == nullptr) return core_.metrics.model("").requests_of(status_)->add();
  metrics_->requests_of(status_)->add();
  metrics_->duration->observe(static_cast<double>(core_.now() - request_began_) / kSecond);
}

void Session::client_left() {
  if (phase_ == Phase::Queued || phase_ == Phase::Proxying) {
    status_ = http_status(Reason::Cancelled);
    metrics_->aborts->add();
    record();
  }
  close();
}

void Session::fail(const Error& error) {
  core_.metrics.refused(error.reason).add();
  bool keep = request_.complete && wants_keep_alive();
  int status = http_status(error.reason);
  answer(error_answer(error, core_.config.retry_after, keep), status, keep);
}

// The body turned out to be bad after its beginning went to a replica.
void Session::fail_streaming(const Error& error) {
  if (answer_begun_) return close();
  if (Upstream* upstream = std::exchange(upstream_, nullptr)) upstream->detach();
  settle(false);
  fail(error);
}

void Session::answer(const std::string& message, int status, bool keep_alive) {
  status_ = status;
  record();
  release_body();
  close_after_answer_ = !keep_alive;
  out_ += message;
  set_phase(Phase::Flushing, core_.config.write_timeout);
  if (flush()) end_answer();
}

bool Session::flush() {
  if (backlog() == 0) return true;
  out_sent_ += stream_.write(std::string_view(out_).substr(out_sent_));
  if (stream_.broken()) return close(), false;
  if (out_sent_ < out_.size()) return false;
  out_.clear();
  out_sent_ = 0;
  if (out_.capacity() > kKeptCapacityBytes) out_.shrink_to_fit();
  return true;
}

void Session::end_answer() {
  if (!close_after_answer_) {
    retried_ = false;
    set_phase(Phase::Idle, core_.config.idle_timeout);
    if (!stream_.input().empty() || stream_.readable()) stream_.call_again();
    return;
  }
  if (request_.complete && stream_.input().empty() && !stream_.readable()) return close();
  // Closing with unread bytes would reset the connection before the client has seen the answer.
  set_phase(Phase::Lingering, core_.config.linger_timeout);
  stream_.shutdown_write();
  linger();
}

void Session::linger() {
  stream_.consume(stream_.input().size());
  for (int reads = 0; stream_.readable(); ++reads) {
    if (reads == kMaxReadsPerTurn) return stream_.call_again();
    net::Stream::Fill fill = stream_.fill();
    if (fill == net::Stream::Fill::End || fill == net::Stream::Fill::Broken) return close();
    stream_.consume(stream_.input().size());
  }
  if (stream_.peer_closed()) close();
}

// A body may take longer the larger it is, but not come slower than a minimum rate. Waiting for the replica
// is not the client's fault.
bool Session::body_is_late(Nanos now) const {
  if (!reads_body() || request_.overflow.size() >= core_.config.max_overflow_bytes) return false;
  uint64_t earned_s = request_.reader.content_bytes() / core_.config.min_body_bytes_per_second;
  return now >= body_began_ + core_.config.body_timeout + static_cast<Nanos>(earned_s) * kSecond;
}

void Session::check_deadline(Nanos now) {
  if (body_is_late(now)) {
    Error error{Reason::SlowClient, "the request's body did not arrive in time",
                "send it faster, or give the daemon a longer --body-timeout"};
    return phase_ == Phase::Body ? fail(error) : fail_streaming(error);
  }
  if (phase_ == Phase::Body || now < deadline_) return;
  switch (phase_) {
    case Phase::Head:
      return fail({Reason::SlowClient, "the request's head did not arrive in time",
                   "send it faster, or give the daemon a longer --head-timeout"});
    case Phase::Queued: {
      core_.leave_queue(*this);
      bool starting = held_reason == Reason::Starting;
      double waited_s = static_cast<double>(now - held_since_) / kSecond;
      return fail({starting ? Reason::Starting : Reason::QueueTimeout,
                   fmt::format("no replica of {} became free within {:.0f} s", model(), waited_s),
                   starting ? "wait until `tweendeck ps` shows it ready" : "try again, or add replicas"});
    }
    case Phase::Proxying: {
      if (answer_begun_) return close();
      bool connecting = upstream_->connecting();
      Error error{Reason::UpstreamTimeout,
                  fmt::format("replica {} did not {} in time", endpoint_id(),
                              connecting ? "take the connection" : "answer"),
                  ""};
      if (connecting) return upstream_->time_out(error);
      std::exchange(upstream_, nullptr)->detach();
      core_.endpoint_failed(entry_, error, false);
      core_.lost_request(*entry_, error, RequestFate::Failed);
      settle(false);
      return fail(error);
    }
    default:
      return close();
  }
}

}  // namespace tweendeck::routing::gateway
