// One client connection: reads requests one after the other, answers each before it reads the next.
// Loop thread only; owned by Core.
#pragma once

#include <list>
#include <memory>
#include <string>

#include "net/stream.h"
#include "routing/dialect/usage_sniffer.h"
#include "routing/gateway/core.h"
#include "routing/gateway/request.h"

namespace tweendeck::routing::gateway {

class Session final : net::StreamHandler {
 public:
  Session(Core& core, size_t buffer_bytes);
  ~Session();

  Status open(net::Fd fd);
  void turn_away(const Error& error);  // answers the first request with it, unread
  void close();                        // at once; an answer in flight is cut
  void begin_drain();
  void check_deadline(Nanos now);

  // What Core decided about the request.
  void dispatched(std::shared_ptr<EndpointEntry> entry, Pick pick);
  void held(Reason why);
  void refused(const Error& error) { fail(error); }
  void know_model(ModelMetrics& metrics) { metrics_ = &metrics; }

  // What the replica does. Each may close this session, which detaches the Upstream.
  void upstream_connected();
  void body_drained();  // the replica took what was read of a streaming body
  void answer_started(int status, bool request_sent);
  std::string& output() { return out_; }  // append here, then relay()
  size_t relay(std::string_view bytes);   // sends what was appended, then these; how many of these were taken
  size_t backlog() const { return out_.size() - out_sent_; }
  void answer_finished(bool keep_client);
  void upstream_failed(const Upstream& upstream, const Error& error);

  Request& request() { return request_; }
  const std::string& endpoint_id() const { return entry_->endpoint.id; }
  uint64_t expected_cached_tokens() const { return pick_.cached_tokens; }
  bool wants_keep_alive() const { return request_.keep_alive && request_.complete && !core_.draining(); }
  dialect::UsageSniffer& sniffer() { return sniffer_; }
  const std::string& model() const { return request_.scanner.model(); }

  // Core's queue.
  Reason held_reason = Reason::None;
  std::list<Session*>::iterator queue_place;
  bool queued = false;

 private:
  enum class Phase : uint8_t { Idle, Head, Body, Queued, Proxying, Flushing, Lingering, Closed };

  void on_readable() override;
  void on_writable() override;
  void advance();
  bool read_head();
  void begin_request(const net::RequestHead& head);
  bool answer_locally(const net::RequestHead& head, std::string_view path);
  Status admissible(const net::RequestHead& head, std::string_view path) const;
  void build_forward_head(const net::RequestHead& head);
  bool read_body();
  bool take_content(std::string_view content);
  bool start_streaming();
  bool finish_body();
  void estimate_prompt();
  void fail(const Error& error);
  void fail_streaming(const Error& error);
  void answer(const std::string& message, int status, bool keep_alive);
  bool flush();  // false when bytes are left or the connection broke
  void end_answer();
  void linger();
  void client_left();
  void settle(bool ok);
  void release_body();
  void record();
  void set_phase(Phase phase, Nanos timeout);
  bool body_is_late(Nanos now) const;
  bool reads_body() const {
    return phase_ == Phase::Body || (phase_ == Phase::Proxying && !request_.complete);
  }

  Core& core_;
  net::Stream stream_;
  Phase phase_ = Phase::Idle;
  Nanos deadline_ = 0;
  Nanos body_began_ = 0;
  size_t scanned_ = 0;     // of the head
  net::RequestHead head_;  // kept for the capacity of its vector

  Request request_;
  std::shared_ptr<EndpointEntry> entry_;  // while dispatched
  Upstream* upstream_ = nullptr;
  Pick pick_;
  ModelMetrics* metrics_ = nullptr;  // of the request's model once that is known to exist
  bool retried_ = false;
  bool freshly_connected_ = false;  // this dispatch has already had a new connection
  bool answer_begun_ = false;
  std::unique_ptr<Error>
      refuse_all_;  // the gateway is full: whatever this connection asks is answered with it
  int status_ = 0;
  Nanos request_began_ = 0;
  Nanos held_since_ = 0;
  dialect::UsageSniffer sniffer_;

  std::string out_;  // bytes for the client that its socket did not take yet
  size_t out_sent_ = 0;
  bool close_after_answer_ = false;
};

}  // namespace tweendeck::routing::gateway
