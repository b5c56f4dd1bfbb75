// From what is wanted and what the slice granted to the process that is started. Pure.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "serving/ports.h"
#include "serving/process/launcher.h"
#include "serving/spec/engine_spec.h"
#include "serving/store/store.h"

namespace tweendeck::serving {

struct LaunchInput {
  const StoredDeployment* deployment = nullptr;
  const EngineSpec* engine = nullptr;
  const SliceGrant* grant = nullptr;
  std::string replica_id;
  std::string replica_dir;
  std::string host;
  std::string python;
  std::string bin_dir;
  uint16_t port = 0;
  uint64_t launch = 0;
  uint32_t start = 1;
  uint32_t uid = 0;
  bool sandbox = false;
  uint32_t device_cpus = 0;  // CPUs of the whole device; 0 = its compute is not CPUs
  uint64_t log_bytes = 0;
};

LaunchPlan make_launch_plan(const LaunchInput& input);

// What a replica claims: the deployment's claim, on devices that its engine can use only.
Claim engine_claim(const Claim& claim, const EngineSpec& engine, const std::vector<Device>& devices);

}  // namespace tweendeck::serving
