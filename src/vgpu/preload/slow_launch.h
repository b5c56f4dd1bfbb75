// A launch that no lease pays for, whatever call it is of. Safe from any thread.
#pragma once

#include "vgpu/preload/abi.h"
#include "vgpu/preload/tenant.h"
#include "vgpu/preload/throttle.h"

namespace tweendeck::vgpu {

// `ask` calls the driver.
template <class Ask>
__attribute__((noinline)) CUresult slow_launch(const Shape& shape, CUstream stream, Ask ask) {
  const Mode now = mode_attached();
  if (now == Mode::Inert) return ask();
  if (now == Mode::Broken) return CUDA_ERROR_SYSTEM_NOT_READY;
  const Ticket ticket = begin_launch(shape, stream);
  if (ticket.refused) return ticket.refused;
  const CUresult result = ask();
  end_launch(ticket, stream, result == CUDA_SUCCESS);
  return result;
}

}  // namespace tweendeck::vgpu
