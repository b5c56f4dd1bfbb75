#include "softgpu/cuda/operation.h"

#include "softgpu/cuda/capture.h"
#include "softgpu/cuda/driver.h"
#include "softgpu/cuda/host_calls.h"

namespace tweendeck::softgpu {
namespace {

// Bytes move at the call, unless a host function of this stream has yet to run: then behind it.
template <class Check, class Move>
CUresult run_bytes(Stream& stream, Check check, Move move) {
  if (!host_calls_pending(stream)) return move();
  if (CUresult error = check(); error != CUDA_SUCCESS) return error;
  queue_host_call(stream, [move] { (void)move(); });
  return CUDA_SUCCESS;
}

}  // namespace

CUgraphNodeType node_type(const Operation& operation) {
  constexpr CUgraphNodeType kTypes[] = {kNodeKernel,   kNodeMemcpy, kNodeMemset,    kNodeHost,
                                        kNodeGraph,    kNodeEmpty,  kNodeWaitEvent, kNodeEventRecord,
                                        kNodeMemAlloc, kNodeMemFree};
  static_assert(std::size(kTypes) == std::variant_size_v<Operation>);
  return kTypes[operation.index()];
}

CUresult perform(Stream& stream, const Operation& operation) {
  return is_capturing(stream) ? capture_operation(stream, operation) : run_now(stream, operation);
}

CUresult run_now(Stream& stream, const Operation& operation) {
  if (const auto* kernel = std::get_if<KernelOperation>(&operation))
    return enqueue(stream, kernel->duration_ns, kernel->sms);
  if (const auto* bytes = std::get_if<CopyOperation>(&operation)) {
    return run_bytes(
        stream, [&] { return check_copy(bytes->copy); }, [copy = bytes->copy] { return move_bytes(copy); });
  }
  if (const auto* bytes = std::get_if<FillOperation>(&operation)) {
    return run_bytes(
        stream, [&] { return check_fill(bytes->fill); }, [fill = bytes->fill] { return fill_bytes(fill); });
  }
  if (const auto* host = std::get_if<HostOperation>(&operation)) {
    queue_host_call(stream, [call = host->call] { call.function(call.data); });
    return CUDA_SUCCESS;
  }
  if (const auto* wait = std::get_if<EventWaitOperation>(&operation)) return wait_event(stream, *wait->event);
  if (const auto* record = std::get_if<EventRecordOperation>(&operation)) {
    return record_event(*record->event, stream);
  }
  if (const auto* freed = std::get_if<FreeOperation>(&operation)) return free_now(freed->address);
  return CUDA_SUCCESS;  // empty; a launch sees to the nodes of a child graph and to allocations itself
}

}  // namespace tweendeck::softgpu
