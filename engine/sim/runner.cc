#include "engine/sim/runner.h"

#include <algorithm>
#include <utility>

namespace tweendeck::sim {

Runner::Runner(const Model& model, CudaDevice& device, uint32_t blocks, BatchLimits limits, Hooks hooks)
    : model_(model), device_(device), hooks_(std::move(hooks)), batcher_(blocks, limits), thread_([this] {
        run();
      }) {}

Runner::~Runner() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_one();
  thread_.join();
}

void Runner::submit(BatchRequest request) {
  {
    std::lock_guard lock(mutex_);
    arrivals_.push_back(std::move(request));
    ++state_.waiting;
  }
  wake_.notify_one();
}

// A request that has not been taken yet is dropped here, so that an abort never overtakes its request.
void Runner::abort(RequestId id) {
  {
    std::lock_guard lock(mutex_);
    if (std::erase_if(arrivals_, [id](const BatchRequest& r) { return r.id == id; }) > 0) {
      --state_.waiting;
      return;
    }
    aborts_.push_back(id);
  }
  wake_.notify_one();
}

RunnerState Runner::state() const {
  std::lock_guard lock(mutex_);
  return state_;
}

void Runner::run() {
  Status status = device_.bind_thread();
  while (status && take_work()) status = step();
  if (!status) hooks_.failed(status.error());
}

// Sleeps while there is nothing to compute. False when the runner shall end.
bool Runner::take_work() {
  std::unique_lock lock(mutex_);
  for (;;) {
    for (BatchRequest& request : std::exchange(arrivals_, {})) batcher_.add(std::move(request));
    for (const RequestId id : std::exchange(aborts_, {})) batcher_.abort(id);
    state_ = {batcher_.running(), batcher_.waiting(), batcher_.kv_usage(), batcher_.counters()};
    if (stopping_) return false;
    if (state_.running + state_.waiting > 0) return true;
    wake_.wait(lock, [this] { return stopping_ || !arrivals_.empty() || !aborts_.empty(); });
  }
}

Status Runner::step() {
  const Step step = batcher_.plan();
  {
    std::lock_guard lock(mutex_);
    state_.running = batcher_.running();
    state_.waiting = batcher_.waiting() + arrivals_.size();
    state_.kv_usage = batcher_.kv_usage();
  }
  if (Status done = device_.spin(step_duration(model_, step.load)); !done) return done;
  std::vector<Progress> progress = batcher_.complete();
  if (!progress.empty()) hooks_.report(std::move(progress));
  return {};
}

}  // namespace tweendeck::sim
