#include "net/http2/session.h"

#include <nghttp2/nghttp2.h>

#include <algorithm>

namespace tweendeck::net::http2 {
namespace {

constexpr size_t kFieldOverheadBytes = 32;  // RFC 9113, 6.5.2
constexpr size_t kMaxResponseFields = 8;

nghttp2_nv nv(std::string_view name, std::string_view value) {
  return {reinterpret_cast<uint8_t*>(const_cast<char*>(name.data())),
          reinterpret_cast<uint8_t*>(const_cast<char*>(value.data())), name.size(), value.size(),
          NGHTTP2_NV_FLAG_NONE};
}

std::string_view text(const uint8_t* data, size_t size) {
  return {reinterpret_cast<const char*>(data), size};
}

}  // namespace

// nghttp2's callbacks; `user` is the Session.
struct Callbacks {
  static Session& self(void* user) { return *static_cast<Session*>(user); }
  static Exchange* find(nghttp2_session* native, int32_t id) {
    return static_cast<Exchange*>(nghttp2_session_get_stream_user_data(native, id));
  }

  static int begin_headers(nghttp2_session* native, const nghttp2_frame* frame, void* user) {
    if (frame->headers.cat != NGHTTP2_HCAT_REQUEST) return 0;
    const int32_t id = frame->hd.stream_id;
    auto made = std::unique_ptr<Exchange>(new Exchange(self(user), id));
    nghttp2_session_set_stream_user_data(native, id, made.get());
    self(user).exchanges_.emplace(id, std::move(made));
    return 0;
  }

  static int header(nghttp2_session* native, const nghttp2_frame* frame, const uint8_t* name,
                    size_t name_size, const uint8_t* value, size_t value_size, uint8_t, void* user) {
    Exchange* exchange = find(native, frame->hd.stream_id);
    if (exchange == nullptr) return 0;
    const Limits& limits = self(user).limits_;
    exchange->header_bytes_ += name_size + value_size + kFieldOverheadBytes;
    if (exchange->header_bytes_ > limits.max_header_bytes ||
        ++exchange->header_fields_ > limits.max_header_fields) {
      return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;  // resets the stream
    }
    if (frame->headers.cat != NGHTTP2_HCAT_REQUEST) return 0;
    const std::string_view key = text(name, name_size);
    if (key == ":path") exchange->head_.path = text(value, value_size);
    if (key == ":method") exchange->head_.method = text(value, value_size);
    if (key == "content-type") exchange->head_.content_type = text(value, value_size);
    return 0;
  }

  static int frame_received(nghttp2_session* native, const nghttp2_frame* frame, void* user) {
    Session& session = self(user);
    const bool ends = (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;
    if (frame->hd.type == NGHTTP2_SETTINGS) session.saw_settings_ = true;
    if (frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA) return 0;
    Exchange* exchange = find(native, frame->hd.stream_id);
    if (exchange == nullptr) return 0;
    if (frame->hd.type == NGHTTP2_HEADERS && frame->headers.cat == NGHTTP2_HCAT_REQUEST) {
      exchange->handler_ = session.factory_(*exchange, exchange->head_);
    }
    if (frame->hd.type == NGHTTP2_DATA && frame->hd.length == 0 && !ends &&
        ++session.empty_data_ > session.limits_.empty_data_burst) {
      session.terminate(NGHTTP2_ENHANCE_YOUR_CALM);
    }
    if (!ends) return 0;
    exchange->remote_ended_ = true;
    if (exchange->handler_) exchange->handler_->on_end();
    return 0;
  }

  static int data(nghttp2_session* native, uint8_t, int32_t id, const uint8_t* bytes, size_t size, void*) {
    nghttp2_session_consume_connection(native, size);
    Exchange* exchange = find(native, id);
    if (exchange != nullptr && exchange->handler_ && !exchange->finished_) {
      exchange->handler_->on_data(text(bytes, size));
    } else {
      nghttp2_session_consume_stream(native, id, size);
    }
    return 0;
  }

  static int frame_sent(nghttp2_session* native, const nghttp2_frame* frame, void*) {
    if (frame->hd.type != NGHTTP2_HEADERS || (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) == 0) return 0;
    // The answer is complete, and whatever else the client has to say is of no interest.
    Exchange* exchange = find(native, frame->hd.stream_id);
    if (exchange != nullptr && !exchange->remote_ended_) exchange->reset(NGHTTP2_NO_ERROR);
    return 0;
  }

  static int stream_closed(nghttp2_session* native, int32_t id, uint32_t, void* user) {
    Session& session = self(user);
    nghttp2_session_set_stream_user_data(native, id, nullptr);
    auto node = session.exchanges_.extract(id);
    if (!node.empty() && node.mapped()->handler_) node.mapped()->handler_->on_closed();
    return 0;
  }

  static ssize_t read_answer(nghttp2_session* native, int32_t id, uint8_t*, size_t length, uint32_t* flags,
                             nghttp2_data_source* source, void*) {
    auto& exchange = *static_cast<Exchange*>(source->ptr);
    const size_t now = std::min(length, exchange.out_.size());
    if (now == 0 && !exchange.finished_) {
      exchange.deferred_ = true;
      return NGHTTP2_ERR_DEFERRED;
    }
    if (now > 0) *flags |= NGHTTP2_DATA_FLAG_NO_COPY;
    if (now == exchange.out_.size() && exchange.finished_) {
      *flags |= NGHTTP2_DATA_FLAG_EOF | NGHTTP2_DATA_FLAG_NO_END_STREAM;
      std::vector<nghttp2_nv> fields;
      for (const auto& [name, value] : exchange.trailers_) fields.push_back(nv(name, value));
      if (nghttp2_submit_trailer(native, id, fields.data(), fields.size()) != 0) {
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
      }
    }
    return static_cast<ssize_t>(now);
  }

  static int send_data(nghttp2_session*, nghttp2_frame* frame, const uint8_t* head, size_t length,
                       nghttp2_data_source* source, void* user) {
    constexpr size_t kFrameHeadBytes = 9;
    auto& exchange = *static_cast<Exchange*>(source->ptr);
    Session& session = self(user);
    if (session.producing_->size() >= session.limits_.max_backlog_bytes) return NGHTTP2_ERR_WOULDBLOCK;
    session.producing_->append(text(head, kFrameHeadBytes));
    session.producing_->take(exchange.out_, length);
    if (exchange.out_.empty() && !exchange.tell_drained_) {
      exchange.tell_drained_ = true;
      session.drained_.push_back(frame->hd.stream_id);
    }
    return 0;
  }
};

namespace {

nghttp2_session_callbacks* callbacks() {
  static nghttp2_session_callbacks* all = [] {
    nghttp2_session_callbacks* made = nullptr;
    nghttp2_session_callbacks_new(&made);
    nghttp2_session_callbacks_set_on_begin_headers_callback(made, Callbacks::begin_headers);
    nghttp2_session_callbacks_set_on_header_callback(made, Callbacks::header);
    nghttp2_session_callbacks_set_on_frame_recv_callback(made, Callbacks::frame_received);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(made, Callbacks::data);
    nghttp2_session_callbacks_set_on_frame_send_callback(made, Callbacks::frame_sent);
    nghttp2_session_callbacks_set_on_stream_close_callback(made, Callbacks::stream_closed);
    nghttp2_session_callbacks_set_send_data_callback(made, Callbacks::send_data);
    return made;
  }();
  return all;
}

}  // namespace

// ---------------------------------------------------------------- one exchange

void Exchange::respond(std::initializer_list<Field> fields) {
  nghttp2_nv all[kMaxResponseFields];
  size_t count = 0;
  for (const Field& field : fields) {
    if (count < kMaxResponseFields) all[count++] = nv(field.name, field.value);
  }
  nghttp2_data_provider provider{};
  provider.source.ptr = this;
  provider.read_callback = Callbacks::read_answer;
  responded_ = true;
  nghttp2_submit_response(session_.native_, id_, all, count, &provider);
  session_.on_output_();
}

void Exchange::send() {
  if (!std::exchange(deferred_, false)) return;
  nghttp2_session_resume_data(session_.native_, id_);
  session_.on_output_();
}

void Exchange::finish(std::vector<std::pair<std::string, std::string>> fields) {
  if (std::exchange(finished_, true)) return;
  trailers_ = std::move(fields);
  if (responded_) return send();
  responded_ = true;
  std::vector<nghttp2_nv> all;
  for (const auto& [name, value] : trailers_) all.push_back(nv(name, value));
  nghttp2_submit_response(session_.native_, id_, all.data(), all.size(), nullptr);
  session_.on_output_();
}

void Exchange::reset(uint32_t error_code) {
  finished_ = true;
  nghttp2_submit_rst_stream(session_.native_, NGHTTP2_FLAG_NONE, id_, error_code);
  session_.on_output_();
}

void Exchange::consume(size_t bytes) {
  if (bytes == 0) return;
  nghttp2_session_consume_stream(session_.native_, id_, bytes);
  session_.on_output_();
}

// ---------------------------------------------------------------- the session

Session::Session(const Limits& limits, Factory factory, std::function<void()> on_output)
    : limits_(limits), factory_(std::move(factory)), on_output_(std::move(on_output)) {
  nghttp2_option* option = nullptr;
  nghttp2_option_new(&option);
  nghttp2_option_set_no_auto_window_update(option, 1);
  nghttp2_option_set_no_closed_streams(option, 1);
  nghttp2_option_set_stream_reset_rate_limit(option, limits.reset_burst, limits.resets_per_second);
  nghttp2_session_server_new2(&native_, callbacks(), this, option);
  nghttp2_option_del(option);

  const nghttp2_settings_entry settings[] = {
      {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, limits.max_streams},
      {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, limits.stream_window_bytes},
      {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, static_cast<uint32_t>(limits.max_header_bytes)},
  };
  nghttp2_submit_settings(native_, NGHTTP2_FLAG_NONE, settings, std::size(settings));
  nghttp2_session_set_local_window_size(native_, NGHTTP2_FLAG_NONE, 0,
                                        static_cast<int32_t>(limits.connection_window_bytes));
}

Session::~Session() {
  abandon();
  nghttp2_session_del(native_);
}

void Session::abandon() {
  broken_ = true;
  while (!exchanges_.empty()) {
    const auto node = exchanges_.extract(exchanges_.begin());
    if (node.mapped()->handler_) node.mapped()->handler_->on_closed();
  }
}

bool Session::receive(std::string_view bytes) {
  if (broken_) return false;
  const ssize_t taken =
      nghttp2_session_mem_recv(native_, reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size());
  if (taken != static_cast<ssize_t>(bytes.size())) broken_ = true;
  return !broken_;
}

void Session::produce(OutQueue& out) {
  producing_ = &out;
  while (out.size() < limits_.max_backlog_bytes) {
    const uint8_t* bytes = nullptr;
    const ssize_t size = nghttp2_session_mem_send(native_, &bytes);
    if (size < 0) broken_ = true;
    if (size > 0) out.append(text(bytes, static_cast<size_t>(size)));
    if (size <= 0) break;
  }
  producing_ = nullptr;
  // Handlers may append more, which the next call sends.
  for (int32_t id : std::exchange(drained_, {})) {
    auto found = exchanges_.find(id);
    if (found == exchanges_.end()) continue;
    found->second->tell_drained_ = false;
    if (found->second->handler_) found->second->handler_->on_drained();
  }
}

bool Session::over() const {
  return broken_ || (nghttp2_session_want_read(native_) == 0 && nghttp2_session_want_write(native_) == 0);
}

void Session::ping() {
  nghttp2_submit_ping(native_, NGHTTP2_FLAG_NONE, nullptr);
}

void Session::announce_end() {
  nghttp2_submit_shutdown_notice(native_);
}

void Session::refuse_streams() {
  nghttp2_submit_goaway(native_, NGHTTP2_FLAG_NONE, nghttp2_session_get_last_proc_stream_id(native_),
                        NGHTTP2_NO_ERROR, nullptr, 0);
}

void Session::terminate(uint32_t error_code) {
  nghttp2_session_terminate_session(native_, error_code);
}

}  // namespace tweendeck::net::http2
