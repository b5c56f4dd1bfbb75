#include "routing/gateway/upstream.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "routing/gateway/session.h"

namespace tweendeck::routing::gateway {
namespace {

constexpr int kMaxReadsPerTurn = 16;              // then other connections get their turn
constexpr size_t kMaxDecodedBacklog = 64 * 1024;  // for HTTP/1.0 clients

}  // namespace

Upstream::Upstream(Core& core, std::shared_ptr<EndpointEntry> entry)
    : core_(core), entry_(std::move(entry)), stream_(core.loop, *this, core.config.input_buffer_bytes) {}

void Upstream::connect() {
  stream_.connect(entry_->endpoint.address, entry_->endpoint.port);
  connected_ = !stream_.connecting() && !stream_.broken();
}

void Upstream::close() {
  if (!stream_.is_open()) return;
  stream_.close();
  core_.forget(this);
}

void Upstream::detach() {
  session_ = nullptr;
  close();
}

void Upstream::fail(const Error& error) {
  Session* session = std::exchange(session_, nullptr);
  close();
  if (session != nullptr) session->upstream_failed(*this, error);
}

void Upstream::fail(std::string message) {
  fail(Error{Reason::UpstreamFailed, fmt::format("replica {} {}", entry_->endpoint.id, message), ""});
}

// --- the request

void Upstream::begin(Session& session) {
  session_ = &session;
  ++uses_;
  sent_ = 0;
  first_part_sent_ = request_sent_ = got_bytes_ = head_done_ = false;
  scanned_ = checked_ = 0;
  build_head();
  if (!stream_.connecting()) send_request();
}

void Upstream::build_head() {
  Request& request = session_->request();
  const Endpoint& endpoint = entry_->endpoint;
  replacement_ = {};
  dialect::BodyScanner::Range range = request.scanner.model_range();
  size_t body_bytes = request.body.size();
  uint64_t length = request.complete ? body_bytes : request.content_length;
  if (!endpoint.served_model.empty() && endpoint.served_model != request.scanner.model() &&
      std::ranges::find(endpoint.adapters, request.scanner.model()) == endpoint.adapters.end()) {
    replacement_ = entry_->served_model_json;
    size_t old_bytes = static_cast<size_t>(range.end - range.begin);
    body_bytes += replacement_.size() - old_bytes;
    length += replacement_.size() - old_bytes;
  }
  head_.clear();
  head_.append(request.head).append(entry_->host_field);
  if (request.streaming && request.framing == net::Framing::Chunked) {
    fmt::format_to(std::back_inserter(head_), "Transfer-Encoding: chunked\r\n\r\n{:x}\r\n", body_bytes);
  } else {
    fmt::format_to(std::back_inserter(head_), "Content-Length: {}\r\n\r\n", length);
  }
}

void Upstream::send_request() {
  if (!first_part_sent_) {
    Request& request = session_->request();
    std::string_view body = request.body;
    std::string_view pieces[4] = {head_, body, {}, {}};
    int count = 2;
    if (replacement_.data() != nullptr) {
      dialect::BodyScanner::Range range = request.scanner.model_range();
      pieces[1] = body.substr(0, static_cast<size_t>(range.begin));
      pieces[2] = replacement_;
      pieces[3] = body.substr(static_cast<size_t>(range.end));
      count = 4;
    }
    iovec parts[4];
    int used = 0;
    size_t skip = sent_, left = 0;
    for (int i = 0; i < count; ++i) {
      size_t skipped = std::min(skip, pieces[i].size());
      skip -= skipped;
      pieces[i].remove_prefix(skipped);
      if (pieces[i].empty()) continue;
      parts[used++] = {const_cast<char*>(pieces[i].data()), pieces[i].size()};
      left += pieces[i].size();
    }
    size_t taken = stream_.write(parts, used);
    sent_ += taken;
    if (taken < left) return;  // on_writable() or, when broken, on_readable() follows
    first_part_sent_ = true;
    request_sent_ = !request.streaming;
  }
  if (!request_sent_) send_overflow();
}

void Upstream::send_overflow() {
  Request& request = session_->request();
  if (!request.overflow.empty()) {
    request.overflow.erase(0, stream_.write(request.overflow));
    if (!request.overflow.empty()) return;
  }
  if (request.complete) {
    request_sent_ = true;
  } else {
    session_->body_drained();
  }
}

void Upstream::pump() {
  if (session_ == nullptr || stream_.connecting()) return;
  if (!request_sent_) send_request();
  if (session_ != nullptr && head_done_) read_answer();
}

void Upstream::on_writable() {
  if (stream_.broken() && !connected_) return fail("refused the connection");
  if (!connected_) {
    connected_ = true;
    if (session_ != nullptr) session_->upstream_connected();
  }
  if (session_ != nullptr && !request_sent_) send_request();
}

// --- the answer

void Upstream::on_readable() {
  if (stream_.connecting()) return;
  if (session_ == nullptr) {
    // Idle: the replica closes it, or sends what nobody asked for.
    core_.leave_idle(this);
    return close();
  }
  if (stream_.broken() && !connected_) return fail("refused the connection");
  read_answer();
}

void Upstream::read_answer() {
  for (int reads = 0; session_ != nullptr;) {
    if (!head_done_ && !stream_.input().empty() && !read_head()) return;
    if (head_done_ && !relay_body()) return;
    if (!stream_.readable()) return;
    if (++reads > kMaxReadsPerTurn) return stream_.call_again();
    switch (stream_.fill()) {
      case net::Stream::Fill::Data:
        got_bytes_ = true;
        break;
      case net::Stream::Fill::WouldBlock:
        return;
      case net::Stream::Fill::Full:
        return fail("sent a head that passes the limit");
      case net::Stream::Fill::End:
        if (head_done_ && body_.until_close()) return end_answer();
        return fail(head_done_ ? "closed the connection within its answer"
                               : "closed the connection before its answer");
      case net::Stream::Fill::Broken:
        return fail("broke the connection");
    }
  }
}

// False when the request has ended.
bool Upstream::read_head() {
  while (!head_done_) {
    auto size = net::head_size(stream_.input(), scanned_, core_.config.http);
    if (!size) return fail("sent a head that passes the limit"), false;
    if (*size == 0) return true;
    const Request& request = session_->request();
    auto ok = net::parse_response_head(stream_.input().substr(0, *size), core_.config.http, request.to_head,
                                       answer_);
    if (!ok) return fail(fmt::format("sent a malformed answer: {}", ok.error().message)), false;
    stream_.consume(*size);  // the views in answer_ stay valid until the next fill()
    scanned_ = 0;
    if (answer_.status == 101) return fail("switched to another protocol unasked"), false;
    if (answer_.status < 200) continue;  // interim
    head_done_ = true;
    start_client_answer();
  }
  return session_ != nullptr;
}

void Upstream::start_client_answer() {
  body_ = net::BodyReader(answer_, core_.config.http);
  decode_ = session_->request().minor_version == 0 && answer_.framing == net::Framing::Chunked;
  keep_client_ = session_->wants_keep_alive() && answer_.framing != net::Framing::UntilClose && !decode_;
  std::string& out = session_->output();
  fmt::format_to(std::back_inserter(out), "HTTP/1.1 {} {}\r\n", answer_.status, answer_.reason_phrase);
  for (const net::HeaderField& field : answer_.fields) {
    if (net::is_hop_by_hop(field, answer_)) continue;
    out.append(field.name).append(": ").append(field.value).append("\r\n");
  }
  if (answer_.framing == net::Framing::Chunked && !decode_) out.append("Transfer-Encoding: chunked\r\n");
  if (!keep_client_) out.append("Connection: close\r\n");
  if (keep_client_ && session_->request().minor_version == 0) out.append("Connection: keep-alive\r\n");
  fmt::format_to(std::back_inserter(out), "x-tweendeck-replica: {}\r\nx-tweendeck-cached-tokens: {}\r\n\r\n",
                 entry_->endpoint.id, session_->expected_cached_tokens());
  session_->answer_started(answer_.status, request_sent_);
}

// False when the answer has ended or the client takes no more.
bool Upstream::relay_body() {
  if (decode_) return relay_decoded();
  std::string_view input = stream_.input();
  while (!body_.done() && checked_ < input.size()) {
    net::BodyReader::Piece piece;
    if (!body_.next(input.substr(checked_), piece))
      return fail(fmt::format("sent a broken body: {}", body_.error())), false;
    session_->sniffer().update(piece.content);
    checked_ += piece.consumed;
  }
  size_t taken = session_->relay(input.substr(0, checked_));
  if (session_ == nullptr) return false;
  stream_.consume(taken);
  checked_ -= taken;
  if (checked_ > 0) return false;
  if (!body_.done()) return true;
  end_answer();
  return false;
}

bool Upstream::relay_decoded() {
  while (!body_.done() && !stream_.input().empty() && session_->backlog() < kMaxDecodedBacklog) {
    net::BodyReader::Piece piece;
    if (!body_.next(stream_.input(), piece))
      return fail(fmt::format("sent a broken body: {}", body_.error())), false;
    session_->sniffer().update(piece.content);
    session_->output() += piece.content;
    stream_.consume(piece.consumed);
  }
  session_->relay({});
  if (session_ == nullptr) return false;
  if (body_.done()) return end_answer(), false;
  return session_->backlog() < kMaxDecodedBacklog;
}

void Upstream::end_answer() {
  Session* session = std::exchange(session_, nullptr);
  bool keep = answer_.keep_alive && request_sent_ && stream_.input().empty() && !stream_.peer_closed();
  if (keep) {
    core_.keep_idle(this);
  } else {
    close();
  }
  session->answer_finished(keep_client_ && request_sent_);
}

}  // namespace tweendeck::routing::gateway
