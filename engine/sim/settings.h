// The command line of tweendeck-sim: its own options first, then engine arguments as key=value. Pure.
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "base/result.h"
#include "engine/sim/model.h"

namespace tweendeck::sim {

struct Settings {
  Model model;
  std::string model_name;  // what requests call it; the model's own name by default
  std::string host = "127.0.0.1";
  uint16_t port = 0;
  uint32_t max_batch = 256;        // max_batch=N: requests in one step
  uint32_t max_in_flight = 256;    // max_in_flight=N: what the gateway may send at once; max_batch by default
  std::set<std::string> adapters;  // lora=NAME, repeatable
};

// Errors: InvalidArgument, ModelNotFound.
Result<Settings> parse_settings(const std::vector<std::string>& arguments);

}  // namespace tweendeck::sim
