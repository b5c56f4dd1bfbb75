// Settings of the picker, with their defaults and what they bound.
#pragma once

#include <cstddef>
#include <string>

#include "base/clock.h"
#include "net/http2/limits.h"
#include "net/listener.h"

namespace tweendeck::routing::picker {

struct PickerConfig {
  net::Address listen{"127.0.0.1", 9002};
  net::Address health_listen{"127.0.0.1", 9003};  // grpc.health.v1 without TLS; `listen` offers it too
  net::Address metrics_listen{"127.0.0.1", 9090};
  std::string cert_file;  // PEM; TLS when both are set
  std::string key_file;
  std::string pool_name = "default";  // the label `name` of the pool's metrics

  // Endpoints named after the chosen one, for the proxy to try when that one fails. 0 where the proxy takes
  // no list: Envoy's ORIGINAL_DST clusters answer 503 to one.
  size_t fallbacks = 0;
  bool subset_hint = true;      // obey the proxy's list of endpoints that may be chosen
  bool test_selection = false;  // obey the header of the conformance suite

  size_t max_body_bytes = 32 << 20;         // of a request that is held until it names its model
  size_t max_hold_bytes = 1 << 20;          // then an endpoint is chosen, and the rest passes as it comes
  size_t max_total_hold_bytes = 256 << 20;  // of all requests; more are answered 429
  size_t max_waiting = 1024;                // requests that wait for an endpoint
  size_t max_unsent_bytes = 256 << 10;      // of one request, before its proxy is asked to pause
  Nanos queue_timeout = 60 * kSecond;
  Nanos retry_after = kSecond;  // what Retry-After tells
  // After an answer 502, 503 or 504 an endpoint gets no requests for this long: it fails fast, so it would
  // look idle and attract everything.
  Nanos failed_endpoint_pause = kSecond;
  Nanos sweep_interval = 50 * kMillisecond;

  net::http2::Limits http2;
};

// The largest body piece in one message: some proxies take no gRPC message over 64 KiB.
inline constexpr size_t kMaxBodyChunk = 62'000;

}  // namespace tweendeck::routing::picker
