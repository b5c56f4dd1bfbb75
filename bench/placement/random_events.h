// A cluster's life by chance: machines of several kinds with partitions, racks and islands that come, fail and go; queues
// with quota; gangs; claims that are confirmed, lost, withdrawn and resized; priorities that have others stopped.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "placement/engine.h"

namespace tweendeck::bench {

class RandomEvents {
 public:
  explicit RandomEvents(uint64_t seed) : random_(seed) {}

  // What stands at the beginning.
  std::vector<placement::Event> begin();
  placement::Event next();
  // What the engine said: which reservations there are to confirm, and whom to stop.
  void heed(const std::vector<placement::ClaimDecision>& decisions);

 private:
  placement::NodeFacts node(uint32_t number);
  placement::Request request(uint32_t number);
  placement::Event of_node();
  placement::Event bind();
  placement::Event submit();
  placement::ClaimId some_claim();

  Random random_;
  std::vector<std::pair<placement::ClaimId, uint64_t>> to_bind_;
  std::vector<placement::ClaimId> to_stop_;
  placement::ClaimId claims_ = 0;
  placement::GroupId groups_ = 0;
  uint32_t joining_ = 0;  // members that the last group still gets
  int64_t now_ = 0;
};

}  // namespace tweendeck::bench
