// What a simulation drives: one policy that decides for one cluster, a published reference or the placement engine.
//
// The simulation enters each decision into its Book and then tells the scheduler with changed(); so does it with
// releases and with nodes that go and come. Not for several threads.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>

#include "sim/book.h"

namespace tweendeck::sim {

class Scheduler {
 public:
  virtual ~Scheduler() = default;
  // A pod of this row came, and one ended: what a policy may learn from. Before the first place().
  virtual void arrived(uint32_t pod) = 0;
  virtual void ended(uint32_t pod) = 0;
  // Decides for row `pod` of the pod list, under the name `claim`; nothing when it fits nowhere.
  virtual std::optional<Placed> place(uint64_t claim, uint32_t pod) = 0;
  // `claim` was released, because it ended or its node was lost. The Book is changed already.
  virtual void released(uint64_t claim) = 0;
  // The node of the Book has other contents, or went down or came up.
  virtual void changed(uint32_t node) = 0;
};

// Starts schedulers of one policy for one pod list, one after another; what they may share between runs (scores of a
// published policy) lives here. One thread.
class SchedulerMaker {
 public:
  virtual ~SchedulerMaker() = default;
  // The Book and this outlive the scheduler. `ranks` is by node: who wins a tie. Errors: the engine does not take a node
  // or a pod of the trace.
  virtual Result<std::unique_ptr<Scheduler>> start(const Book& book, std::span<const uint32_t> ranks) = 0;
};

}  // namespace tweendeck::sim
