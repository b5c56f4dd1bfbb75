// Host functions of streams: one thread of the driver runs them, each when the work before it in its stream
// has ended, all in the order in which they were queued. Safe from any thread.
//
// Virtual time: the thread takes part while something is queued, and whoever waits for a function hands its
// own part over meanwhile, so that time can move to the end of the work that the function waits for.
#pragma once

#include <cstdint>
#include <functional>

namespace tweendeck::softgpu {

struct Stream;

void queue_host_call(Stream& stream, std::function<void()> call);
bool host_calls_pending(Stream& stream);
bool poll_host_call(uint64_t serial);  // virtual clock: "no" takes kPollNs
void wait_host_call(uint64_t serial);  // the calling thread has joined virtual time

}  // namespace tweendeck::softgpu
