// What an HTTP/2 or gRPC peer may use of this process.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/clock.h"

namespace tweendeck::net::http2 {

struct Limits {
  uint32_t max_streams = 1024;               // open at once on one connection
  uint32_t stream_window_bytes = 256 << 10;  // of one stream, sent and not yet taken in
  uint32_t connection_window_bytes = 4 << 20;
  size_t max_header_bytes = 64 << 10;  // names, values and 32 for each field, as SETTINGS counts them
  uint32_t max_header_fields = 256;
  size_t max_message_bytes = 4 << 20;    // of one gRPC message
  size_t max_partial_bytes = 256 << 20;  // of all messages that are not yet complete
  size_t max_backlog_bytes = 256 << 10;  // taken from streams, and not yet taken by the connection's socket
  size_t input_buffer_bytes = 64 << 10;  // of a connection
  // Streams that a peer opens only to reset them cost us work and it nothing (CVE-2023-44487).
  uint64_t reset_burst = 2000;
  uint64_t resets_per_second = 1000;
  uint64_t empty_data_burst = 1000;  // DATA frames without a byte or an end, in the life of a connection

  Nanos preface_timeout = 10 * kSecond;  // until the peer's first settings, TLS handshake included
  Nanos ping_after = 30 * kSecond;       // without a byte of the peer
  Nanos ping_timeout = 20 * kSecond;     // without an answer: the peer is gone
  Nanos sweep_interval = 1 * kSecond;    // how late these are noticed
  Nanos goaway_notice = 1 * kSecond;     // from the first GOAWAY to the one that refuses new streams
};

}  // namespace tweendeck::net::http2
