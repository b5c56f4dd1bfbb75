// One server-side HTTP/2 connection, without its socket: bytes in, requests out, answers in, bytes out.
//
//   Session session(limits, [](Exchange& exchange, const RequestHead& head) { return make_handler(...); });
//   session.receive(bytes);          // calls handlers
//   session.produce(queue);          // what to send now
//
// The protocol itself is nghttp2's. Here are the limits, who is told of what, and how a stream pushes back: its
// bytes count as taken in only when its handler says so. Pure but for nghttp2's clock of stream resets. One
// thread; handlers may call their Exchange at any time until on_closed().
#pragma once

#include <cstdint>
#include <functional>
#include <initializer_list>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "net/http2/limits.h"
#include "net/http2/out_queue.h"

struct nghttp2_session;
struct nghttp2_session_callbacks;

namespace tweendeck::net::http2 {

class Session;

struct Field {
  std::string_view name, value;
};

struct RequestHead {
  std::string method, path, content_type;
};

// Who answers one request. Owned by its Exchange.
class ExchangeHandler {
 public:
  virtual ~ExchangeHandler() = default;
  virtual void on_data(std::string_view bytes) = 0;  // say Exchange::consume() when they are taken in
  virtual void on_end() = 0;                         // the client sends no more
  virtual void on_drained() = 0;  // what was appended to out() has gone on to the connection
  virtual void on_closed() = 0;   // the last call; the Exchange is gone when it returns
};

class Exchange {
 public:
  // In this order, each at most once; a finish() without respond() sends one block of fields. Names are lower
  // case.
  void respond(std::initializer_list<Field> fields);
  OutQueue& out() { return out_; }  // then send()
  void send();
  void finish(std::vector<std::pair<std::string, std::string>> fields);
  void reset(uint32_t error_code);

  void consume(size_t bytes);
  bool responded() const { return responded_; }
  bool finished() const { return finished_; }

 private:
  friend class Session;
  friend struct Callbacks;
  Exchange(Session& session, int32_t id) : session_(session), id_(id) {}

  Session& session_;
  const int32_t id_;
  RequestHead head_;
  size_t header_bytes_ = 0;
  uint32_t header_fields_ = 0;
  std::unique_ptr<ExchangeHandler> handler_;
  OutQueue out_;
  std::vector<std::pair<std::string, std::string>> trailers_;
  bool responded_ = false;
  bool finished_ = false;
  bool deferred_ = false;  // nghttp2 waits for more of out_
  bool remote_ended_ = false;
  bool tell_drained_ = false;
};

class Session {
 public:
  using Factory = std::function<std::unique_ptr<ExchangeHandler>(Exchange&, const RequestHead&)>;

  // `on_output` is told when there is something to produce(), perhaps often and from within other calls.
  Session(const Limits& limits, Factory factory, std::function<void()> on_output);
  ~Session();  // abandon()
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  // False when the connection is to be closed, after what produce() still gives.
  bool receive(std::string_view bytes);
  // Appends to `out` until it holds limits.max_backlog_bytes, then tells handlers what has gone.
  void produce(OutQueue& out);
  bool over() const;                               // nothing more to read or to write
  bool saw_peer() const { return saw_settings_; }  // the preface is complete

  void abandon();  // the peer is gone: every handler that is left gets on_closed(); nothing may follow
  void ping();
  void announce_end();    // GOAWAY that lets streams on their way still come
  void refuse_streams();  // GOAWAY: later ones are refused
  void terminate(uint32_t error_code);
  size_t open() const { return exchanges_.size(); }

 private:
  friend class Exchange;
  friend struct Callbacks;

  const Limits& limits_;
  Factory factory_;
  std::function<void()> on_output_;
  nghttp2_session* native_ = nullptr;
  std::unordered_map<int32_t, std::unique_ptr<Exchange>> exchanges_;
  OutQueue* producing_ = nullptr;
  std::vector<int32_t> drained_;
  uint64_t empty_data_ = 0;
  bool saw_settings_ = false;
  bool broken_ = false;
};

}  // namespace tweendeck::net::http2
