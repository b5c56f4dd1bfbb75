// Random interleavings of commands, observations, faults and controller restarts against a simulated machine.
// After every step the safety rules hold; after the faults stop, what runs is what is wanted.
#include <gtest/gtest.h>

#include <map>
#include <set>
#include <string>

#include "serving/plan.h"

namespace tweendeck::serving {
namespace {

constexpr int kRuns = 400;
constexpr int kFaultySteps = 150;
constexpr Nanos kSettleTime = 20 * 60 * kSecond;

struct Process {
  uint64_t revision = 0;
  bool ready = false;
  bool deaf = false;  // ignores Stop
  bool hung = false;  // never becomes ready, or stops answering
};

class Machine {
 public:
  explicit Machine(uint64_t seed) : random_(seed) { config_.jitter_seed = seed; }

  void faulty_step() {
    now_ += static_cast<Nanos>(random_.below(4 * kSecond));
    if (random_.below(8) == 0) command();
    if (random_.below(4) == 0) disturb();
    observe(true);
    act(true);
    if (random_.below(25) == 0) restart();
  }

  void settle() {
    for (auto& [id, process] : processes_) process.hung = false;
    for (const Nanos end = now_ + kSettleTime; now_ < end; now_ += 500 * kMillisecond) {
      for (auto& [id, process] : processes_) process.ready = true;
      observe(false);
      act(false);
    }
  }

  void expect_desired_is_actual() const {
    std::set<std::string> wanted;
    for (const auto& [name, goal] : goals_) {
      ASSERT_FALSE(goal.removing) << name << " should be forgotten";
      for (uint32_t i = 1; i <= goal.replicas; ++i) wanted.insert(name + "-" + std::to_string(i));
    }
    std::set<std::string> running;
    for (const auto& [id, process] : processes_) {
      running.insert(id);
      EXPECT_EQ(process.revision, goals_.at(replicas_.at(id).deployment).revision) << id;
    }
    EXPECT_EQ(running, wanted);
    std::set<std::string> owners;
    for (const auto& [slice, owner] : slices_) EXPECT_TRUE(owners.insert(owner).second) << owner;
    EXPECT_EQ(owners, wanted);
    for (const auto& [id, replica] : replicas_) EXPECT_EQ(replica.phase, ReplicaPhase::Ready) << id;
  }

 private:
  void command() {
    const std::string name = random_.below(2) == 0 ? "a" : "b";
    auto found = goals_.find(name);
    if (found == goals_.end()) {
      Goal goal{.deployment = name,
                .replicas = static_cast<uint32_t>(random_.below(4)),
                .revision = ++revisions_,
                .drain = static_cast<Nanos>(random_.below(5 * kSecond)),
                .start_limit = 20 * kSecond,
                .stop_grace = 3 * kSecond};
      goals_.emplace(name, goal);
      return;
    }
    switch (random_.below(3)) {
      case 0:
        found->second.replicas = static_cast<uint32_t>(random_.below(4));
        break;
      case 1:
        found->second.revision = ++revisions_;
        break;
      default:
        found->second.removing = true;
    }
  }

  void disturb() {
    if (processes_.empty()) return;
    auto victim =
        std::next(processes_.begin(), static_cast<std::ptrdiff_t>(random_.below(processes_.size())));
    switch (random_.below(5)) {
      case 0:
        processes_.erase(victim);
        break;
      case 1:
        victim->second.deaf = true;
        break;
      case 2:
        victim->second.hung = true;
        break;
      default:
        victim->second.ready = true;
    }
  }

  // Checks and counters may be old; whether a process is alive is always true, as the lock is.
  void observe(bool lagging) {
    for (auto& [id, replica] : replicas_) {
      auto process = processes_.find(id);
      replica.alive = process != processes_.end();
      if (lagging && random_.below(3) == 0) continue;
      replica.answers = replica.alive && process->second.ready && !process->second.hung;
      replica.failed_checks = replica.answers ? 0 : replica.failed_checks + 1;
      replica.in_flight = lagging ? static_cast<uint32_t>(random_.below(3)) : 0;
    }
  }

  void act(bool faulty) {
    std::vector<Goal> goals;
    for (const auto& [name, goal] : goals_) goals.push_back(goal);
    std::vector<Replica> replicas;
    for (const auto& [id, replica] : replicas_) replicas.push_back(replica);
    for (const Action& action : plan(goals, replicas, now_, config_)) {
      const bool fails = faulty && random_.below(5) == 0;
      const bool dies = faulty && random_.below(40) == 0;  // the controller, between effect and record
      carry_out(action, fails, dies);
      if (dies) return restart();
    }
  }

  void carry_out(const Action& action, bool fails, bool dies) {
    if (action.kind == ActionKind::Create) {
      EXPECT_TRUE(replicas_.emplace(action.replica_id, make_replica(action, now_)).second);
      return;
    }
    if (action.kind == ActionKind::ForgetDeployment) {
      for (const auto& [id, replica] : replicas_) EXPECT_NE(replica.deployment, action.deployment);
      goals_.erase(action.deployment);
      return;
    }
    Replica& replica = replicas_.at(action.replica_id);
    const Error error{Reason::IoError, "fault", ""};
    switch (action.kind) {
      case ActionKind::AcquireSlice:
        EXPECT_FALSE(replica.alive);
        if (replica.slice_id.empty()) replica.slice_id = replica.id + "." + std::to_string(++slice_counter_);
        if (fails) return on_slice_refused(replica, error, now_, config_);
        slices_[replica.slice_id] = replica.id;
        if (!dies) on_slice_acquired(replica);
        return;
      case ActionKind::Launch: {
        EXPECT_TRUE(slices_.contains(replica.slice_id)) << "launched without a slice";
        EXPECT_FALSE(processes_.contains(replica.id)) << "a second process";
        if (fails) return on_launch_failed(replica, error, now_, config_);
        processes_[replica.id] = Process{.revision = replica.revision};
        if (!dies) on_launched(replica, now_);
        return;
      }
      case ActionKind::ReleaseSlice:
        EXPECT_FALSE(processes_.contains(replica.id)) << "released under a running process";
        if (fails) return on_release_failed(replica, error, now_, config_);
        slices_.erase(replica.slice_id);
        if (!dies) on_slice_released(replica);
        return;
      case ActionKind::Forget:
        EXPECT_FALSE(processes_.contains(replica.id));
        for (const auto& [slice, owner] : slices_) EXPECT_NE(owner, replica.id) << "slice without owner";
        replicas_.erase(replica.id);
        return;
      case ActionKind::Stop:
        if (auto found = processes_.find(replica.id); found != processes_.end() && !found->second.deaf) {
          processes_.erase(found);
        }
        break;
      case ActionKind::Kill:
        processes_.erase(replica.id);
        break;
      default:
        break;
    }
    if (!dies) apply_action(replica, action, now_);
  }

  // A new controller knows what the store holds and what the locks tell.
  void restart() {
    for (auto& [id, replica] : replicas_) {
      Replica kept;
      kept.id = replica.id;
      kept.deployment = replica.deployment;
      kept.ordinal = replica.ordinal;
      kept.revision = replica.revision;
      kept.slice_id = replica.slice_id;
      kept.restarts = replica.restarts;
      kept.failures = replica.failures;
      kept.phase_since = now_;
      kept.alive = processes_.contains(id);
      replica = kept;
    }
  }

  Random random_;
  PlanConfig config_;
  Nanos now_ = kSecond;
  uint64_t revisions_ = 0;
  uint64_t slice_counter_ = 0;
  std::map<std::string, Goal> goals_;
  std::map<std::string, Replica> replicas_;
  std::map<std::string, Process> processes_;   // truth
  std::map<std::string, std::string> slices_;  // truth: slice -> owner
};

TEST(PlanProperty, EveryInterleavingEndsWithWhatIsWanted) {
  for (uint64_t seed = 1; seed <= kRuns; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    Machine machine(seed);
    for (int i = 0; i < kFaultySteps; ++i) machine.faulty_step();
    machine.settle();
    machine.expect_desired_is_actual();
    if (testing::Test::HasFailure()) return;
  }
}

}  // namespace
}  // namespace tweendeck::serving
