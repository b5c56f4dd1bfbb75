// Settings of the gateway, with their defaults and what they bound.
#pragma once

#include <cstddef>
#include <string>

#include "base/clock.h"
#include "net/http1.h"
#include "net/listener.h"

namespace tweendeck::routing::gateway {

struct GatewayConfig {
  net::Address listen{"127.0.0.1", 8080};
  std::string api_keys_file;  // one key per line; required when listen is no loopback address
  std::string cert_file;      // PEM; TLS when both are set
  std::string key_file;

  net::HttpLimits http{.head_bytes = 16 * 1024, .fields = 128, .trailer_bytes = 4 * 1024};
  size_t max_connections = 4096;            // clients; more are answered 429
  size_t max_body_bytes = 32 << 20;         // of a request
  size_t max_hold_bytes = 1 << 20;          // of one request: kept until the first byte of its answer
  size_t max_total_hold_bytes = 256 << 20;  // of all requests; more are answered 429
  size_t max_queue_per_model = 1024;        // requests that wait for a replica
  size_t max_idle_per_endpoint = 128;       // kept-alive connections to one replica
  size_t input_buffer_bytes = 16 * 1024;    // per connection, on either side; a head must fit
  size_t max_overflow_bytes = 256 * 1024;   // of a streaming request body, between client and replica

  Nanos queue_timeout = 60 * kSecond;  // a request's longest wait for a replica
  Nanos head_timeout = 10 * kSecond;   // from a request's first byte to the end of its head
  Nanos body_timeout = 30 * kSecond;   // for the body, plus the time that min_body_rate allows
  size_t min_body_bytes_per_second = 16 * 1024;
  Nanos idle_timeout = 75 * kSecond;            // between requests of a client
  Nanos write_timeout = 60 * kSecond;           // a client that takes no bytes of its answer
  Nanos connect_timeout = 2 * kSecond;          // to a replica
  Nanos first_byte_timeout = 600 * kSecond;     // of a replica's answer; a long queue in the engine counts
  Nanos upstream_idle_timeout = 300 * kSecond;  // between bytes of an answer
  Nanos pool_idle_timeout = 60 * kSecond;       // of a kept-alive connection to a replica
  Nanos linger_timeout = 5 * kSecond;  // reading on after an early answer, so that the client sees it
  // After a failed connection a replica gets no requests for this long (they wait or go elsewhere).
  Nanos failed_endpoint_pause = 500 * kMillisecond;
  Nanos retry_after = 1 * kSecond;           // what Retry-After tells
  Nanos sweep_interval = 50 * kMillisecond;  // how late a timeout may be noticed
};

}  // namespace tweendeck::routing::gateway
