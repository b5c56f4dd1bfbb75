// One publisher's connection, its replays, and the stream they feed. Runs on the sources' thread.
#pragma once

#include <memory>
#include <string>

#include "routing/sources/kv_events/kv_events.h"
#include "routing/sources/kv_events/zmq.h"

namespace tweendeck::routing::sources {

// A delay that doubles.
class BackOff {
 public:
  BackOff(Nanos first, Nanos max) : first_(first), max_(max) {}
  Nanos next() {
    delay_ = delay_ == 0 ? first_ : std::min(2 * delay_, max_);
    return delay_;
  }
  void reset() { delay_ = 0; }

 private:
  Nanos first_, max_, delay_ = 0;
};

// A subscribing socket with the news of its connections.
class Subscription {
 public:
  Subscription(void* context, const KvEventsConfig& config)
      : context_(context), config_(config), retry_(config.first_retry, config.max_retry) {}

  Status open(const std::string& endpoint, bool listen, const std::string& topic);
  void close(Nanos now);  // until deadline()
  // The next message that certainly belongs to the connection that stands. `ended`: it broke before, and what
  // waited is dropped.
  bool receive(ZmqMessage& message, bool& ended);
  bool look(bool& ended);  // at the news; true: a connection was made
  Nanos deadline() const { return socket_ ? INT64_MAX : open_at_; }  // when to open it again
  ZmqSocket& socket() { return socket_; }
  ZmqSocket& news() { return monitor_.socket(); }

 private:
  void* context_;
  const KvEventsConfig& config_;
  BackOff retry_;
  ZmqSocket socket_;
  ZmqMonitor monitor_;
  Nanos open_at_ = 0;
};

class Source {
 public:
  Source(void* context, const KvEventsConfig& config, KvSource settings, kv::KvIndex& index,
         kv::EndpointNumber number);

  // Each turn: what came, and what is due.
  void turn(Nanos now);
  // From a listening socket: of this source's topic.
  void message(uint64_t seq, std::string_view payload, Nanos now);
  void connection_lost();
  void somebody_connected();  // to the listening socket; perhaps this one
  void restarted() { stream_.on_other_process(); }

  Nanos deadline() const;
  void add_poll_items(std::vector<zmq_pollitem_t>& items);
  const KvSource& settings() const { return settings_; }
  kv::EndpointNumber number() const { return number_; }
  KvSourceView view(const kv::KvIndex& index) const;

 private:
  void receive(Nanos now);
  void ask_for_replay(Nanos now);
  void receive_replay(Nanos now);
  void replay_failed(Nanos now);

  void* context_;
  const KvEventsConfig& config_;
  const KvSource settings_;
  const kv::EndpointNumber number_;
  kv::EventStream stream_;
  Subscription subscription_;
  BackOff replay_retry_;
  ZmqSocket replay_;
  Nanos replay_due_ = INT64_MAX;  // of the answer, or of the next request where there is no socket
  uint64_t replay_from_ = 0;
  bool heard_ = false;  // a message came, or the connection stands
  ZmqMessage message_;
};

// The number in a message's frame of 8 bytes, big-endian.
std::optional<uint64_t> sequence_in(std::string_view frame);

}  // namespace tweendeck::routing::sources
