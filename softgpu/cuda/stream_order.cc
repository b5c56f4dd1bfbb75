// How streams order work: on a card that executes in order of submission, by tickets.
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
  if (&stream == &stream.context->legacy) return stream.context->last_blocking_ticket.load();
  return stream.last_ticket.load();
}

uint64_t tail_host_call(Stream& stream) {
  if (&stream == &stream.context->legacy) return stream.context->last_blocking_host_call.load();
  return stream.last_host_call.load();
}

CUresult enqueue(Stream& stream, uint64_t duration_ns) {
  Driver& driver = *Driver::get();
  Context& context = *stream.context;
  join_virtual_time();
  const uint64_t ticket = driver.client().submit(
      card_of(context), {.duration_ns = duration_ns, .not_before_ns = stream.not_before_ns.load()});
  raise(stream.last_ticket, ticket);
  raise(context.last_ticket, ticket);
  if (stream.blocking) raise(context.last_blocking_ticket, ticket);
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
  Driver::get()->client().wait_done(card_of(context), context.last_ticket.load());
  wait_host_call(context.last_host_call.load());
}

bool is_idle(Stream& stream) {
  Driver& driver = *Driver::get();
  join_virtual_time();
  if (!driver.client().is_done(card_of(*stream.context), tail_ticket(stream))) return false;
  return stream.not_before_ns.load() <= driver.model().now() && poll_host_call(tail_host_call(stream));
}

}  // namespace tweendeck::softgpu
