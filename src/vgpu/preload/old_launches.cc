// Launches of before CUDA 4, which take the block's shape from the function, and cooperative ones on several
// devices at once.
#include "vgpu/preload/abi.h"
#include "vgpu/preload/calls.h"
#include "vgpu/preload/slow_launch.h"
#include "vgpu/preload/tenant.h"

using namespace tweendeck::vgpu;

namespace {

// Another block shape is another duration of the same kernel: it is learned anew, or varies.
Shape shape_of_grid(CUfunction function, int width, int height) {
  return shape_of(function, static_cast<unsigned>(width), static_cast<unsigned>(height), 1, 0, 0, 0);
}

inline bool is_paid_cuLaunch(Form form, CUfunction function) {
  return spend(shape_of_grid(function, 1, 1), nullptr, form);
}
CUresult on_cuLaunch(auto* ask, CUfunction function) {
  return slow_launch(shape_of_grid(function, 1, 1), nullptr, [&] { return ask(function); });
}

inline bool is_paid_cuLaunchGrid(Form form, CUfunction function, int width, int height) {
  return spend(shape_of_grid(function, width, height), nullptr, form);
}
CUresult on_cuLaunchGrid(auto* ask, CUfunction function, int width, int height) {
  return slow_launch(shape_of_grid(function, width, height), nullptr,
                     [&] { return ask(function, width, height); });
}

inline bool is_paid_cuLaunchGridAsync(Form form, CUfunction function, int width, int height,
                                      const CUstream& stream) {
  return spend(shape_of_grid(function, width, height), stream, form);
}
CUresult on_cuLaunchGridAsync(auto* ask, CUfunction function, int width, int height, CUstream stream) {
  return slow_launch(shape_of_grid(function, width, height), stream,
                     [&] { return ask(function, width, height, stream); });
}

// The stream's context is the current one meanwhile.
class InContextOf {
 public:
  explicit InContextOf(CUstream stream) {
    static auto* const context_of = driver<CUresult(CUstream, CUcontext*)>("cuStreamGetCtx");
    static auto* const push = driver<CUresult(CUcontext)>("cuCtxPushCurrent_v2");
    CUcontext context = nullptr;
    pushed_ = stream && context_of && push && context_of(stream, &context) == CUDA_SUCCESS &&
              push(context) == CUDA_SUCCESS;
  }
  ~InContextOf() {
    static auto* const pop = driver<CUresult(CUcontext*)>("cuCtxPopCurrent_v2");
    CUcontext context = nullptr;
    if (pushed_ && pop) pop(&context);
  }
  InContextOf(const InContextOf&) = delete;
  InContextOf& operator=(const InContextOf&) = delete;

 private:
  bool pushed_;
};

// Each device's part waits for that device's share, one after the other; then all start at once.
class Parts {
 public:
  Parts(const CUlaunchParams* launches, unsigned count) : launches_(launches), count_(count) {}

  CUresult begin() {
    for (; begun_ < count_; ++begun_) {
      const CUlaunchParams& one = launches_[begun_];
      const InContextOf in(one.stream);
      tickets_[begun_] = begin_launch(
          shape_of(one.function, one.grid_x, one.grid_y, one.grid_z, one.block_x, one.block_y, one.block_z),
          one.stream);
      if (const CUresult refused = tickets_[begun_].refused) return refused;
    }
    return CUDA_SUCCESS;
  }
  void end(bool launched) {
    while (begun_-- > 0) {
      const InContextOf in(launches_[begun_].stream);
      end_launch(tickets_[begun_], launches_[begun_].stream, launched);
    }
  }

 private:
  const CUlaunchParams* launches_;
  unsigned count_;
  unsigned begun_ = 0;
  Ticket tickets_[TW_VGPU_MAX_DEVICES];
};

inline bool is_paid_cuLaunchCooperativeKernelMultiDevice(Form, CUlaunchParams*, unsigned, unsigned) {
  return false;
}
CUresult on_cuLaunchCooperativeKernelMultiDevice(auto* ask, CUlaunchParams* launches, unsigned count,
                                                 unsigned flags) {
  const Mode now = mode_attached();
  if (now == Mode::Broken) return CUDA_ERROR_SYSTEM_NOT_READY;
  if (now == Mode::Inert || !launches) return ask(launches, count, flags);
  // More than one part per device there cannot be, nor more devices in a slice.
  if (count > TW_VGPU_MAX_DEVICES) {
    count_refusal(0, TW_VGPU_REFUSED_DEVICE);
    return CUDA_ERROR_NOT_PERMITTED;
  }
  Parts parts(launches, count);
  CUresult result = parts.begin();
  const bool granted = result == CUDA_SUCCESS;
  if (granted) result = ask(launches, count, flags);
  parts.end(granted && result == CUDA_SUCCESS);
  return result;
}

}  // namespace

#include "wrappers_old_launches.inc"
