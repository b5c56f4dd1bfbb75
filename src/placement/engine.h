// The scheduler engine: events in, decisions out, state = fold(events).
//
// Pure: no clock, thread, random source or float in a decision, so the same events give the same decisions and the
// same `hash` on every machine and compiler; to restart is to replay the log.
//
// A claim is Pending, then Reserved on a spot until the bind is confirmed, then Bound. A bind that fails or is not
// confirmed in time gives the spot back and the claim waits again. Three verdicts are never mixed: Placed; Infeasible
// (proved: nothing in the cluster has room now); BudgetExhausted (not tried to the end; tried again by Timer).
//
// Claims that wait are kept by class (shape, queue, namespace, priority; a family that keeps apart): one verdict serves the class until something grows
// that could host it, so a claim that cannot be placed costs O(1). Within a class the first come is the first served.
// Among classes that can go on, the higher priority goes first, then the queue further below its share, then the
// older claim.
//
// Gangs (groups.h) gather their members, start when all roles can have their minimum at once, and grow later. A gang
// that lost more members than it can do without gives everything back.
//
// With `preempt` a claim or gang without room may have others stopped (preempt/victims.h says whom): they are told to
// Stop, what they free is kept for it, and nobody is told so before his minimum run time, against a disruption budget,
// or as a part of a gang that could not go on without him: then the whole gang is. Who found nobody asks again at a
// Timer after anything happened that may have changed that.
//
// Not safe for concurrent use.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <queue>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "placement/claim_table.h"
#include "placement/events.h"
#include "placement/families.h"
#include "placement/groups.h"
#include "placement/pending.h"
#include "placement/policy/policy.h"
#include "placement/preempt/handover.h"
#include "placement/preempt/victims.h"
#include "placement/queue/namespace_quota.h"
#include "placement/residency.h"

namespace tweendeck::placement {

inline constexpr size_t kMaxClaims = 1u << 24;  // that wait, are reserved or bound
inline constexpr size_t kRememberedClaims = 1u
                                            << 16;  // that ended: late duplicates of their events do no harm

struct EngineSettings {
  int64_t bind_timeout_ms = 60'000;  // from Placed until BindConfirmed
  int64_t bind_backoff_ms = 1'000;   // after a failed bind; doubles with each failure in a row
  int64_t bind_backoff_max_ms = 300'000;
  uint32_t tries_per_event = 4'096;  // of waiting claims; what is left has BudgetExhausted
  bool preempt = false;              // claims without room may have others stopped: preempt/victims.h
  uint32_t victim_searches_per_event = 16;
};

inline constexpr uint32_t kGroupTriesPerEvent = 8;  // of gangs that wait
inline constexpr size_t kMaxBudgets = 1u << 20;     // that bound anything or have claims

enum class Verdict : uint8_t {
  Placed,           // reserved at `spot`; confirm with `reservation`
  Infeasible,       // no node has room now, proved; the reason says what was decisive
  BudgetExhausted,  // not tried to the end, will be
  Waiting,          // quota or back-off; not looked for room
  Released,         // what it held was given back, it waits again (reason: why)
  Ended,            // withdrawn; what it held was given back
  Bound,
  Resized,
  Rejected,  // the event made no sense now and changed nothing (reason: why)
  Stop,      // of somebody who runs: to be stopped for another claim; ClaimWithdrawn says that it has
};
std::string_view to_string(Verdict verdict);

struct ClaimDecision {
  ClaimId claim = 0;
  Verdict verdict = Verdict::Rejected;
  Reason reason = Reason::None;
  uint64_t reservation = 0;  // Placed: never used again
  int64_t score = 0;
  Spot spot;  // Placed: where; Released, Ended: where it was
};

// How a claim stands.
struct ClaimStatus {
  ClaimState state = ClaimState::Pending;
  ShapeId shape = 0;
  Reason reason = Reason::None;  // pending: why; never None
  int64_t submitted_ms = 0;
  int64_t tried_ms = 0;  // when its class was last tried
  Spot spot;
};

class Reporter;
struct ClaimReport;
struct Holder;
struct WhyContext;

class Engine {
 public:
  explicit Engine(std::unique_ptr<Policy> policy, const EngineSettings& settings = {});

  // Appends every change of a claim to `out`. An error is an event that could not be applied and changed nothing.
  Status apply(const Event& event, std::vector<ClaimDecision>& out);
  // Upkeep that can wait until the decisions are out: call it after each event, or not at all, decisions are the same.
  void settle() { policy_->settle(cluster_); }

  std::optional<ClaimStatus> status(ClaimId claim) const;  // nothing when unknown or ended
  size_t pending() const { return pending_count_; }
  size_t reserved() const { return reserved_.size(); }
  size_t bound() const { return bound_count_; }
  std::vector<ScoreTerm> terms(ClaimId claim);  // of the spot that it holds, as of now
  // How it stands, and why it waits (claim_report.h). Changes nothing. NotFound.
  Result<ClaimReport> why(ClaimId claim, Reporter& reporter, const WhyContext& context);
  int64_t now_ms() const { return now_ms_; }

  const Cluster& cluster() const { return cluster_; }
  const Queues& queues() const { return queues_; }
  const NamespaceQuotas& namespaces() const { return spaces_; }
  std::optional<ShapeId> shape(uint32_t number) const;
  const ClaimTable& claims() const { return claims_; }
  const Handovers& handovers() const { return handovers_; }
  const Groups& groups() const { return groups_; }

  // Of everything that decisions depend on and of all decisions so far.
  uint64_t hash() const;

 private:
  Status on(const NodePut& event);
  Status on(const NodeGone& event);
  Status on(const NodeCordon& event);
  Status on(const DeviceHealth& event);
  Status on(const DeviceCordon& event);
  Status on(const ShapeDefined& event);
  Status on(const QueuePut& event);
  Status on(const GroupPut& event);
  Status on(const GroupGone& event);
  Status on(const ClaimSubmitted& event);
  Status on(const ClaimWithdrawn& event);
  Status on(const BindConfirmed& event);
  Status on(const BindFailed& event);
  Status on(const Resize& event);
  Status on(const Timer& event);
  Status on(const NamespacePut& event);
  Status on(const BudgetPut& event);
  Status on(const WeightsOnNode& event);
  Status on(const ClaimAdopted& event);

  struct Attempt {  // to place a claim: where, or what bars its class
    std::optional<Choice> choice;
    PendingClass::Bar bar = PendingClass::Bar::Ready;
    Reason reason = Reason::None;
  };

  enum class Search : uint8_t {
    Found,
    Nobody,
    Later,  // not looked for to the end
  };

  void at(int64_t time_ms);
  void grown(NodeIndex node);
  void set_capacity();

  // decisions.cc
  void say(const ClaimDecision& decision);
  Status reject(ClaimId claim, Reason reason);

  // waiting.cc
  Reason add_claim(const ClaimSubmitted& event, ClaimSlot& slot);
  void enter(ClaimSlot slot);
  void stop_waiting(ClaimSlot slot);
  void wait_again(ClaimSlot slot);
  void try_place(ClaimSlot slot);
  void join(ClaimSlot slot, ClassId id);
  // `only`: it fits on no other node, proved.
  Attempt look(const Claim& claim, NodeIndex only = kAnyNode);
  Reason no_room_reason(const Claim& claim) const;
  void retry();
  bool first(const PendingClass& a, const PendingClass& b);

  // quota.cc
  Amounts ask_of(const Claim& claim, ShapeId shape) const;
  uint8_t model_resource(ShapeId shape) const;
  std::optional<NamespaceId> space(uint32_t number) const;
  Admission admit(QueueId queue, NamespaceId space, const Amounts& ask) const;
  void charge(const Claim& claim);
  void refund(const Claim& claim);
  void add_pending(const Claim& claim);
  void drop_pending(const Claim& claim);
  void recount_models();
  void quota_changed();

  // engine_why.cc
  std::string quota_detail(const Admission& admission, const Claim& claim) const;
  std::vector<Holder> holders_on(NodeIndex node, ClaimSlot but, const WhyContext& context) const;

  // lifecycle.cc
  void reserve(ClaimSlot slot, const Choice& choice);
  void reserve_taken(ClaimSlot slot, const Choice& choice);
  void grant(ClaimSlot slot, const Choice& choice);
  void free(ClaimSlot slot);
  void give_up(ClaimSlot slot, Reason reason);
  void take_back(ClaimSlot slot, Reason reason);
  int64_t back_off(uint16_t& failures) const;
  void drop_unusable_reservations(NodeIndex node);

  // adoption.cc
  std::optional<Spot> spot_of(const ClaimAdopted& event) const;
  Reason adoptable(const ClaimAdopted& event, const Spot& spot);
  void gang_runs(Groups::Index index);

  // preemption.cc
  void note_running(const Claim& claim);
  bool may_search();
  Search seek_victims(ClaimSlot slot);
  Search seek_victims(Group& group, const Gang& gang, const std::vector<uint32_t>& roles);
  void stop_for(Handovers::Key key, std::vector<Promise> promises, const std::vector<ClaimId>& victims);
  Handovers::Key promise_of(const Claim& claim) const;
  void victim_gone(ClaimId victim);
  void end_promises(const std::vector<Promise>& promises);
  void give_up_promise(Handovers::Key key);
  void search_again();

  // groups.cc
  bool joins_group(const ClaimSubmitted& event, ShapeId shape, Reason& why) const;
  void join_group(ClaimSlot slot, Groups::Index index, uint32_t role);
  void try_member(ClaimSlot slot);
  void member_placed(const Claim& claim);
  void leave_group(ClaimSlot slot, bool held, bool was_stopped);
  void start_gang(Group& group);
  void note_minimum(const Group& group);
  void member_lost(ClaimSlot slot);
  void check_gang(Group& group);

  // gang_placing.cc
  void try_group(Groups::Index index);
  bool next_gang(const Group& group, bool at_least, uint32_t first_role, Gang& gang,
                 std::vector<uint32_t>& roles) const;
  Admission admit_gang(const Group& group, const Gang& gang) const;
  uint32_t domain_at(const Spot& spot, Level level) const;
  void groups_may_go_on(NodeIndex node);
  void retry_groups(int32_t least_priority);

  std::unique_ptr<Policy> policy_;
  EngineSettings settings_;
  Cluster cluster_;
  Queues queues_;
  NamespaceQuotas spaces_;
  Residency residency_;
  Families families_;
  ClaimTable claims_;
  PendingClasses waiting_;
  SlotList reserved_;      // oldest deadline first
  SlotList resting_;       // pending, in back-off
  SlotList ended_;         // oldest first
  SlotList promised_;      // pending, others are being stopped for them
  RunningClaims running_;  // reserved and bound, not being stopped; kept only if others may be stopped
  Handovers handovers_;
  uint32_t searches_left_ = 0;
  bool victims_changed_ = false;  // there may be some where there were none
  std::priority_queue<int64_t, std::vector<int64_t>, std::greater<>> protected_;  // ends of minimum run times
  Groups groups_;
  GangPlacer gangs_;
  bool groups_ready_ = false;  // perhaps
  std::vector<ShapeId> shape_numbers_;
  std::vector<QueueId> queue_numbers_;
  std::vector<NamespaceId> space_numbers_;
  int64_t now_ms_ = 0;
  uint64_t submitted_ = 0;
  uint64_t reservations_ = 0;
  uint64_t digest_ = 0;
  size_t pending_count_ = 0;
  size_t bound_count_ = 0;
  std::vector<ClaimDecision>* out_ = nullptr;
};

}  // namespace tweendeck::placement
