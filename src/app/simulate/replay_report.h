// What `simulate placement --log` and `--why` print: how the engine stands after a log, and why a claim waits. Pure.
#pragma once

#include <string>
#include <vector>

#include "sim/engine_replay.h"

namespace tweendeck::simulate {

// What was supposed and what the engine would do then.
struct Supposed {
  std::vector<std::string> lines;
  std::vector<placement::ClaimDecision> decisions;
};

std::string state_text(const sim::EngineReplay& replay, const std::string& source, const Supposed& supposed,
                       bool color);
std::string state_json(const sim::EngineReplay& replay, const Supposed& supposed);

std::string claim_text(const sim::EngineReplay& replay, const Supposed& supposed,
                       const placement::ClaimReport& report);
std::string claim_json(const sim::EngineReplay& replay, const Supposed& supposed,
                       const placement::ClaimReport& report);

}  // namespace tweendeck::simulate
