// Independent pieces of work on a few threads.
#pragma once

#include <atomic>
#include <cstddef>
#include <functional>

#include "base/result.h"

namespace tweendeck::sim {

// Calls piece(0 .. count - 1), each once, on `threads` threads (the caller's is one of them), in any order. The first
// error ends it early and is returned; with *stop set it ends early with Cancelled. `stop` may be null.
Status in_parallel(unsigned threads, size_t count, const std::atomic<bool>* stop,
                   const std::function<Status(size_t)>& piece);

}  // namespace tweendeck::sim
