#include "routing/sources/kv_events/source.h"

#include <algorithm>

namespace tweendeck::routing::sources {
namespace {

constexpr int kMessagesPerTurn = 256;  // of one source, so that none starves the others
constexpr uint64_t kEndOfReplay = UINT64_MAX;
constexpr int kHeartbeatMs = 5000;
constexpr int kHeartbeatTimeoutMs = 15'000;

std::string frame_of(uint64_t number) {
  std::string frame;
  for (int shift = 56; shift >= 0; shift -= 8) frame += static_cast<char>(number >> shift & 0xFF);
  return frame;
}

}  // namespace

std::optional<uint64_t> sequence_in(std::string_view frame) {
  if (frame.size() != 8) return std::nullopt;
  uint64_t number = 0;
  for (const char byte : frame) number = number << 8 | static_cast<uint8_t>(byte);
  return number;
}

// ---------------------------------------------------------------- Subscription

// libzmq tries again by itself until there is a connection; after its end it must not go on.
Status Subscription::open(const std::string& endpoint, bool listen, const std::string& topic) {
  socket_ = ZmqSocket(context_, ZMQ_SUB);
  socket_.set(ZMQ_LINGER, 0);
  socket_.set(ZMQ_RCVHWM, kQueuedMessages);
  socket_.set_int64(ZMQ_MAXMSGSIZE, kMaxMessageBytes);
  socket_.set(ZMQ_RECONNECT_IVL, static_cast<int>(config_.first_retry / kMillisecond));
  socket_.set(ZMQ_RECONNECT_IVL_MAX, static_cast<int>(config_.max_retry / kMillisecond));
  socket_.set(ZMQ_HEARTBEAT_IVL, kHeartbeatMs);
  socket_.set(ZMQ_HEARTBEAT_TIMEOUT, kHeartbeatTimeoutMs);
  monitor_ = ZmqMonitor(context_, socket_);
  socket_.subscribe(topic);
  return listen ? socket_.bind(endpoint) : socket_.connect(endpoint);
}

void Subscription::close(Nanos now) {
  socket_ = ZmqSocket();
  monitor_ = ZmqMonitor();
  open_at_ = now + retry_.next();
}

bool Subscription::look(bool& ended) {
  bool made = false;
  while (const std::optional<ZmqMonitor::News> news = monitor_.next()) {
    if (*news == ZmqMonitor::News::Disconnected) {
      ended = true;
      return false;
    }
    made = true;
  }
  return made;
}

// The news of an end is out before the first message of the next connection can be.
bool Subscription::receive(ZmqMessage& message, bool& ended) {
  if (!socket_ || !message.receive(socket_)) return false;
  look(ended);
  if (!ended) retry_.reset();
  return !ended;
}

// ---------------------------------------------------------------- Source

Source::Source(void* context, const KvEventsConfig& config, KvSource settings, kv::KvIndex& index,
               kv::EndpointNumber number)
    : context_(context),
      config_(config),
      settings_(std::move(settings)),
      number_(number),
      stream_(index, number, !settings_.replay.empty()),
      subscription_(context, config),
      replay_retry_(config.first_retry, config.max_retry) {}

void Source::turn(Nanos now) {
  if (!settings_.publisher.empty()) receive(now);
  if (replay_) receive_replay(now);
  if (const std::optional<uint64_t> from = stream_.take_request()) {
    replay_from_ = *from;
    replay_ = ZmqSocket();
    replay_due_ = now;
  }
  if (stream_.state() != kv::EventStream::State::Replaying) {
    replay_ = ZmqSocket();
    replay_due_ = INT64_MAX;
  } else if (now >= replay_due_) {
    if (replay_) {
      replay_failed(now);
    } else {
      ask_for_replay(now);
    }
  }
}

void Source::receive(Nanos now) {
  bool ended = false;
  if (subscription_.look(ended)) {
    heard_ = true;
    stream_.on_connected();
  }
  for (int i = 0; i < kMessagesPerTurn && !ended && subscription_.receive(message_, ended); ++i) {
    const std::optional<uint64_t> seq = message_.size() == 3 ? sequence_in(message_[1]) : std::nullopt;
    if (seq) stream_.on_message(*seq, message_[2]);
  }
  if (ended) {
    connection_lost();
    subscription_.close(now);
  }
  if (now < subscription_.deadline()) return;
  if (!subscription_.open(settings_.publisher, false, settings_.topic)) subscription_.close(now);
}

void Source::message(uint64_t seq, std::string_view payload, Nanos now) {
  if (!std::exchange(heard_, true)) stream_.on_connected();
  stream_.on_message(seq, payload);
  turn(now);
}

void Source::connection_lost() {
  heard_ = false;
  stream_.on_disconnected();
}

// A replay tells whether it is, and what the engine published while nobody listened.
void Source::somebody_connected() {
  if (stream_.state() == kv::EventStream::State::Away) stream_.on_connected();
}

void Source::ask_for_replay(Nanos now) {
  replay_ = ZmqSocket(context_, ZMQ_DEALER);
  replay_.set(ZMQ_LINGER, 0);
  replay_.set(ZMQ_RCVHWM, kQueuedMessages);
  replay_.set_int64(ZMQ_MAXMSGSIZE, kMaxMessageBytes);
  replay_due_ = now + config_.replay_timeout;
  const bool sent = replay_.connect(settings_.replay) && replay_.send("", true) &&
                    replay_.send(frame_of(replay_from_), false);
  if (!sent) replay_failed(now);
}

// An empty frame, then the message: topic (since vLLM 0.24), number, payload.
void Source::receive_replay(Nanos now) {
  for (int i = 0; i < kMessagesPerTurn && message_.receive(replay_); ++i) {
    const size_t frames = message_.size();
    const std::optional<uint64_t> seq = frames >= 3 ? sequence_in(message_[frames - 2]) : std::nullopt;
    if (!seq) continue;
    heard_ = true;
    replay_due_ = now + config_.replay_timeout;
    if (*seq == kEndOfReplay) {
      replay_retry_.reset();
      stream_.on_replay_end();
      return;
    }
    stream_.on_replayed(*seq, message_[frames - 1]);
    if (const std::optional<uint64_t> again = stream_.take_request()) {
      replay_from_ = *again;
      replay_ = ZmqSocket();
      replay_due_ = now;
      return;
    }
  }
}

void Source::replay_failed(Nanos now) {
  replay_ = ZmqSocket();
  stream_.on_replay_failed();
  if (const std::optional<uint64_t> again = stream_.take_request()) replay_from_ = *again;
  replay_due_ = now + replay_retry_.next();
}

Nanos Source::deadline() const {
  const Nanos connection = settings_.publisher.empty() ? INT64_MAX : subscription_.deadline();
  return std::min(connection, replay_due_);
}

void Source::add_poll_items(std::vector<zmq_pollitem_t>& items) {
  auto add = [&](ZmqSocket& socket) {
    if (socket) items.push_back({socket.get(), 0, ZMQ_POLLIN, 0});
  };
  add(subscription_.socket());
  add(subscription_.news());
  add(replay_);
}

KvSourceView Source::view(const kv::KvIndex& index) const {
  KvSourceView view;
  view.id = settings_.id;
  if (!heard_) {
    view.reason = Reason::KvEventsUnreachable;
  } else if (stream_.state() != kv::EventStream::State::Live) {
    view.reason = Reason::KvEventsInDoubt;
  }
  view.complete = stream_.complete();
  view.blocks = index.blocks(number_);
  view.block_tokens = index.block_tokens(number_);
  view.scheme = stream_.scheme();
  view.stats = stream_.stats();
  return view;
}

}  // namespace tweendeck::routing::sources
