// Calls that put work on the device. Each names its kernel and shape; throttle.h does the rest.
#include "vgpu/durations.h"
#include "vgpu/preload/abi.h"
#include "vgpu/preload/calls.h"
#include "vgpu/preload/tenant.h"
#include "vgpu/preload/throttle.h"

using namespace tweendeck::vgpu;

namespace {

template <class Ask>
CUresult launch(Form form, uint64_t key, CUstream stream, Ask ask) {
  const CUstream on = plain_stream(stream, form);
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

CUresult on_cuLaunchKernel(auto* ask, Form form, CUfunction f, unsigned gx, unsigned gy, unsigned gz,
                           unsigned bx, unsigned by, unsigned bz, unsigned shared, CUstream stream,
                           void** params, void** extra) {
  return launch(form, shape_key(f, gx, gy, gz, bx, by, bz), stream,
                [&] { return ask(f, gx, gy, gz, bx, by, bz, shared, stream, params, extra); });
}

CUresult on_cuLaunchKernelEx(auto* ask, Form form, const CUlaunchConfig* c, CUfunction f, void** params,
                             void** extra) {
  if (!c) return ask(c, f, params, extra);
  return launch(form, shape_key(f, c->grid_x, c->grid_y, c->grid_z, c->block_x, c->block_y, c->block_z),
                c->stream, [&] { return ask(c, f, params, extra); });
}

CUresult on_cuLaunchCooperativeKernel(auto* ask, Form form, CUfunction f, unsigned gx, unsigned gy,
                                      unsigned gz, unsigned bx, unsigned by, unsigned bz, unsigned shared,
                                      CUstream stream, void** params) {
  return launch(form, shape_key(f, gx, gy, gz, bx, by, bz), stream,
                [&] { return ask(f, gx, gy, gz, bx, by, bz, shared, stream, params); });
}

CUresult on_cuGraphLaunch(auto* ask, Form form, CUgraphExec graph, CUstream stream) {
  return launch(form, handle_key(graph), stream, [&] { return ask(graph, stream); });
}

}  // namespace

#include "wrappers_launch.inc"
