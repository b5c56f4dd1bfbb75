#include "serving/store/store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sqlite3.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

namespace tweendeck::serving {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

class StoreTest : public testing::Test {
 protected:
  StoreTest() {
    std::string pattern = (fs::temp_directory_path() / "tw-store-XXXXXX").string();
    root_ = mkdtemp(pattern.data());
  }
  ~StoreTest() override {
    store_.reset();
    umount2(root_.c_str(), MNT_DETACH);
    fs::remove_all(root_);
  }
  void open() {
    store_.reset();
    auto store = StateStore::open(root_ / "state");
    ASSERT_TRUE(store) << to_string(store.error());
    store_ = std::move(*store);
  }

  static StoredDeployment deployment(const std::string& name) {
    StoredDeployment stored;
    stored.spec.name = name;
    stored.spec.model = "m";
    stored.spec.claim.name = name;
    stored.spec.claim.share = {1ull << 30, 40, 0};
    stored.engine = "sim";
    stored.model_format = "name";
    stored.model_name = "m";
    stored.revision = 3;
    stored.drain = 5;
    return stored;
  }
  static StoredReplica replica(const std::string& id, uint32_t uid_index) {
    StoredReplica stored;
    stored.id = id;
    stored.deployment = "chat";
    stored.ordinal = 1;
    stored.slice_id = id + ".1";
    stored.uid_index = uid_index;
    stored.last_exit.valid = true;
    stored.last_exit.signal = 9;
    stored.last_exit.reason = Reason::OutOfMemory;
    stored.last_exit.message = "passed \"1 GiB\"\n";
    stored.last_exit.wall_ns = 42;
    return stored;
  }
  static Event event(const std::string& subject) {
    Event each;
    each.subject = subject;
    each.reason = Reason::Starting;
    each.action = "Started";
    return each;
  }

  fs::path root_;
  std::unique_ptr<StateStore> store_;
};

TEST_F(StoreTest, KeepsEverythingOverARestart) {
  open();
  ASSERT_TRUE(store_->put_deployments({deployment("chat"), deployment("code")}));
  ASSERT_TRUE(store_->put_replica(replica("chat-1", 0)));
  open();
  EXPECT_THAT(*store_->deployments(), testing::ElementsAre(deployment("chat"), deployment("code")));
  EXPECT_THAT(*store_->replicas(), testing::ElementsAre(replica("chat-1", 0)));
  ASSERT_TRUE(store_->erase_deployment("chat"));
  ASSERT_TRUE(store_->erase_replica("chat-1"));
  open();
  EXPECT_EQ(store_->deployments()->size(), 1u);
  EXPECT_TRUE(store_->replicas()->empty());
}

TEST_F(StoreTest, NumbersAreNeverGivenTwice) {
  open();
  const uint64_t first = *store_->next_number();
  EXPECT_EQ(*store_->next_number(), first + 1);
  open();
  EXPECT_EQ(*store_->next_number(), first + 2);
}

TEST_F(StoreTest, TwoReplicasCannotShareAUser) {
  open();
  ASSERT_TRUE(store_->put_replica(replica("chat-1", 0)));
  EXPECT_FALSE(store_->put_replica(replica("chat-2", 0)));
  EXPECT_TRUE(store_->put_replica(replica("chat-2", 1)));
  EXPECT_TRUE(store_->put_replica(replica("chat-1", 0))) << "writing the same again is fine";
  EXPECT_EQ(store_->replicas()->size(), 2u);
}

TEST_F(StoreTest, EventsGrowByOneAndAreBounded) {
  open();
  std::vector<Event> batch(kMaxEvents + 10, event("chat-1"));
  ASSERT_TRUE(store_->append_events(batch));
  EXPECT_EQ(batch.back().id - batch.front().id, kMaxEvents + 9);
  EXPECT_EQ(store_->events(0, kMaxEvents * 2)->size(), kMaxEvents);
  std::vector<Event> one{event("chat")};
  ASSERT_TRUE(store_->append_events(one));
  EXPECT_EQ(*store_->last_event_id(), one[0].id);
  EXPECT_EQ(store_->events(batch.back().id, 10)->size(), 1u);
  EXPECT_EQ(store_->events_of("chat", 10)->at(0).reason, Reason::Starting);
  EXPECT_EQ(store_->events_of("chat-1", 3)->back().id, batch.back().id);
}

TEST_F(StoreTest, OneDaemonPerState) {
  open();
  const auto second = StateStore::open(root_ / "state");
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().reason, Reason::StateLocked);
  EXPECT_THAT(second.error().message, HasSubstr("process " + std::to_string(getpid())));
}

TEST_F(StoreTest, ADirectoryThatIsThereKeepsItsMode) {
  const fs::path dir = root_ / "state";
  const auto mode = [&] { return fs::status(dir).permissions(); };
  open();
  EXPECT_EQ(mode(), fs::perms::owner_all) << "one that it makes is private";
  store_.reset();
  fs::permissions(dir, fs::perms(0755));
  open();
  EXPECT_EQ(mode(), fs::perms(0755));
  EXPECT_EQ(fs::status(dir / "state.db").permissions(), fs::perms(0600));
  store_.reset();
  for (const fs::perms unsafe : {fs::perms(0777), fs::perms(0770), fs::perms(01777)}) {
    fs::permissions(dir, unsafe);
    const auto refused = StateStore::open(dir);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().reason, Reason::PermissionDenied);
    EXPECT_THAT(refused.error().hint, HasSubstr("chmod 700"));
    EXPECT_EQ(mode(), unsafe);
  }
}

TEST_F(StoreTest, ACheckBesideItsOwnerTellsWhatOpenWould) {
  open();
  EXPECT_TRUE(StateStore::check(root_ / "state"));
  store_.reset();
  sqlite3* raw = nullptr;
  ASSERT_EQ(sqlite3_open((root_ / "state/state.db").c_str(), &raw), SQLITE_OK);
  ASSERT_EQ(sqlite3_exec(raw, "PRAGMA user_version = 99", nullptr, nullptr, nullptr), SQLITE_OK);
  sqlite3_close(raw);
  EXPECT_EQ(StateStore::check(root_ / "state").error().reason, Reason::StateNewer);
}

TEST_F(StoreTest, RefusesANewerStateAndLeavesItAlone) {
  open();
  store_.reset();
  sqlite3* raw = nullptr;
  ASSERT_EQ(sqlite3_open((root_ / "state/state.db").c_str(), &raw), SQLITE_OK);
  ASSERT_EQ(sqlite3_exec(raw, "PRAGMA user_version = 99", nullptr, nullptr, nullptr), SQLITE_OK);
  sqlite3_close(raw);
  const auto refused = StateStore::open(root_ / "state");
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().reason, Reason::StateNewer);
  EXPECT_THAT(refused.error().message, HasSubstr("version 99"));
}

TEST_F(StoreTest, SaysThatAForeignFileIsNoState) {
  fs::create_directories(root_ / "state");
  std::ofstream(root_ / "state/state.db") << std::string(8192, 'x');
  const auto refused = StateStore::open(root_ / "state");
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().reason, Reason::StateCorrupt);
}

TEST_F(StoreTest, AFullDatabaseAppliesNothingByHalves) {
  open();
  ASSERT_TRUE(store_->put_deployments({deployment("old")}));
  ASSERT_TRUE(store_->limit_pages(1));
  std::vector<StoredDeployment> many;
  for (int i = 0; i < 500; ++i) many.push_back(deployment("d" + std::to_string(i)));
  const Status full = store_->put_deployments(many);
  ASSERT_FALSE(full);
  EXPECT_EQ(full.error().reason, Reason::DiskFull);
  EXPECT_EQ(store_->deployments()->size(), 1u);
  ASSERT_TRUE(store_->limit_pages(0));
  EXPECT_TRUE(store_->put_deployments(many)) << "it works again when there is space";
  EXPECT_EQ(store_->deployments()->size(), 501u);
}

TEST_F(StoreTest, AFullDiskIsSurvived) {
  if (geteuid() != 0) GTEST_SKIP() << "mounting a small file system needs root";
  if (mount("tmpfs", root_.c_str(), "tmpfs", 0, "size=512k") != 0)
    GTEST_SKIP() << "this machine refuses mounts";
  open();
  ASSERT_TRUE(store_->put_deployments({deployment("old")}));
  std::ofstream(root_ / "filler") << std::string(1 << 20, 'x');
  Status full;
  for (int i = 0; i < 200 && full; ++i) full = store_->put_deployments({deployment("d" + std::to_string(i))});
  ASSERT_FALSE(full);
  EXPECT_EQ(full.error().reason, Reason::DiskFull);
  const size_t before = store_->deployments()->size();
  fs::remove(root_ / "filler");
  EXPECT_TRUE(store_->put_deployments({deployment("new")}));
  open();
  EXPECT_EQ(store_->deployments()->size(), before + 1);
}

TEST_F(StoreTest, AWriteThatReturnedSurvivesAKill) {
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  const pid_t child = fork();
  if (child == 0) {
    auto store = StateStore::open(root_ / "state");
    for (uint32_t i = 0; store; ++i) {
      if (!(*store)->put_deployments({deployment("d" + std::to_string(i))})) break;
      if (write(ends[1], &i, sizeof i) != sizeof i) break;
    }
    _exit(1);
  }
  close(ends[1]);
  uint32_t last = 0;
  for (int i = 0; i < 20; ++i)
    ASSERT_EQ(read(ends[0], &last, sizeof last), static_cast<ssize_t>(sizeof last));
  kill(child, SIGKILL);
  waitpid(child, nullptr, 0);
  while (read(ends[0], &last, sizeof last) == sizeof last) continue;
  close(ends[0]);
  open();
  EXPECT_GE(store_->deployments()->size(), last + 1u);
}

}  // namespace
}  // namespace tweendeck::serving
