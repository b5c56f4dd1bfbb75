#include "routing/sources/kv_events/zmq.h"

#include <fmt/format.h>

#include <atomic>
#include <cerrno>
#include <cstring>

namespace tweendeck::routing::sources {
namespace {

Status outcome(int code, const char* what, const std::string& endpoint) {
  if (code == 0) return {};
  return fail(Reason::KvEventsUnreachable,
              fmt::format("cannot {} {}: {}", what, endpoint, zmq_strerror(zmq_errno())),
              "an address looks like tcp://10.0.0.7:5557");
}

}  // namespace

Status ZmqSocket::connect(const std::string& endpoint) {
  return outcome(zmq_connect(socket_, endpoint.c_str()), "connect to", endpoint);
}

Status ZmqSocket::bind(const std::string& endpoint) {
  return outcome(zmq_bind(socket_, endpoint.c_str()), "listen on", endpoint);
}

bool ZmqSocket::send(std::string_view frame, bool more) {
  return zmq_send(socket_, frame.data(), frame.size(), ZMQ_DONTWAIT | (more ? ZMQ_SNDMORE : 0)) >= 0;
}

ZmqMessage::~ZmqMessage() {
  clear();
}

void ZmqMessage::clear() {
  for (size_t i = 0; i < used_; ++i) zmq_msg_close(&frames_[i]);
  used_ = 0;
}

bool ZmqMessage::receive(ZmqSocket& socket) {
  clear();
  for (bool more = true; more;) {
    zmq_msg_t frame;
    zmq_msg_init(&frame);
    if (zmq_msg_recv(&frame, socket.get(), ZMQ_DONTWAIT) < 0) {
      zmq_msg_close(&frame);
      return false;
    }
    more = zmq_msg_more(&frame) != 0;
    if (used_ == kMaxFrames) {
      zmq_msg_close(&frame);
      continue;
    }
    zmq_msg_init(&frames_[used_]);
    zmq_msg_move(&frames_[used_++], &frame);
    zmq_msg_close(&frame);
  }
  return true;
}

std::string_view ZmqMessage::operator[](size_t i) const {
  auto* frame = const_cast<zmq_msg_t*>(&frames_[i]);
  return {static_cast<const char*>(zmq_msg_data(frame)), zmq_msg_size(frame)};
}

ZmqMonitor::ZmqMonitor(void* context, ZmqSocket& watched) : socket_(context, ZMQ_PAIR) {
  static std::atomic<uint64_t> last{0};
  const std::string name = fmt::format("inproc://kv-events-{}", ++last);
  zmq_socket_monitor(watched.get(), name.c_str(), ZMQ_EVENT_HANDSHAKE_SUCCEEDED | ZMQ_EVENT_DISCONNECTED);
  socket_.set(ZMQ_LINGER, 0);
  (void)socket_.connect(name);
}

// First frame: 16 bits of event, 32 of value (zmq_socket_monitor(3)).
std::optional<ZmqMonitor::News> ZmqMonitor::next() {
  ZmqMessage message;
  while (socket_ && message.receive(socket_)) {
    uint16_t event = 0;
    if (message[0].size() < sizeof event) continue;
    memcpy(&event, message[0].data(), sizeof event);
    if (event == ZMQ_EVENT_HANDSHAKE_SUCCEEDED) return News::Connected;
    if (event == ZMQ_EVENT_DISCONNECTED) return News::Disconnected;
  }
  return std::nullopt;
}

}  // namespace tweendeck::routing::sources
