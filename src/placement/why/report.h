// Why a claim has no place in a cluster, and what would give it one: for people as text, for programs as JSON.
//
// Every node is counted under the first thing that rules it out (judge.h); the nearest miss is the node that lacks least;
// what would help is what somebody can do or wait for. A claim that fits has a report too: `fitting_nodes` > 0.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "placement/why/board.h"
#include "placement/why/ends.h"

namespace tweendeck::placement {

inline constexpr uint32_t kReportSteps =
    200;  // of the search for whose end would help: an answer takes 0.1 ms

// A claim whose end is known.
struct Leaving {
  uint64_t claim = 0;
  int64_t at_ms = 0;
  Holder::Held held;
};

struct Question {
  ShapeId shape = 0;
  // Who could be ended on a node; not those that must go on. Asked of the nearest node only. May be empty.
  std::function<std::vector<Holder>(NodeIndex)> holders;
  // What its queue or quota says, whatever the room; None when it may start.
  Reason admission = Reason::None;
  std::string admission_detail;       // "queue research has 60 of 64 devices and the claim needs 8"
  int64_t tried_ms = -1;              // when it was last tried; -1 = never
  int64_t now_ms = -1;                // -1 = there is no time
  std::vector<Leaving> leaving = {};  // by time; may be empty
  std::function<std::string(uint64_t)> name_of = {};  // of those that leave
};

struct ReasonNodes {
  Reason reason = Reason::None;
  uint32_t nodes = 0;
  uint32_t devices = 0;  // of those nodes
  bool operator==(const ReasonNodes&) const = default;
};

struct NearMiss {
  struct Device {
    std::string id;
    Reason reason = Reason::None;
    uint64_t memory_bytes = 0;
    uint32_t compute_permille = 0;
    bool operator==(const Device&) const = default;
  };
  std::string node;
  Reason reason = Reason::None;
  uint32_t devices_missing = 0;
  std::vector<Device> devices;  // those to be freed, nearest first
  uint64_t cpu_milli = 0;
  uint64_t host_memory_bytes = 0;
  std::string detail;  // what the device is instead; may be empty
  bool operator==(const NearMiss&) const = default;
};

struct Remedy {
  enum class Kind : uint8_t {
    Quota,   // room in its queue or namespace
    End,     // of these on the nearest node
    Leave,   // these end by themselves: the first time that a node has room
    Reopen,  // the node has room but is closed or faulty
    None     // no node could hold it, even empty: another machine, or a smaller request
  };
  Kind kind = Kind::End;
  std::vector<std::string> names;  // End, Leave: who
  std::string node;                // End, Leave, Reopen
  int64_t at_ms = -1;              // Leave: when; End: when the last of them ends by itself, if that is known
  bool fewest = true;              // End
  Reason reason = Reason::None;    // Quota: of the queue; Reopen: why the node is out
  std::string detail;
  bool operator==(const Remedy&) const = default;
};

struct Report {
  Request request;
  uint32_t nodes = 0;
  uint32_t devices = 0;
  uint32_t fitting_nodes = 0;
  std::vector<ReasonNodes> reasons;  // most nodes first, ties by Reason order
  std::vector<NearMiss> nearest;     // none or one
  std::vector<Remedy> remedies;
  int64_t tried_ms = -1;
  int64_t now_ms = -1;

  Reason reason() const;     // the most frequent, or the queue's; None when it fits
  std::string text() const;  // several lines
  std::string json() const;  // one object
};

// A sentence as a part of another one: "Too little" -> "too little", but "CPU" stays.
std::string as_clause(std::string_view sentence);

class Reporter {
 public:
  // The same cluster in every call. The book is as it was on return.
  Report why(Cluster& cluster, const Question& question);

 private:
  Board board_;
};

// What if claims ended, others started or nodes came? Nothing of it is done: the cluster is as it was on return.
struct Hypothesis {
  std::vector<Holder::Held> ended;
  std::vector<Holder::Held> started;  // must fit once `ended` is gone
  std::vector<NodeFacts> nodes;       // new ones, or known ones with other facts; costs a copy of the cluster
};
Result<Report> what_if(Cluster& cluster, const Hypothesis& hypothesis, const Question& question);

}  // namespace tweendeck::placement
