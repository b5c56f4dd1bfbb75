// How streams order work, by tickets.
#include "softgpu/cuda/capture.h"
#include "softgpu/cuda/driver.h"
#include "softgpu/cuda/host_calls.h"

namespace tweendeck::softgpu {
namespace {

uint32_t card_of(const Context& context) {
  return Driver::get()->device(context.device)->card;
}

// The streams of one thread for the per-thread default stream, by context id (ids are not used again).
struct ThreadStreams {
  struct Entry {
    Stream* stream;
    uint64_t id;
  };
  std::map<uint64_t, Entry> by_context;

  ~ThreadStreams() {
    Driver* driver = Driver::get();
    if (driver == nullptr) return;
    for (const auto& [context_id, entry] : by_context) {
      // A destroyed context's streams may belong to someone else by now.
      if (entry.stream->id == entry.id) driver->destroy_stream(entry.stream);
    }
  }
};

Stream* per_thread_stream(Context* context) {
  thread_local ThreadStreams streams;
  auto [found, is_new] = streams.by_context.try_emplace(context->id);
  if (is_new) {
    Stream* stream = Driver::get()->create_stream(context, 0, kLowestStreamPriority);
    found->second = {stream, stream->id};
  }
  return found->second.stream;
}

bool overlaps(const Stream& stream) {
  return Driver::get()->model().execution(card_of(*stream.context)) == Execution::Overlapping;
}

void note(Stream& stream, uint64_t ticket) {
  Context& context = *stream.context;
  const uint64_t lane = overlaps(stream) ? stream.id % kConnections : 0;
  raise(stream.last_ticket, ticket);
  raise(context.lanes[lane], ticket);
  if (stream.blocking) raise(context.blocking_lanes[lane], ticket);
}

void submit(Stream& stream, Work work) {
  work.stream = stream.id;
  work.not_before_ns = stream.not_before_ns.load();
  note(stream, Driver::get()->client().submit(card_of(*stream.context), work));
}

// The legacy stream is behind all blocking streams, and they are behind it.
void order_by_default(Stream& stream) {
  if (!stream.blocking || !overlaps(stream)) return;
  Context& context = *stream.context;
  if (&stream != &context.legacy) {
    const uint64_t ticket = context.legacy.last_ticket.load();
    if (ticket <= stream.joined_legacy.load()) return;
    raise(stream.joined_legacy, ticket);
    order_after(stream, ticket);
    return;
  }
  for (uint64_t lane = 0; lane < kConnections; ++lane) {
    const uint64_t ticket = context.blocking_lanes[lane].load();
    if (lane == stream.id % kConnections || ticket <= context.joined_lanes[lane].load()) continue;
    raise(context.joined_lanes[lane], ticket);
    order_after(stream, ticket);
  }
}

struct VirtualTimeMember {
  VirtualTimeMember() { Driver::get()->client().join_thread(); }
  ~VirtualTimeMember() {
    if (Driver* driver = Driver::get()) driver->client().leave_thread();
  }
};

}  // namespace

void join_virtual_time() {
  if (Driver::get()->model().clock_mode() != ClockMode::Virtual) return;
  thread_local VirtualTimeMember member;
}

CUresult resolve_stream(CUstream handle, bool per_thread_default, Stream*& stream) {
  const auto value = reinterpret_cast<uintptr_t>(handle);
  if (value <= kPerThreadStream) {
    TW_CONTEXT(context);
    const bool per_thread = value == kPerThreadStream || (value == 0 && per_thread_default);
    stream = per_thread ? per_thread_stream(context) : &context->legacy;
    return per_thread ? CUDA_SUCCESS : refuse_implicit(*context);
  }
  stream = reinterpret_cast<Stream*>(handle);
  if (!stream->alive.load(std::memory_order_relaxed)) return CUDA_ERROR_INVALID_HANDLE;
  return CUDA_SUCCESS;
}

uint64_t tail_ticket(Stream& stream) {
  if (&stream != &stream.context->legacy) return stream.last_ticket.load();
  if (!overlaps(stream)) return stream.context->blocking_lanes[0].load();
  order_by_default(stream);
  return stream.last_ticket.load();
}

uint64_t tail_host_call(Stream& stream) {
  if (&stream == &stream.context->legacy) return stream.context->last_blocking_host_call.load();
  return stream.last_host_call.load();
}

void order_after(Stream& stream, uint64_t ticket) {
  if (ticket == 0) return;
  if (overlaps(stream)) {
    submit(stream, {.after = ticket});
  } else {
    note(stream, ticket);
  }
}

CUresult enqueue(Stream& stream, uint64_t duration_ns, uint32_t sms) {
  join_virtual_time();
  order_by_default(stream);
  submit(stream, {.duration_ns = duration_ns, .sms = sms});
  return CUDA_SUCCESS;
}

void synchronize(Stream& stream) {
  Driver& driver = *Driver::get();
  join_virtual_time();
  driver.client().wait_done(card_of(*stream.context), tail_ticket(stream));
  if (stream.not_before_ns.load() > driver.model().now())
    driver.client().sleep_until(stream.not_before_ns.load());
  wait_host_call(tail_host_call(stream));
}

void synchronize(Context& context) {
  join_virtual_time();
  for (const auto& lane : context.lanes) Driver::get()->client().wait_done(card_of(context), lane.load());
  wait_host_call(context.last_host_call.load());
}

bool is_idle(Stream& stream) {
  Driver& driver = *Driver::get();
  join_virtual_time();
  if (!driver.client().is_done(card_of(*stream.context), tail_ticket(stream))) return false;
  return stream.not_before_ns.load() <= driver.model().now() && poll_host_call(tail_host_call(stream));
}

}  // namespace tweendeck::softgpu
