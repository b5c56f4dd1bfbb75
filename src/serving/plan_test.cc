#include "serving/plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace tweendeck::serving {
namespace {

using testing::AllOf;
using testing::HasSubstr;

constexpr Nanos kNow = 1000 * kSecond;

Goal goal(uint32_t replicas) {
  return Goal{.deployment = "chat",
              .replicas = replicas,
              .removing = false,
              .revision = 1,
              .drain = 30 * kSecond,
              .start_limit = 60 * kSecond,
              .stop_grace = 5 * kSecond};
}

Replica replica(uint32_t ordinal) {
  Action create;
  create.deployment = "chat";
  create.ordinal = ordinal;
  create.replica_id = "chat-" + std::to_string(ordinal);
  create.revision = 1;
  return make_replica(create, kNow);
}

Replica running(uint32_t ordinal, ReplicaPhase phase) {
  Replica result = replica(ordinal);
  result.slice_id = result.id + ".1";
  on_slice_acquired(result);
  on_launched(result, kNow);
  result.alive = true;
  result.phase = phase;
  result.answers = phase == ReplicaPhase::Ready;
  return result;
}

ExitRecord killed(Reason reason) {
  ExitRecord record;
  record.valid = true;
  record.signal = 9;
  record.reason = reason;
  return record;
}

Action only(const Goal& goal, const std::vector<Replica>& replicas, Nanos now) {
  const std::vector<Action> actions = plan({goal}, replicas, now, {});
  EXPECT_EQ(actions.size(), 1u);
  return actions.empty() ? Action{} : actions.front();
}

size_t count(const Goal& goal, const std::vector<Replica>& replicas, Nanos now) {
  return plan({goal}, replicas, now, {}).size();
}

TEST(Plan, CreatesEveryMissingOrdinal) {
  const std::vector<Action> actions = plan({goal(3)}, {running(2, ReplicaPhase::Ready)}, kNow, {});
  ASSERT_EQ(actions.size(), 2u);
  EXPECT_EQ(actions[0].replica_id, "chat-1");
  EXPECT_EQ(actions[1].replica_id, "chat-3");
}

TEST(Plan, GoesFromPendingToReady) {
  Replica r = replica(1);
  EXPECT_EQ(only(goal(1), {r}, kNow).kind, ActionKind::AcquireSlice);
  r.slice_id = "chat-1.1";
  on_slice_acquired(r);
  EXPECT_EQ(only(goal(1), {r}, kNow).kind, ActionKind::Launch);
  on_launched(r, kNow);
  r.alive = true;
  EXPECT_EQ(count(goal(1), {r}, kNow), 0u);
  r.answers = true;
  const Action ready = only(goal(1), {r}, kNow);
  EXPECT_EQ(ready.kind, ActionKind::MarkReady);
  apply_action(r, ready, kNow);
  EXPECT_EQ(r.phase, ReplicaPhase::Ready);
  EXPECT_EQ(r.restarts, 0u);
}

TEST(Plan, WaitsBeforeItAsksForASliceAgain) {
  Replica r = replica(1);
  on_slice_refused(r, Error{Reason::InsufficientMemory, "cpu0 lacks 1 GiB", "stop chat-2"}, kNow, {});
  EXPECT_EQ(r.reason, Reason::InsufficientMemory);
  EXPECT_EQ(count(goal(1), {r}, kNow), 0u);
  EXPECT_EQ(only(goal(1), {r}, kNow + PlanConfig{}.slice_retry).kind, ActionKind::AcquireSlice);
}

TEST(Plan, KeepsTheExitReasonAndBacksOff) {
  Replica r = running(1, ReplicaPhase::Ready);
  r.alive = false;
  r.exit = killed(Reason::OutOfMemory);
  const Action exit = only(goal(1), {r}, kNow);
  EXPECT_EQ(exit.kind, ActionKind::RecordExit);
  EXPECT_EQ(exit.reason, Reason::OutOfMemory);
  apply_action(r, exit, kNow);
  EXPECT_EQ(r.phase, ReplicaPhase::Backoff);
  EXPECT_EQ(r.last_exit.reason, Reason::OutOfMemory);
  EXPECT_EQ(r.last_exit.signal, 9);
  EXPECT_EQ(count(goal(1), {r}, kNow), 0u);
  EXPECT_EQ(only(goal(1), {r}, exit.until).kind, ActionKind::Launch);
  on_launched(r, exit.until);
  EXPECT_EQ(r.restarts, 1u);
}

TEST(Plan, SaysThatItIsACrashLoop) {
  Replica r = running(1, ReplicaPhase::Starting);
  r.alive = false;
  r.failures = 2;
  EXPECT_THAT(only(goal(1), {r}, kNow).message, HasSubstr("failed 3 times in a row"));
}

TEST(Plan, WhatIsRefusedForGoodIsNoCrash) {
  for (const Reason reason : {Reason::SliceTooSmall, Reason::ModelCorrupt, Reason::EngineCannotServe,
                              Reason::InvalidArgument, Reason::ModelNotFound, Reason::DriverMissing}) {
    Replica r = running(1, ReplicaPhase::Starting);
    r.alive = false;
    r.exit = killed(reason);
    r.exit.message = "needs 2 GiB";
    const Action exit = only(goal(1), {r}, kNow);
    apply_action(r, exit, kNow);
    EXPECT_EQ(r.phase, ReplicaPhase::Unhealthy) << to_string(reason);
    EXPECT_EQ(r.reason, reason);
    EXPECT_THAT(r.message, AllOf(HasSubstr("needs 2 GiB"), HasSubstr("retrying will not help")));
    EXPECT_EQ(count(goal(1), {r}, kNow + PlanConfig{}.refused_retry - 1), 0u) << "rarely";
    EXPECT_EQ(only(goal(1), {r}, kNow + PlanConfig{}.refused_retry).kind, ActionKind::Launch);
    Goal changed = goal(1);
    changed.revision = 2;
    EXPECT_EQ(only(changed, {r}, kNow).kind, ActionKind::ReleaseSlice) << "a change is tried at once";
    on_retry_asked(r, kNow);
    EXPECT_EQ(only(goal(1), {r}, kNow).kind, ActionKind::Launch) << "so is a wish";
  }
}

TEST(Plan, AWishToRetryLeavesWhatRunsAlone) {
  Replica r = running(1, ReplicaPhase::Unhealthy);
  r.next_attempt = kNow + kSecond;
  on_retry_asked(r, kNow);
  EXPECT_EQ(r.next_attempt, kNow + kSecond);
}

TEST(Plan, BackOffDoublesIsBoundedAndSpread) {
  PlanConfig config;
  config.backoff_jitter_percent = 0;
  EXPECT_EQ(backoff_delay("a", 1, config), 500 * kMillisecond);
  EXPECT_EQ(backoff_delay("a", 2, config), kSecond);
  EXPECT_EQ(backoff_delay("a", 7, config), 32 * kSecond);
  EXPECT_EQ(backoff_delay("a", 8, config), 60 * kSecond);
  EXPECT_EQ(backoff_delay("a", 4'000'000'000u, config), 60 * kSecond);
  config.backoff_jitter_percent = 20;
  bool differs = false;
  for (uint32_t failures = 1; failures < 100; ++failures) {
    const Nanos delay = backoff_delay("a", failures, config);
    EXPECT_LE(delay, 72 * kSecond);
    EXPECT_GE(delay, 400 * kMillisecond);
    differs |= delay != backoff_delay("b", failures, config);
  }
  EXPECT_TRUE(differs);
}

TEST(Plan, ForgivesFailuresAfterStableTime) {
  Replica r = running(1, ReplicaPhase::Ready);
  r.failures = 5;
  EXPECT_EQ(count(goal(1), {r}, kNow + 59 * kSecond), 0u);
  EXPECT_EQ(only(goal(1), {r}, kNow + 60 * kSecond).kind, ActionKind::ClearFailures);
}

TEST(Plan, KillsWhatHangsAtStart) {
  Replica r = running(1, ReplicaPhase::Starting);
  EXPECT_EQ(count(goal(1), {r}, kNow + 59 * kSecond), 0u);
  const Action kill = only(goal(1), {r}, kNow + 60 * kSecond);
  EXPECT_EQ(kill.kind, ActionKind::Kill);
  apply_action(r, kill, kNow + 60 * kSecond);
  r.alive = false;
  r.exit = killed(Reason::ReplicaKilled);
  EXPECT_EQ(only(goal(1), {r}, kNow + 61 * kSecond).reason, Reason::StartTimeout);
}

TEST(Plan, UnhealthyComesBackOrIsRestarted) {
  Replica r = running(1, ReplicaPhase::Ready);
  r.answers = false;
  r.failed_checks = 2;
  EXPECT_EQ(count(goal(1), {r}, kNow), 0u);
  r.failed_checks = 3;
  apply_action(r, only(goal(1), {r}, kNow), kNow);
  EXPECT_EQ(r.phase, ReplicaPhase::Unhealthy);
  EXPECT_EQ(r.reason, Reason::HealthCheckFailed);
  Replica recovered = r;
  recovered.failed_checks = 0;
  recovered.answers = true;
  EXPECT_EQ(only(goal(1), {recovered}, kNow).kind, ActionKind::MarkReady);
  const Action stop = only(goal(1), {r}, kNow + 30 * kSecond);
  EXPECT_EQ(stop.kind, ActionKind::Stop);
  EXPECT_EQ(stop.reason, Reason::HealthCheckFailed);
}

TEST(Plan, ScalesDownTheHighestOrdinal) {
  const std::vector<Replica> replicas{running(1, ReplicaPhase::Ready), running(2, ReplicaPhase::Ready)};
  const Action drain = only(goal(1), replicas, kNow);
  EXPECT_EQ(drain.kind, ActionKind::Drain);
  EXPECT_EQ(drain.replica_id, "chat-2");
}

TEST(Plan, DrainsThenStopsThenKillsThenReleasesThenForgets) {
  Goal gone = goal(1);
  gone.removing = true;
  Replica r = running(1, ReplicaPhase::Ready);
  r.in_flight = 2;
  apply_action(r, only(gone, {r}, kNow), kNow);
  EXPECT_EQ(r.phase, ReplicaPhase::Draining);
  EXPECT_EQ(count(gone, {r}, kNow + 29 * kSecond), 0u);
  const Action late = only(gone, {r}, kNow + 30 * kSecond);
  EXPECT_EQ(late.reason, Reason::DrainTimeout);
  r.in_flight = 0;
  const Action stop = only(gone, {r}, kNow + kSecond);
  EXPECT_EQ(stop.kind, ActionKind::Stop);
  EXPECT_EQ(stop.reason, Reason::Stopped);
  apply_action(r, stop, kNow + kSecond);
  EXPECT_EQ(count(gone, {r}, kNow + 5 * kSecond), 0u);
  const Action kill = only(gone, {r}, kNow + 6 * kSecond);
  EXPECT_EQ(kill.kind, ActionKind::Kill);
  apply_action(r, kill, kNow + 6 * kSecond);
  EXPECT_EQ(count(gone, {r}, kNow + 7 * kSecond), 0u);
  EXPECT_EQ(only(gone, {r}, kNow + 8 * kSecond).kind, ActionKind::Kill);
  r.alive = false;
  EXPECT_EQ(only(gone, {r}, kNow).kind, ActionKind::ReleaseSlice);
  on_slice_released(r);
  EXPECT_EQ(only(gone, {r}, kNow).kind, ActionKind::Forget);
  EXPECT_EQ(only(gone, {}, kNow).kind, ActionKind::ForgetDeployment);
}

TEST(Plan, AShorterDrainCountsAtOnce) {
  Goal gone = goal(1);
  gone.removing = true;
  Replica r = running(1, ReplicaPhase::Ready);
  r.in_flight = 1;
  apply_action(r, only(gone, {r}, kNow), kNow);
  gone.drain = 0;
  EXPECT_EQ(only(gone, {r}, kNow + kMillisecond).kind, ActionKind::Stop);
}

TEST(Plan, ADrainedReplicaThatIsWantedAgainServesOn) {
  Replica r = running(2, ReplicaPhase::Ready);
  r.in_flight = 1;
  const Replica first = running(1, ReplicaPhase::Ready);
  apply_action(r, only(goal(1), {first, r}, kNow), kNow);
  EXPECT_EQ(only(goal(2), {first, r}, kNow).kind, ActionKind::MarkReady);
}

TEST(Plan, StoppingByCommandIsNoFailure) {
  Replica r = running(1, ReplicaPhase::Ready);
  r.ending = Reason::Stopped;
  r.stop_sent = kNow;
  r.alive = false;
  const Action exit = only(goal(1), {r}, kNow);
  EXPECT_EQ(exit.until, kNow);
  apply_action(r, exit, kNow);
  EXPECT_EQ(r.failures, 0u);
  EXPECT_EQ(only(goal(1), {r}, kNow).kind, ActionKind::Launch);
}

TEST(Plan, RollsOneReplicaAtATime) {
  Goal changed = goal(2);
  changed.revision = 2;
  Replica first = running(1, ReplicaPhase::Ready);
  Replica second = running(2, ReplicaPhase::Ready);
  const Action drain = only(changed, {first, second}, kNow);
  EXPECT_EQ(drain.replica_id, "chat-2");
  apply_action(second, drain, kNow);
  EXPECT_EQ(only(changed, {first, second}, kNow).kind, ActionKind::Stop);
  second.alive = false;
  EXPECT_EQ(only(changed, {first, second}, kNow).kind, ActionKind::ReleaseSlice);
  on_slice_released(second);
  const Action renew = only(changed, {first, second}, kNow);
  EXPECT_EQ(renew.kind, ActionKind::Renew);
  apply_action(second, renew, kNow);
  EXPECT_EQ(second.revision, 2u);
  EXPECT_EQ(only(changed, {first, second}, kNow).kind, ActionKind::AcquireSlice);
  second.slice_id = "chat-2.2";
  on_slice_acquired(second);
  on_launched(second, kNow);
  second.alive = true;
  EXPECT_EQ(count(changed, {first, second}, kNow), 0u) << "the first waits until the second serves";
  second.phase = ReplicaPhase::Ready;
  EXPECT_EQ(only(changed, {first, second}, kNow).replica_id, "chat-1");
}

TEST(Plan, AChangeReplacesWhatCrashesAtOnce) {
  Goal changed = goal(2);
  changed.revision = 2;
  Replica crashed = running(1, ReplicaPhase::Backoff);
  crashed.alive = false;
  crashed.next_attempt = kNow + 60 * kSecond;
  Replica other = crashed;
  other.id = "chat-2";
  other.ordinal = 2;
  for (const Action& action : plan({changed}, {crashed, other}, kNow, {})) {
    EXPECT_EQ(action.kind, ActionKind::ReleaseSlice);
  }
}

TEST(Plan, AdoptsWhatRuns) {
  Replica r = replica(1);
  r.slice_id = "chat-1.1";
  r.alive = true;
  const Action adopt = only(goal(1), {r}, kNow);
  EXPECT_EQ(adopt.kind, ActionKind::Adopt);
  apply_action(r, adopt, kNow);
  EXPECT_EQ(r.phase, ReplicaPhase::Starting);
  EXPECT_EQ(r.restarts, 0u);
}

TEST(Plan, EndsReplicasOfNoDeployment) {
  const std::vector<Action> actions = plan({}, {running(1, ReplicaPhase::Ready)}, kNow, {});
  ASSERT_EQ(actions.size(), 1u);
  EXPECT_EQ(actions[0].kind, ActionKind::Drain);
}

TEST(Plan, RetriesAReleaseThatFails) {
  Goal gone = goal(0);
  Replica r = replica(1);
  r.slice_id = "chat-1.1";
  on_release_failed(r, Error{Reason::IoError, "busy", ""}, kNow, {});
  EXPECT_EQ(count(gone, {r}, kNow), 0u);
  EXPECT_EQ(only(gone, {r}, kNow + kSecond).kind, ActionKind::ReleaseSlice);
}

}  // namespace
}  // namespace tweendeck::serving
