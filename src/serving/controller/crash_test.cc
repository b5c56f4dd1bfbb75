// kill -9 of the process that hosts the controller, at random moments of serve, scale and stop. After each
// restart desired = actual: no orphan, no duplicate, no slice without owner.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "serving/controller/testing.h"
#include "serving/process/replica_dir.h"

namespace tweendeck::serving {
namespace {

namespace fs = std::filesystem;
using testing::eventually;
using testing::stub_spec;

constexpr int kKills = 20;
constexpr uint64_t kMaxDelayMs = 400;

class CrashTest : public ::testing::Test {
 protected:
  CrashTest() {
    std::string pattern = (fs::temp_directory_path() / "tw-crash-XXXXXX").string();
    root_ = mkdtemp(pattern.data());
    testing::write_stub_engine(root_ / "engine", 30);
  }
  ~CrashTest() override { fs::remove_all(root_); }

  // One daemon's life in a process of its own, which issues commands until it is killed.
  [[noreturn]] void host(uint64_t seed) {
    testing::FakeMachine machine(root_ / "slices");
    SystemClock clock;
    auto store = StateStore::open(root_ / "state");
    auto catalog = EngineCatalog::load(root_ / "engine", "", "");
    if (!store || !catalog) _exit(2);
    auto controller =
        Controller::start(testing::stub_config(root_ / "state"), machine.ports(), **store, *catalog, clock);
    if (!controller) _exit(3);
    Random random(seed);
    for (;;) {
      const std::string name = random.below(2) == 0 ? "a" : "b";
      switch (random.below(4)) {
        case 0:
          static_cast<void>((*controller)->scale(name, static_cast<uint32_t>(random.below(3))));
          break;
        case 1:
          static_cast<void>((*controller)->remove(name, 0));
          break;
        case 2: {
          DeploymentSpec spec = stub_spec(name, random.below(2) == 0 ? "good" : "other", 1);
          static_cast<void>((*controller)->apply({spec}));
          break;
        }
        default:
          static_cast<void>((*controller)->apply({stub_spec(name, "good", 2)}));
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(random.below(150)));
    }
  }

  // Engines by the environment that every one of them has, whoever its parent is.
  std::multiset<std::string> running_engines() const {
    std::multiset<std::string> found;
    const std::string folder = (root_ / "state").string();
    for (const auto& id : replica_dirs(folder)) {
      const ReplicaDir dir(folder, id);
      if (const auto launch = dir.launch();
          launch && is_process(launch->engine_pid, launch->engine_start_ticks))
        found.insert(id);
    }
    return found;
  }

  // Processes that hold this test's replica locks, deleted ones included: shim and engine each once per
  // replica.
  size_t lock_holders() const {
    size_t count = 0;
    std::error_code error;
    for (const auto& process : fs::directory_iterator("/proc", error)) {
      bool holds = false;
      for (const auto& fd : fs::directory_iterator(process.path() / "fd", error)) {
        std::error_code gone;
        const std::string target = fs::read_symlink(fd.path(), gone).string();
        holds |= target.starts_with((root_ / "state/replicas").string()) &&
                 target.find("/lock") != std::string::npos;
      }
      count += holds ? 1 : 0;
    }
    return count;
  }

  void expect_desired_is_actual(uint64_t round) {
    SCOPED_TRACE("kill " + std::to_string(round));
    testing::FakeMachine machine(root_ / "slices");
    SystemClock clock;
    auto store = StateStore::open(root_ / "state");
    ASSERT_TRUE(store) << to_string(store.error());
    auto catalog = EngineCatalog::load(root_ / "engine", "", "");
    auto controller =
        Controller::start(testing::stub_config(root_ / "state"), machine.ports(), **store, *catalog, clock);
    ASSERT_TRUE(controller) << to_string(controller.error());
    std::multiset<std::string> wanted;
    const bool settled = eventually([&] {
      wanted.clear();
      for (const DeploymentView& each : (*controller)->list()) {
        if (each.removing || each.ready != each.spec.replicas || each.replicas.size() != each.spec.replicas)
          return false;
        for (const ReplicaView& replica : each.replicas) wanted.insert(replica.id);
      }
      return true;
    });
    ASSERT_TRUE(settled);
    EXPECT_EQ(running_engines(), wanted);
    EXPECT_EQ(lock_holders(), 2 * wanted.size());
    std::multiset<std::string> owners;
    for (const Slice& slice : machine.slices()) owners.insert(slice.owner);
    EXPECT_EQ(owners, wanted);
    replicas_seen_ += wanted.size();
  }

  fs::path root_;
  size_t replicas_seen_ = 0;
};

TEST_F(CrashTest, KilledAtAnyMomentItRecovers) {
  Random random(20261122);
  for (uint64_t i = 0; i < kKills && !HasFailure(); ++i) {
    const pid_t child = fork();
    if (child == 0) host(i);
    std::this_thread::sleep_for(std::chrono::milliseconds(50 + random.below(kMaxDelayMs)));
    kill(child, SIGKILL);
    int status = 0;
    waitpid(child, &status, 0);
    ASSERT_TRUE(WIFSIGNALED(status)) << "the host ended by itself: " << status;
    expect_desired_is_actual(i);
  }
  EXPECT_GT(replicas_seen_, static_cast<size_t>(kKills) / 2) << "too little ran to show anything";
  testing::FakeMachine machine(root_ / "slices");
  SystemClock clock;
  auto store = StateStore::open(root_ / "state");
  ASSERT_TRUE(store);
  auto catalog = EngineCatalog::load(root_ / "engine", "", "");
  auto controller =
      Controller::start(testing::stub_config(root_ / "state"), machine.ports(), **store, *catalog, clock);
  ASSERT_TRUE(controller);
  ASSERT_TRUE((*controller)->remove_all(0));
  ASSERT_TRUE((*controller)->wait_gone("", 60 * kSecond));
  EXPECT_EQ(lock_holders(), 0u);
  EXPECT_TRUE(machine.slices().empty());
}

}  // namespace
}  // namespace tweendeck::serving
