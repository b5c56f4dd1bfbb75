// What a client gets instead of an answer: an ImmediateResponse with OpenAI's error object. Pure.
#pragma once

#include "base/clock.h"
#include "base/result.h"
#include "net/protobuf.h"

namespace tweendeck::routing::picker {

// 429 and 503 carry Retry-After; what was turned away for load or lack of endpoints says so in llm-d's header.
void write_refusal(const Error& error, Nanos retry_after, net::ProtoWriter& out);

}  // namespace tweendeck::routing::picker
