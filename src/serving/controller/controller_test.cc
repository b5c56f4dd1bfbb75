// The controller with real processes: a real shim, a scripted model server, fake slices.
#include "serving/controller/controller.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "net/control_client.h"
#include "serving/controller/testing.h"
#include "serving/process/replica_dir.h"

namespace tweendeck::serving {
namespace {

namespace fs = std::filesystem;
using ::testing::Contains;
using ::testing::ElementsAre;
using testing::eventually;
using ::testing::Field;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;
using testing::stub_spec;

class ControllerTest : public ::testing::Test {
 protected:
  ControllerTest() {
    std::string pattern = (fs::temp_directory_path() / "tw-controller-XXXXXX").string();
    root_ = mkdtemp(pattern.data());
    testing::write_stub_engine(root_ / "engine", 30);
    machine_.emplace(root_ / "slices");
    config_ = testing::stub_config(root_ / "state");
  }
  ~ControllerTest() override {
    if (controller_) {
      EXPECT_TRUE(controller_->remove_all(0));
      EXPECT_TRUE(controller_->wait_gone("", 30 * kSecond));
      EXPECT_THAT(machine_->slices(), IsEmpty());
    }
    stop();
    fs::remove_all(root_);
  }

  void start() {
    auto store = StateStore::open(root_ / "state");
    ASSERT_TRUE(store) << to_string(store.error());
    store_ = std::move(*store);
    auto catalog = EngineCatalog::load(root_ / "engine", "", "");
    ASSERT_TRUE(catalog) << to_string(catalog.error());
    catalog_ = std::move(*catalog);
    auto controller = Controller::start(config_, machine_->ports(), *store_, catalog_, clock_);
    ASSERT_TRUE(controller) << to_string(controller.error());
    controller_ = std::move(*controller);
  }
  void stop() {
    controller_.reset();
    store_.reset();
  }

  void apply(const DeploymentSpec& spec) {
    auto applied = controller_->apply({spec});
    ASSERT_TRUE(applied) << to_string(applied.error());
  }
  ReplicaView replica(const std::string& id) const {
    for (const DeploymentView& deployment : controller_->list()) {
      for (const ReplicaView& each : deployment.replicas) {
        if (each.id == id) return each;
      }
    }
    return {};
  }
  bool ready(const std::string& name, uint32_t count) const {
    const auto view = controller_->get(name);
    return view && view->ready == count && view->replicas.size() == count;
  }
  bool wait_ready(const std::string& name, uint32_t count) const {
    return eventually([&] { return ready(name, count); });
  }
  std::vector<std::string> actions_of(const std::string& subject) const {
    std::vector<std::string> actions;
    for (const Event& event : controller_->events(0, 1000)) {
      if (event.subject == subject) actions.push_back(event.action);
    }
    return actions;
  }
  std::string story(const std::string& name) const {
    const auto why = controller_->why(name);
    return why ? why->sentence : to_string(why.error());
  }

  fs::path root_;
  SystemClock clock_;
  std::optional<testing::FakeMachine> machine_;
  ControllerConfig config_;
  std::unique_ptr<StateStore> store_;
  EngineCatalog catalog_;
  std::unique_ptr<Controller> controller_;
};

// While one lives, no file can grow: what a full disk does to the store, for every user of it.
class NoFileGrows {
 public:
  NoFileGrows() {
    ::signal(SIGXFSZ, SIG_IGN);
    ::getrlimit(RLIMIT_FSIZE, &before_);
    const rlimit none{.rlim_cur = 1, .rlim_max = before_.rlim_max};
    ::setrlimit(RLIMIT_FSIZE, &none);
  }
  ~NoFileGrows() { ::setrlimit(RLIMIT_FSIZE, &before_); }
  NoFileGrows(const NoFileGrows&) = delete;
  NoFileGrows& operator=(const NoFileGrows&) = delete;

 private:
  rlimit before_{};
};

TEST_F(ControllerTest, RemovesAllOrNothing) {
  start();
  apply(stub_spec("chat", "good", 1));
  apply(stub_spec("code", "good", 1));
  ASSERT_TRUE(wait_ready("chat", 1)) << story("chat");
  ASSERT_TRUE(wait_ready("code", 1)) << story("code");
  const pid_t pid = replica("chat-1").pid;
  {
    const NoFileGrows full;
    EXPECT_FALSE(controller_->remove_all(0));
  }
  for (const DeploymentView& each : controller_->list()) EXPECT_FALSE(each.removing) << each.spec.name;
  EXPECT_EQ(replica("chat-1").pid, pid);
  ASSERT_TRUE(controller_->remove_all(0));
  EXPECT_TRUE(controller_->wait_gone("", 30 * kSecond));
}

TEST_F(ControllerTest, ADeviceThatGoesAwayIsToldOfEveryReplicaOnIt) {
  start();
  apply(stub_spec("chat", "good", 1));
  ASSERT_TRUE(wait_ready("chat", 1)) << story("chat");
  EXPECT_EQ(controller_->why("chat")->reason, Reason::None);
  machine_->device_gone = true;
  for (const char* name : {"chat", "chat-1"}) {
    const auto report = controller_->why(name);
    ASSERT_TRUE(report);
    EXPECT_EQ(report->reason, Reason::DeviceGone) << name;
    EXPECT_THAT(report->sentence, HasSubstr("cpu0")) << name;
    EXPECT_FALSE(report->hints.empty()) << name;
  }
  EXPECT_EQ(replica("chat-1").reason, Reason::DeviceGone);
  const auto told = [this] {
    return std::ranges::any_of(controller_->doctor(), [](const Finding& each) {
      return each.subject == "chat-1" && !each.harmless;
    });
  };
  EXPECT_TRUE(told());
  machine_->device_gone = false;
  EXPECT_EQ(controller_->why("chat")->reason, Reason::None);
  EXPECT_FALSE(told());
}

TEST_F(ControllerTest, ServesAndStops) {
  start();
  apply(stub_spec("chat", "good", 2));
  ASSERT_TRUE(wait_ready("chat", 2)) << story("chat");
  const ReplicaView view = replica("chat-1");
  EXPECT_EQ(view.max_in_flight, 2u);
  EXPECT_EQ(view.context_tokens, 4096u);
  EXPECT_GT(view.pid, 0);
  EXPECT_EQ(view.slice.device_id, "cpu0");
  EXPECT_TRUE(view.simulated);
  const Endpoint endpoint = machine_->endpoints().at("chat-1");
  EXPECT_EQ(endpoint.state, EndpointState::Ready);
  EXPECT_EQ(endpoint.port, view.port);
  EXPECT_THAT(endpoint.models, ElementsAre("chat", "good"));
  if (geteuid() == 0) {
    struct stat info{};
    ASSERT_EQ(stat(("/proc/" + std::to_string(view.pid)).c_str(), &info), 0);
    EXPECT_GE(info.st_uid, 61184u);
  }
  EXPECT_THAT(story("chat"), HasSubstr("2 of 2"));
  ASSERT_TRUE(controller_->remove("chat", 0));
  ASSERT_TRUE(controller_->wait_gone("chat", 30 * kSecond));
  EXPECT_THAT(machine_->slices(), IsEmpty());
  EXPECT_THAT(machine_->endpoints(), IsEmpty());
  EXPECT_FALSE(is_process(view.pid, view.pid_start_ticks));
  EXPECT_FALSE(fs::exists(root_ / "state/replicas/chat-1"));
  EXPECT_THAT(actions_of("chat-1"),
              ElementsAre("SliceAcquired", "Started", "Ready", "Draining", "Stopping", "Stopped"));
}

TEST_F(ControllerTest, ApplyIsIdempotentAndAllOrNothing) {
  start();
  const DeploymentSpec spec = stub_spec("chat", "good", 1);
  EXPECT_THAT(*controller_->apply({spec}), ElementsAre(Applied::Created));
  EXPECT_THAT(*controller_->apply({spec}), ElementsAre(Applied::Unchanged));
  DeploymentSpec more = spec;
  more.replicas = 0;
  EXPECT_THAT(*controller_->apply({more}), ElementsAre(Applied::Changed));
  const auto bad = controller_->apply({stub_spec("new", "good", 1), stub_spec("bad", "godo", 1)});
  ASSERT_FALSE(bad);
  EXPECT_EQ(bad.error().reason, Reason::ModelNotFound);
  EXPECT_THAT(bad.error().hint, HasSubstr("good"));
  EXPECT_FALSE(controller_->get("new"));
}

TEST_F(ControllerTest, RefusesWhatNoDeviceCouldHold) {
  start();
  DeploymentSpec spec = stub_spec("chat", "good", 1);
  spec.claim.share.memory_bytes = 100 * kTiB;
  const auto refused = controller_->apply({spec});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().reason, Reason::MemoryExceedsDevice);
  EXPECT_THAT(refused.error().message, HasSubstr("8 GiB"));
  spec = stub_spec("chat", "good", 1);
  spec.claim.device_ids = {"soft"};
  EXPECT_EQ(controller_->apply({spec}).error().reason, Reason::EngineCannotServe);
}

TEST_F(ControllerTest, ScalesUpAndDown) {
  start();
  apply(stub_spec("chat", "good", 1));
  ASSERT_TRUE(wait_ready("chat", 1));
  const int32_t first = replica("chat-1").pid;
  ASSERT_TRUE(controller_->scale("chat", 2));
  ASSERT_TRUE(wait_ready("chat", 2));
  ASSERT_TRUE(controller_->scale("chat", 1));
  ASSERT_TRUE(wait_ready("chat", 1));
  EXPECT_EQ(replica("chat-1").pid, first);
  EXPECT_THAT(machine_->slices(), SizeIs(1));
  ASSERT_TRUE(controller_->scale("chat", 0));
  ASSERT_TRUE(wait_ready("chat", 0));
  ASSERT_TRUE(eventually([&] { return machine_->endpoints().contains("chat"); })) << "its name stays known";
  EXPECT_EQ(machine_->endpoints().at("chat").port, 0);
  EXPECT_EQ(controller_->scale("chta", 1).error().hint, "did you mean 'chat'?");
}

TEST_F(ControllerTest, RestartsWhatIsKilledAndTellsWhy) {
  start();
  apply(stub_spec("chat", "good", 1));
  ASSERT_TRUE(wait_ready("chat", 1));
  const int32_t first = replica("chat-1").pid;
  kill(first, SIGKILL);
  ASSERT_TRUE(eventually([&] { return replica("chat-1").restarts == 1; }));
  ASSERT_TRUE(wait_ready("chat", 1));
  EXPECT_NE(replica("chat-1").pid, first);
  EXPECT_EQ(replica("chat-1").last_exit.reason, Reason::ReplicaKilled);
  EXPECT_THAT(story("chat"), HasSubstr("SIGKILL"));
  EXPECT_THAT(actions_of("chat-1"),
              ElementsAre("SliceAcquired", "Started", "Ready", "Exited", "Started", "Ready"));
}

TEST_F(ControllerTest, NamesTheSlicesLimitAsTheCause) {
  start();
  apply(stub_spec("chat", "good", 1));
  ASSERT_TRUE(wait_ready("chat", 1));
  machine_->oom_kills = 1;
  kill(replica("chat-1").pid, SIGKILL);
  ASSERT_TRUE(eventually([&] { return replica("chat-1").restarts == 1; }));
  EXPECT_EQ(replica("chat-1").last_exit.reason, Reason::OutOfMemory);
  EXPECT_THAT(replica("chat-1").last_exit.message, HasSubstr("256 MiB"));
  const auto why = controller_->why("chat");
  ASSERT_TRUE(why);
  EXPECT_THAT(why->hints, Contains(HasSubstr("--memory 384Mi")));
}

TEST_F(ControllerTest, ACrashLoopWaitsAndKeepsItsReasons) {
  start();
  apply(stub_spec("chat", "crash", 1));
  ASSERT_TRUE(eventually([&] { return story("chat").find("failed 3 times in a row") != std::string::npos; }))
      << story("chat");
  const auto why = controller_->why("chat-1");
  ASSERT_TRUE(why);
  EXPECT_EQ(why->reason, Reason::ReplicaExited);
  EXPECT_THAT(why->sentence, HasSubstr("exit status 3"));
  EXPECT_THAT(why->replicas.at(0).last_log_lines, ElementsAre("cannot go on"));
  EXPECT_THAT(controller_->doctor(), Contains(Field(&Finding::subject, "chat-1")));
}

TEST_F(ControllerTest, AnEnginesOwnReasonIsKept) {
  start();
  apply(stub_spec("chat", "small", 1));
  ASSERT_TRUE(eventually([&] { return replica("chat-1").last_exit.valid; }));
  EXPECT_EQ(replica("chat-1").last_exit.reason, Reason::SliceTooSmall);
  EXPECT_THAT(replica("chat-1").last_exit.message, HasSubstr("needs 2 GiB"));
}

TEST_F(ControllerTest, AModelServerThatRefusesForGoodIsNotStartedAgainAndAgain) {
  config_.plan.backoff_first = kMillisecond;
  config_.plan.backoff_max = kMillisecond;
  start();
  apply(stub_spec("chat", "small", 1));
  const auto starts = [this] { return std::ranges::count(actions_of("chat-1"), "Started"); };
  ASSERT_TRUE(eventually([&] { return replica("chat-1").phase == ReplicaPhase::Unhealthy; }))
      << story("chat");
  EXPECT_EQ(machine_->endpoints().at("chat-1").state, EndpointState::Unhealthy);
  EXPECT_THAT(story("chat"), HasSubstr("retrying will not help"));
  EXPECT_EQ(controller_->why("chat")->reason, Reason::SliceTooSmall);
  EXPECT_THAT(controller_->why("chat")->hints, Contains("give more"));
  EXPECT_EQ(starts(), 1);
  // Asked for again as it is: the machine or the model may have changed meanwhile.
  apply(stub_spec("chat", "small", 1));
  EXPECT_TRUE(eventually([&] { return starts() == 2; }));
  ASSERT_TRUE(eventually([&] { return replica("chat-1").phase == ReplicaPhase::Unhealthy; }));
  apply(stub_spec("chat", "good", 1));
  EXPECT_TRUE(wait_ready("chat", 1)) << story("chat");
}

TEST_F(ControllerTest, KillsAnEngineThatHangsAtStart) {
  testing::write_stub_engine(root_ / "engine", 1);
  start();
  apply(stub_spec("chat", "hang", 1));
  ASSERT_TRUE(eventually([&] { return replica("chat-1").last_exit.valid; })) << story("chat");
  EXPECT_EQ(replica("chat-1").last_exit.reason, Reason::StartTimeout);
  EXPECT_THAT(replica("chat-1").last_exit.message, HasSubstr("not ready within 1"));
}

TEST_F(ControllerTest, RestartsWhatStaysUnhealthy) {
  config_.plan.unhealthy_limit = 500 * kMillisecond;
  start();
  apply(stub_spec("chat", "good", 1));
  ASSERT_TRUE(wait_ready("chat", 1));
  net::ControlClient client(
      net::ControlClient::url("http://127.0.0.1:" + std::to_string(replica("chat-1").port)));
  EXPECT_TRUE(client.call("GET", "/sicken"));
  ASSERT_TRUE(eventually([&] { return replica("chat-1").last_exit.valid; })) << story("chat");
  EXPECT_EQ(replica("chat-1").last_exit.reason, Reason::HealthCheckFailed);
  EXPECT_THAT(actions_of("chat-1"), Contains("Unhealthy"));
}

TEST_F(ControllerTest, WaitsForRoomAndTakesItAtOnce) {
  machine_->capacity = 1;
  start();
  apply(stub_spec("chat", "good", 2));
  ASSERT_TRUE(eventually([&] { return replica("chat-2").reason == Reason::InsufficientMemory; }));
  EXPECT_THAT(story("chat"), HasSubstr("cpu0 lacks 1 GiB"));
  const Nanos tried = replica("chat-2").tried_wall_ns;
  EXPECT_GT(tried, 0);
  EXPECT_EQ(replica("chat-1").tried_wall_ns, 0);
  ASSERT_TRUE(eventually([&] { return replica("chat-2").tried_wall_ns > tried; })) << "it is tried again";
  machine_->capacity = 2;
  ASSERT_TRUE(wait_ready("chat", 2));
  EXPECT_EQ(replica("chat-2").tried_wall_ns, 0);
  const std::vector<std::string> actions = actions_of("chat-2");
  EXPECT_EQ(std::ranges::count(actions, "Refused"), 1) << "one event per cause, not per try";
}

TEST_F(ControllerTest, ChangesReplicasOneByOne) {
  start();
  apply(stub_spec("chat", "good", 2));
  ASSERT_TRUE(wait_ready("chat", 2));
  const int32_t pids[] = {replica("chat-1").pid, replica("chat-2").pid};
  DeploymentSpec changed = stub_spec("chat", "other", 2);
  changed.engine_args = {"--flag"};
  apply(changed);
  ASSERT_TRUE(eventually([&] {
    return ready("chat", 2) && replica("chat-1").pid != pids[0] && replica("chat-2").pid != pids[1];
  })) << story("chat");
  auto log = controller_->open_log("chat-1");
  ASSERT_TRUE(log);
  EXPECT_THAT(*log->tail(5), HasSubstr("serving other args ['--flag']"));
  EXPECT_EQ(controller_->open_log("chat-7").error().reason, Reason::NotFound);
}

TEST_F(ControllerTest, DrainsBeforeItStops) {
  start();
  apply(stub_spec("chat", "good", 1));
  ASSERT_TRUE(wait_ready("chat", 1));
  machine_->in_flight = 1;
  ASSERT_TRUE(controller_->remove("chat", 60 * kSecond));
  ASSERT_TRUE(eventually([&] { return replica("chat-1").phase == ReplicaPhase::Draining; }));
  EXPECT_EQ(controller_->wait_gone("chat", 300 * kMillisecond).error().reason, Reason::Timeout);
  EXPECT_EQ(machine_->endpoints().at("chat-1").state, EndpointState::Draining);
  machine_->in_flight = 0;
  EXPECT_TRUE(controller_->wait_gone("chat", 30 * kSecond));
}

TEST_F(ControllerTest, ARestartAdoptsWhatRuns) {
  start();
  apply(stub_spec("chat", "good", 2));
  ASSERT_TRUE(wait_ready("chat", 2));
  const int32_t pids[] = {replica("chat-1").pid, replica("chat-2").pid};
  const Nanos started = replica("chat-1").started_wall_ns;
  EXPECT_GT(started, clock_.wall_now() - 120 * kSecond);
  EXPECT_LE(started, clock_.wall_now());
  stop();
  std::this_thread::sleep_for(std::chrono::milliseconds(300));  // what an age that starts over would miss
  kill(pids[1], SIGKILL);
  ASSERT_TRUE(eventually([&] { return !ReplicaDir(root_ / "state", "chat-2").anything_lives(); }));
  testing::write_text(root_ / "slices/leaked.99", "nobody");
  start();
  ASSERT_TRUE(wait_ready("chat", 2)) << story("chat");
  EXPECT_EQ(replica("chat-1").pid, pids[0]);
  EXPECT_EQ(replica("chat-1").restarts, 0u);
  EXPECT_NEAR(static_cast<double>(replica("chat-1").started_wall_ns - started), 0, 100.0 * kMillisecond);
  EXPECT_EQ(replica("chat-1").slice.device_id, "cpu0");
  EXPECT_NE(replica("chat-2").pid, pids[1]);
  EXPECT_EQ(replica("chat-2").restarts, 1u);
  EXPECT_THAT(actions_of("chat-1"), Contains("Adopted"));
  EXPECT_THAT(actions_of("chat-2"), Contains("Exited"));
  EXPECT_THAT(machine_->slices(), SizeIs(2)) << "the leaked slice is released";
}

TEST_F(ControllerTest, AKilledShimLeavesNoEngine) {
  start();
  apply(stub_spec("chat", "good", 1));
  ASSERT_TRUE(wait_ready("chat", 1));
  const int32_t engine = replica("chat-1").pid;
  const auto launch = ReplicaDir(root_ / "state", "chat-1").launch();
  ASSERT_TRUE(launch);
  kill(launch->pid, SIGKILL);
  ASSERT_TRUE(eventually([&] { return replica("chat-1").restarts == 1 && ready("chat", 1); }));
  EXPECT_THAT(ReplicaDir(root_ / "state", "chat-1").holders(), Not(Contains(engine)));
}

TEST_F(ControllerTest, EventsCanBeWaitedFor) {
  start();
  const auto before = controller_->events(0, 1000);
  const uint64_t since = before.empty() ? 0 : before.back().id;
  controller_->record_event("cpu0", Reason::DeviceUnhealthy, "DeviceUnhealthy", "too hot");
  const auto events = controller_->wait_events(since, 10, 30 * kSecond);
  ASSERT_THAT(events, SizeIs(1));
  EXPECT_EQ(events[0].message, "too hot");
  EXPECT_THAT(controller_->wait_events(events[0].id, 10, kMillisecond), IsEmpty());
}

}  // namespace
}  // namespace tweendeck::serving
