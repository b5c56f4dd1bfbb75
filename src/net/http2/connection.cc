#include "net/http2/connection.h"

#include <utility>

namespace tweendeck::net::http2 {
namespace {

constexpr int kMaxReadsPerTurn = 16;  // then other connections get their turn
constexpr int kMaxParts = 64;         // of one write

}  // namespace

Connection::Connection(EventLoop& loop, const Limits& limits, Session::Factory factory, OnClosed on_closed,
                       Nanos now)
    : limits_(limits),
      on_closed_(std::move(on_closed)),
      stream_(loop, *this, limits.input_buffer_bytes),
      session_(limits, std::move(factory), [this] { flush_later(); }),
      opened_at_(now),
      heard_at_(now) {}

Status Connection::open(Fd fd, const TlsContext* tls) {
  Status adopted = stream_.adopt(std::move(fd), tls);
  if (adopted) flush_later();  // our settings need no invitation
  return adopted;
}

void Connection::close() {
  if (std::exchange(closed_, true)) return;
  stream_.close();
  session_.abandon();
  on_closed_(this);
}

void Connection::announce_end() {
  session_.announce_end();
  flush_later();
}

void Connection::refuse_streams() {
  session_.refuse_streams();
  flush_later();
}

void Connection::sweep(Nanos now) {
  if (std::exchange(heard_, false)) {
    heard_at_ = now;
    pinged_at_ = 0;
  }
  if (!session_.saw_peer()) {
    if (now - opened_at_ >= limits_.preface_timeout) close();
    return;
  }
  if (pinged_at_ != 0) {
    if (now - pinged_at_ >= limits_.ping_timeout) close();
    return;
  }
  if (now - heard_at_ < limits_.ping_after) return;
  pinged_at_ = now;
  session_.ping();
  flush_later();
}

void Connection::flush_later() {
  if (busy_ || closed_ || std::exchange(flush_asked_, true)) return;
  stream_.call_again();
}

void Connection::on_readable() {
  flush_asked_ = false;
  for (int reads = 0; stream_.readable() && !closed_; ++reads) {
    if (reads == kMaxReadsPerTurn) {
      stream_.call_again();
      break;
    }
    const Stream::Fill filled = stream_.fill();
    if (filled == Stream::Fill::WouldBlock) break;
    if (filled != Stream::Fill::Data) return close();
    heard_ = true;
    busy_ = true;
    const bool goes_on = session_.receive(stream_.input());
    busy_ = false;
    stream_.consume(stream_.input().size());
    if (!goes_on) break;
  }
  flush();
}

void Connection::on_writable() {
  flush();
}

void Connection::flush() {
  while (!closed_) {
    busy_ = true;
    session_.produce(out_);
    busy_ = false;
    if (out_.empty()) break;
    iovec parts[kMaxParts];
    out_.pop(stream_.write(parts, out_.front(parts, kMaxParts)));
    if (stream_.broken()) return close();
    if (!stream_.writable()) return;
  }
  if (!closed_ && session_.over() && out_.empty()) close();
}

}  // namespace tweendeck::net::http2
