// Many streamed chat requests at once over one thread, with precise arrival times: the client of `run` and
// `bench`.
//
//   ChatClient client({.base_url = "http://127.0.0.1:8080"}, clock);
//   client.start(request, on_text, on_done);
//   while (client.active() > 0) client.wait(100 * kMillisecond);
//
// Callbacks run inside wait() and may start further requests. Not thread-safe. A request that is still
// running when the client goes is aborted.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "app/client/chat_stream.h"
#include "base/clock.h"
#include "base/result.h"

namespace tweendeck::client {

struct ChatTarget {
  std::string base_url = {};      // without /v1
  std::string api_key = {};       // sent as a bearer token when not empty
  std::string ca_file = {};       // for https: trust these certificates instead of the system's
  Nanos timeout = 600 * kSecond;  // of one request
};

struct ChatAnswer {
  Status status;  // the error of a request that failed
  std::string text;
  std::string finish_reason;
  Usage usage;            // output_tokens counts events when the server told none
  std::string replica;    // as the gateway named it
  Nanos sent = 0;         // on the clock's monotonic line
  Nanos first_token = 0;  // of the first event with text; of the first byte when none had any
  Nanos last_token = 0;
  Nanos ended = 0;
};

class ChatClient {
 public:
  using OnText = std::function<void(std::string_view)>;
  using OnDone = std::function<void(const ChatAnswer&)>;

  ChatClient(ChatTarget target, const Clock& clock);
  ~ChatClient();

  void start(const ChatRequest& request, OnText on_text, OnDone on_done);
  // Moves every transfer on; returns after `at_most`, or earlier when something happened. Errors: IoError.
  Status wait(Nanos at_most);
  size_t active() const;
  void cancel_all();  // on_done is not called for them

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace tweendeck::client
