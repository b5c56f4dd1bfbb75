// One request on its way through the gateway: what was read of it, and what of it is sent to a replica.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "net/http1.h"
#include "routing/dialect/body_scanner.h"
#include "routing/router.h"

namespace tweendeck::routing::gateway {

struct Request {
  std::string
      head;  // request line and end-to-end fields, ready to forward; Host and framing are added per replica
  bool to_head = false;  // the method is HEAD
  int minor_version = 1;
  bool keep_alive = true;
  net::Framing framing = net::Framing::None;
  uint64_t content_length = 0;

  net::BodyReader reader;
  dialect::BodyScanner scanner;
  std::string body;       // the content's beginning, up to max_hold_bytes; all of it unless `streaming`
  size_t held_bytes = 0;  // of the gateway's budget
  bool complete = false;  // all of the body was read
  bool streaming =
      false;  // larger than max_hold_bytes: the rest passes through `overflow`, and it is sent once only
  std::string overflow;  // content after `body`, framed for the replica, not yet sent

  Prefix prefix;
  uint64_t prompt_tokens = 0;

  void reset() {
    head.clear();
    body.clear();
    overflow.clear();
    reader = {};
    scanner = {};
    prefix = {};
    held_bytes = 0;
    complete = streaming = false;
  }
};

}  // namespace tweendeck::routing::gateway
