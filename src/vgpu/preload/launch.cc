// Calls that put work on the device. Each names its kernel and shape; throttle.h does the rest.
#include "vgpu/durations.h"
#include "vgpu/preload/abi.h"
#include "vgpu/preload/calls.h"
#include "vgpu/preload/tenant.h"
#include "vgpu/preload/throttle.h"

using namespace tweendeck::vgpu;

namespace {

// In the per-thread forms stream 0 means the thread's own stream, which the plain forms know as handle 2.
CUstream plain_stream(CUstream stream, Form form) {
  if (form == Form::PerThread && !stream) return reinterpret_cast<CUstream>(kPerThreadStream);
  return stream;
}

template <class Ask>
CUresult launch(Call call, uint64_t key, CUstream stream, Ask ask) {
  const Mode now = mode_attached();
  if (now == Mode::Inert) return ask();
  if (now == Mode::Broken) return CUDA_ERROR_SYSTEM_NOT_READY;
  const CUstream on = plain_stream(stream, kCallInfo[call].form);
  const Ticket ticket = begin_launch(key, on);
  if (ticket.refused) return ticket.refused;
  const CUresult result = ask();
  end_launch(ticket, on, result == CUDA_SUCCESS);
  return result;
}

uint64_t shape_key(const void* function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by,
                   unsigned bz) {
  const uint64_t words[] = {reinterpret_cast<uint64_t>(function), uint64_t{gx} << 32 | gy,
                            uint64_t{gz} << 32 | bx, uint64_t{by} << 32 | bz};
  return duration_key(words, 4);
}

uint64_t handle_key(const void* handle) {
  const uint64_t words[] = {reinterpret_cast<uint64_t>(handle)};
  return duration_key(words, 1);
}

}  // namespace

#define TW_LAUNCHES(suffix)                                                                                 \
  TW_EXPORT CUresult cuLaunchKernel##suffix(CUfunction f, unsigned gx, unsigned gy, unsigned gz,            \
                                            unsigned bx, unsigned by, unsigned bz, unsigned shared,         \
                                            CUstream stream, void** params, void** extra) {                 \
    using F = CUresult(CUfunction, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned,    \
                       CUstream, void**, void**);                                                           \
    auto* ask = real<F>(kCall_cuLaunchKernel##suffix);                                                      \
    if (!ask) return CUDA_ERROR_NOT_SUPPORTED;                                                              \
    return launch(kCall_cuLaunchKernel##suffix, shape_key(f, gx, gy, gz, bx, by, bz), stream,               \
                  [&] { return ask(f, gx, gy, gz, bx, by, bz, shared, stream, params, extra); });           \
  }                                                                                                         \
  TW_EXPORT CUresult cuLaunchKernelEx##suffix(const CUlaunchConfig* c, CUfunction f, void** params,         \
                                              void** extra) {                                               \
    using F = CUresult(const CUlaunchConfig*, CUfunction, void**, void**);                                  \
    auto* ask = real<F>(kCall_cuLaunchKernelEx##suffix);                                                    \
    if (!ask) return CUDA_ERROR_NOT_SUPPORTED;                                                              \
    if (!c) return ask(c, f, params, extra);                                                                \
    return launch(kCall_cuLaunchKernelEx##suffix,                                                           \
                  shape_key(f, c->grid_x, c->grid_y, c->grid_z, c->block_x, c->block_y, c->block_z),        \
                  c->stream, [&] { return ask(c, f, params, extra); });                                     \
  }                                                                                                         \
  TW_EXPORT CUresult cuLaunchCooperativeKernel##suffix(CUfunction f, unsigned gx, unsigned gy, unsigned gz, \
                                                       unsigned bx, unsigned by, unsigned bz,               \
                                                       unsigned shared, CUstream stream, void** params) {   \
    using F = CUresult(CUfunction, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned,    \
                       CUstream, void**);                                                                   \
    auto* ask = real<F>(kCall_cuLaunchCooperativeKernel##suffix);                                           \
    if (!ask) return CUDA_ERROR_NOT_SUPPORTED;                                                              \
    return launch(kCall_cuLaunchCooperativeKernel##suffix, shape_key(f, gx, gy, gz, bx, by, bz), stream,    \
                  [&] { return ask(f, gx, gy, gz, bx, by, bz, shared, stream, params); });                  \
  }                                                                                                         \
  TW_EXPORT CUresult cuGraphLaunch##suffix(CUgraphExec graph, CUstream stream) {                            \
    auto* ask = real<CUresult(CUgraphExec, CUstream)>(kCall_cuGraphLaunch##suffix);                         \
    if (!ask) return CUDA_ERROR_NOT_SUPPORTED;                                                              \
    return launch(kCall_cuGraphLaunch##suffix, handle_key(graph), stream,                                   \
                  [&] { return ask(graph, stream); });                                                      \
  }
TW_LAUNCHES()
TW_LAUNCHES(_ptsz)
