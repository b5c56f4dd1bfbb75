#include "serving/controller/launch_plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/units.h"

namespace tweendeck::serving {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::IsEmpty;
using testing::Pair;

class LaunchPlanTest : public testing::Test {
 protected:
  LaunchPlanTest() {
    engine_.name = "demo";
    engine_.folder = "/repo/engine/demo";
    engine_.command = {"{python}",     "{engine}/server.py", "{model}",
                       "{model_name}", "{host}:{port}",      "{bin}/x"};
    engine_.env = {{"MODE", "{model_name}"}};
    engine_.devices = {"cpu", "soft"};
    deployment_.model_path = "/models/tiny.gguf";
    deployment_.model_name = "tiny";
    deployment_.spec.engine_args = {"--extra"};
    grant_.slice.device_id = "cpu0";
    grant_.slice.share = {kGiB, 30, 0};
    grant_.env = {{"PAGE", "/run/tweendeck/sandbox/vgpu/limits"}};
    grant_.mounts = {{"/state/vgpu/s/limits", "/run/tweendeck/sandbox/vgpu/limits", true}};
    grant_.cgroup_procs = {"/sys/fs/cgroup/s/cgroup.procs"};
    input_.deployment = &deployment_;
    input_.engine = &engine_;
    input_.grant = &grant_;
    input_.replica_id = "chat-1";
    input_.replica_dir = "/state/replicas/chat-1";
    input_.host = "127.0.0.1";
    input_.python = "/venv/bin/python3";
    input_.bin_dir = "/build/bin";
    input_.port = 4711;
    input_.uid = 61184;
    input_.device_cpus = 4;
  }

  EngineSpec engine_;
  StoredDeployment deployment_;
  SliceGrant grant_;
  LaunchInput input_;
};

TEST_F(LaunchPlanTest, ShowsEverythingInTheSandbox) {
  input_.sandbox = true;
  const LaunchPlan plan = make_launch_plan(input_);
  const std::string root = "/run/tweendeck/sandbox";
  EXPECT_THAT(plan.command,
              ElementsAre(root + "/python/bin/python3", root + "/engine/server.py", root + "/model/tiny.gguf",
                          "tiny", "127.0.0.1:4711", root + "/bin/x", "--extra"));
  EXPECT_THAT(plan.mounts, Contains(Mount{"/models/tiny.gguf", root + "/model/tiny.gguf", true}));
  EXPECT_THAT(plan.mounts, Contains(Mount{"/venv", root + "/python", true}));
  EXPECT_THAT(plan.mounts, Contains(Mount{"/state/replicas/chat-1/work", root + "/work", false}));
  EXPECT_THAT(plan.mounts, Contains(grant_.mounts[0]));
  EXPECT_THAT(plan.env, Contains(Pair("PAGE", root + "/vgpu/limits")));
  EXPECT_THAT(plan.env, Contains(Pair("MODE", "tiny")));
  EXPECT_THAT(plan.env, Contains(Pair("TWEENDECK_STATUS_FILE", root + "/work/status.json")));
  EXPECT_THAT(plan.env, Contains(Pair("TWEENDECK_SLICE_MEMORY_BYTES", "1073741824")));
  EXPECT_THAT(plan.env, Contains(Pair("TWEENDECK_SLICE_CPUS", "1.20")));
  EXPECT_EQ(plan.cgroup_procs, grant_.cgroup_procs);
}

TEST_F(LaunchPlanTest, WithoutASandboxUsesTheRealPaths) {
  const LaunchPlan plan = make_launch_plan(input_);
  EXPECT_THAT(plan.mounts, IsEmpty());
  EXPECT_THAT(plan.command,
              ElementsAre("/venv/bin/python3", "/repo/engine/demo/server.py", "/models/tiny.gguf", "tiny",
                          "127.0.0.1:4711", "/build/bin/x", "--extra"));
  EXPECT_THAT(plan.env, Contains(Pair("PAGE", "/state/vgpu/s/limits")));
  EXPECT_THAT(plan.env, Contains(Pair("TWEENDECK_STATUS_FILE", "/state/replicas/chat-1/work/status.json")));
}

TEST_F(LaunchPlanTest, ASimulatedModelIsItsName) {
  deployment_.model_path.clear();
  EXPECT_EQ(make_launch_plan(input_).command[2], "tiny");
}

TEST_F(LaunchPlanTest, ClaimsOnlyDevicesThatTheEngineCanUse) {
  Device cpu;
  cpu.id = "cpu0";
  cpu.provider = "cpu";
  Device gpu;
  gpu.id = "gpu0";
  gpu.provider = "nvidia";
  Claim claim;
  EXPECT_THAT(engine_claim(claim, engine_, {cpu, gpu}).device_ids, ElementsAre("cpu", "soft"));
  claim.device_ids = {"gpu0", "cpu0"};
  EXPECT_THAT(engine_claim(claim, engine_, {cpu, gpu}).device_ids, ElementsAre("cpu0"));
  claim.device_ids = {"gone7"};
  EXPECT_THAT(engine_claim(claim, engine_, {cpu, gpu}).device_ids, ElementsAre("gone7"));
}

}  // namespace
}  // namespace tweendeck::serving
