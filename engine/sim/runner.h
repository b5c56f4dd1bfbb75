// The thread that computes: takes requests, plans a step, lets the device work for it, reports what came out.
//
// submit() and abort() may be called from any thread and take effect between two steps. `report` is called on
// the runner's thread after a step with the newest state of each request that moved; `failed` once when the
// device fails, after which nothing more is computed.
#pragma once

#include <condition_variable>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

#include "engine/sim/batcher.h"
#include "engine/sim/cuda.h"
#include "engine/sim/model.h"

namespace tweendeck::sim {

// What the batcher looks like between two steps.
struct RunnerState {
  size_t running = 0;
  size_t waiting = 0;
  double kv_usage = 0;
  BatchCounters counters;
};

class Runner {
 public:
  struct Hooks {
    std::function<void(std::vector<Progress>)> report;
    std::function<void(Error)> failed;
  };
  Runner(const Model& model, CudaDevice& device, uint32_t blocks, BatchLimits limits, Hooks hooks);
  ~Runner();  // ends after the step that runs now

  void submit(BatchRequest request);
  void abort(RequestId id);
  RunnerState state() const;

 private:
  void run();
  bool take_work();
  Status step();

  const Model model_;
  CudaDevice& device_;
  const Hooks hooks_;
  Batcher batcher_;  // the runner's thread only

  mutable std::mutex mutex_;
  std::condition_variable wake_;
  bool stopping_ = false;
  std::vector<BatchRequest> arrivals_;
  std::vector<RequestId> aborts_;
  RunnerState state_;
  std::thread thread_;
};

}  // namespace tweendeck::sim
