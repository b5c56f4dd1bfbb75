// Draws `top`: one frame of text from the local API's answers. Pure; the command only writes it and reads
// keys.
#pragma once

#include <map>
#include <string>

#include "base/clock.h"
#include "net/json.h"

namespace tweendeck::commands {

// The answers of /v1/devices, /v1/deployments, /v1/endpoints of one moment.
struct Snapshot {
  Nanos at = 0;  // monotonic
  Nanos wall_ns = 0;
  net::JsonValue devices, deployments, endpoints;
};

struct FrameSize {
  size_t columns = 80;
  size_t rows = 24;
  bool color = false;
};

// `before` is the frame of a moment ago: rates are differences. Equal to `now` when there is none yet.
// At most `rows` lines of at most `columns` columns each.
std::string draw(const Snapshot& before, const Snapshot& now, const FrameSize& size);

// `text` cut to `columns`; colour escapes take none and are closed.
std::string cut_line(const std::string& text, size_t columns);

}  // namespace tweendeck::commands
