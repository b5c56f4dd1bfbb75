// For tests of the engine: a small cluster that is told events, with every error a failure.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "placement/engine.h"
#include "placement/policy/make_policy.h"

namespace tweendeck::placement::testing {

// Shapes 1 to 4: so many whole devices; 10: half of one.
class EngineFixture : public ::testing::Test {
 protected:
  explicit EngineFixture(const EngineSettings& settings)
      : engine_(std::move(*make_policy({"binpack", {}})), settings) {
    for (const uint32_t devices : {1u, 2u, 3u, 4u}) shape(devices, devices, 1000);
    shape(10, 1, 500);
  }

  void shape(uint32_t number, uint32_t devices, uint32_t compute) {
    Request request;
    request.devices = devices;
    request.compute_permille = compute;
    send(ShapeDefined{number, request});
  }

  std::vector<ClaimDecision> node(const std::string& name, uint32_t devices, const std::string& rack = "") {
    NodePut put;
    put.facts.name = name;
    put.facts.rack = rack;
    for (uint32_t i = 0; i < devices; ++i) {
      DeviceFacts& device = put.facts.devices.emplace_back();
      device.id = name + std::to_string(i);
      device.memory_bytes = 80;
    }
    return send(put);
  }

  std::vector<ClaimDecision> send(const Event& event) {
    std::vector<ClaimDecision> out;
    const Status status = engine_.apply(event, out);
    EXPECT_TRUE(status) << to_string(status.error());
    return out;
  }

  // The one decision of an event.
  ClaimDecision one(const Event& event) {
    const std::vector<ClaimDecision> out = send(event);
    EXPECT_EQ(out.size(), 1u);
    return out.empty() ? ClaimDecision{} : out.front();
  }

  // Submits, and binds what is placed.
  void run(ClaimSubmitted claim) {
    for (const ClaimDecision& d : send(claim)) {
      if (d.verdict == Verdict::Placed) send(BindConfirmed{d.claim, d.reservation, claim.time_ms});
    }
  }

  void member(ClaimId claim, GroupId group, uint32_t role, uint32_t shape, int64_t time_ms = 0) {
    run({.claim = claim, .shape = shape, .time_ms = time_ms, .group = group, .role = role});
  }

  static std::vector<ClaimId> with(const std::vector<ClaimDecision>& decisions, Verdict verdict) {
    std::vector<ClaimId> ids;
    for (const ClaimDecision& d : decisions) {
      if (d.verdict == verdict) ids.push_back(d.claim);
    }
    return ids;
  }

  ClaimState state(ClaimId claim) const { return engine_.status(claim).value().state; }
  Reason reason(ClaimId claim) const { return engine_.status(claim).value().reason; }

  Engine engine_;
};

}  // namespace tweendeck::placement::testing
