// For tests: an HTTP/2 client (nghttp2's) that speaks gRPC, in memory. Bytes for the server are in `wire`; what the
// server answers goes into receive().
#pragma once

#include <nghttp2/nghttp2.h>

#include <algorithm>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace tweendeck::net::http2 {

inline std::string grpc_frame(std::string_view message, char compressed = 0) {
  const auto size = static_cast<uint32_t>(message.size());
  std::string out = {compressed, static_cast<char>(size >> 24), static_cast<char>(size >> 16),
                     static_cast<char>(size >> 8), static_cast<char>(size)};
  return out.append(message);
}

class TestClient {
 public:
  struct Call {
    std::map<std::string, std::string> fields;  // of the head and of the trailers
    std::string bytes;                          // received, as framed
    std::string unsent;
    bool half_closed = false;
    bool deferred = false;
    bool closed = false;
    uint32_t error = 0;

    std::vector<std::string> messages() const {
      std::vector<std::string> out;
      for (size_t at = 0; at + 5 <= bytes.size();) {
        size_t size = 0;
        for (int i = 1; i < 5; ++i)
          size = size << 8 | static_cast<uint8_t>(bytes[at + static_cast<size_t>(i)]);
        out.push_back(bytes.substr(at + 5, size));
        at += 5 + size;
      }
      return out;
    }
    std::string status() const { return fields.contains("grpc-status") ? fields.at("grpc-status") : ""; }
  };

  explicit TestClient(uint32_t window = 65535) {
    nghttp2_session_callbacks* callbacks = nullptr;
    nghttp2_session_callbacks_new(&callbacks);
    nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_close);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame);
    nghttp2_session_client_new(&native_, callbacks, this);
    nghttp2_session_callbacks_del(callbacks);
    const nghttp2_settings_entry settings[] = {{NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, window}};
    nghttp2_submit_settings(native_, NGHTTP2_FLAG_NONE, settings, 1);
  }
  ~TestClient() { nghttp2_session_del(native_); }
  TestClient(const TestClient&) = delete;
  TestClient& operator=(const TestClient&) = delete;

  int32_t open(std::string_view path, std::vector<std::pair<std::string, std::string>> more = {},
               std::string_view content_type = "application/grpc") {
    std::vector<std::pair<std::string, std::string>> all = {{":method", "POST"},
                                                            {":scheme", "http"},
                                                            {":authority", "test"},
                                                            {":path", std::string(path)},
                                                            {"content-type", std::string(content_type)},
                                                            {"te", "trailers"}};
    all.insert(all.end(), more.begin(), more.end());
    std::vector<nghttp2_nv> fields;
    for (auto& [name, value] : all) {
      fields.push_back({reinterpret_cast<uint8_t*>(name.data()), reinterpret_cast<uint8_t*>(value.data()),
                        name.size(), value.size(), NGHTTP2_NV_FLAG_NONE});
    }
    nghttp2_data_provider provider{};
    provider.read_callback = read;
    return nghttp2_submit_request(native_, nullptr, fields.data(), fields.size(), &provider, nullptr);
  }
  void send(int32_t id, std::string_view bytes) {
    calls[id].unsent += bytes;
    nghttp2_session_resume_data(native_, id);
  }
  void end(int32_t id) {
    calls[id].half_closed = true;
    nghttp2_session_resume_data(native_, id);
  }
  void reset(int32_t id) { nghttp2_submit_rst_stream(native_, NGHTTP2_FLAG_NONE, id, NGHTTP2_CANCEL); }

  std::string wire() {
    std::string out;
    const uint8_t* bytes = nullptr;
    while (true) {
      const ssize_t size = nghttp2_session_mem_send(native_, &bytes);
      if (size <= 0) return out;
      out.append(reinterpret_cast<const char*>(bytes), static_cast<size_t>(size));
    }
  }
  bool receive(std::string_view bytes) {
    return nghttp2_session_mem_recv(native_, reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()) ==
           static_cast<ssize_t>(bytes.size());
  }

  std::map<int32_t, Call> calls;
  int goaways = 0;
  int32_t goaway_last_stream = -1;
  uint32_t goaway_error = 0;
  int pings = 0;

 private:
  static TestClient& self(void* user) { return *static_cast<TestClient*>(user); }
  static int on_header(nghttp2_session*, const nghttp2_frame* frame, const uint8_t* name, size_t name_size,
                       const uint8_t* value, size_t value_size, uint8_t, void* user) {
    self(user).calls[frame->hd.stream_id].fields[{reinterpret_cast<const char*>(name), name_size}] = {
        reinterpret_cast<const char*>(value), value_size};
    return 0;
  }
  static int on_data(nghttp2_session*, uint8_t, int32_t id, const uint8_t* bytes, size_t size, void* user) {
    self(user).calls[id].bytes.append(reinterpret_cast<const char*>(bytes), size);
    return 0;
  }
  static int on_close(nghttp2_session*, int32_t id, uint32_t error, void* user) {
    self(user).calls[id].closed = true;
    self(user).calls[id].error = error;
    return 0;
  }
  static int on_frame(nghttp2_session*, const nghttp2_frame* frame, void* user) {
    if (frame->hd.type == NGHTTP2_GOAWAY) {
      ++self(user).goaways;
      self(user).goaway_last_stream = frame->goaway.last_stream_id;
      self(user).goaway_error = frame->goaway.error_code;
    }
    if (frame->hd.type == NGHTTP2_PING && (frame->hd.flags & NGHTTP2_FLAG_ACK) == 0) ++self(user).pings;
    return 0;
  }
  static ssize_t read(nghttp2_session*, int32_t id, uint8_t* buffer, size_t length, uint32_t* flags,
                      nghttp2_data_source*, void* user) {
    Call& call = self(user).calls[id];
    const size_t now = std::min(length, call.unsent.size());
    std::copy_n(call.unsent.data(), now, reinterpret_cast<char*>(buffer));
    call.unsent.erase(0, now);
    if (call.unsent.empty() && call.half_closed) {
      *flags |= NGHTTP2_DATA_FLAG_EOF;
    } else if (now == 0) {
      return NGHTTP2_ERR_DEFERRED;
    }
    return static_cast<ssize_t>(now);
  }

  nghttp2_session* native_ = nullptr;
};

}  // namespace tweendeck::net::http2
