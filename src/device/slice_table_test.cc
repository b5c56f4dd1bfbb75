#include "device/slice_table.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "base/clock.h"
#include "device/recovery.h"

namespace tweendeck::device {
namespace {

SliceRecord begin(std::string id) {
  SliceRecord record;
  record.slice.id = std::move(id);
  record.slice.device_id = "cpu0";
  record.slice.share = {.memory_bytes = 1024, .compute_percent = 10, .priority = 1};
  record.slice.owner = "chat-1";
  record.slice.deployment = "chat";
  record.provider = "cpu";
  return record;
}

SliceRecord step(RecordKind kind, std::string id) {
  SliceRecord record;
  record.kind = kind;
  record.slice.id = std::move(id);
  if (kind == RecordKind::Prepared) record.slice.isolation = Isolation::Kernel;
  return record;
}

void must_apply(SliceTable& table, const SliceRecord& record) {
  Status ok = table.check(record);
  ASSERT_TRUE(ok) << to_string(ok.error());
  table.apply(record);
}

TEST(SliceTable, FollowsASliceThroughItsLife) {
  SliceTable table;
  must_apply(table, begin("a"));
  EXPECT_EQ(table.find("a")->state, SliceState::Preparing);
  must_apply(table, step(RecordKind::Prepared, "a"));
  EXPECT_EQ(table.find("a")->state, SliceState::Prepared);
  EXPECT_EQ(table.find("a")->slice.isolation, Isolation::Kernel);
  EXPECT_EQ(table.find("a")->slice.owner, "chat-1");
  must_apply(table, step(RecordKind::BeginRelease, "a"));
  EXPECT_EQ(table.find("a")->state, SliceState::Releasing);
  must_apply(table, step(RecordKind::Released, "a"));
  EXPECT_EQ(table.find("a"), nullptr);
}

// Every record kind against every state: the list of what may follow is the whole rule.
TEST(SliceTable, RefusesEveryOtherOrder) {
  using enum RecordKind;
  struct Case {
    std::vector<RecordKind> before;
    std::vector<RecordKind> allowed;
  };
  const Case cases[] = {
      {{}, {BeginPrepare}},
      {{BeginPrepare}, {Prepared, BeginRelease}},
      {{BeginPrepare, Prepared}, {Prepared, BeginRelease, Resized}},
      {{BeginPrepare, BeginRelease}, {Released}},
      {{BeginPrepare, Prepared, BeginRelease}, {Released}},
      {{BeginPrepare, Prepared, BeginRelease, Released}, {BeginPrepare}},
  };
  for (const Case& c : cases) {
    SliceTable table;
    for (RecordKind kind : c.before) must_apply(table, kind == BeginPrepare ? begin("a") : step(kind, "a"));
    for (RecordKind next : {BeginPrepare, Prepared, BeginRelease, Released, Resized}) {
      bool allowed = std::ranges::find(c.allowed, next) != c.allowed.end();
      EXPECT_EQ(table.check(next == BeginPrepare ? begin("a") : step(next, "a")).has_value(), allowed)
          << c.before.size() << " records, then kind " << static_cast<int>(next);
    }
  }
}

TEST(SliceTable, RefusesIdsThatCannotBeFolderNames) {
  for (const std::string& id : std::vector<std::string>{"", ".", "..", ".hidden", "a/b", "a b", "a\n",
                                                        std::string(kMaxSliceIdBytes + 1, 'x')}) {
    Status refused = SliceTable().check(begin(id));
    ASSERT_FALSE(refused) << id;
    EXPECT_EQ(refused.error().reason, Reason::InvalidArgument);
  }
  EXPECT_TRUE(SliceTable().check(begin("chat-1.a_B")));
  SliceRecord long_name = begin("a");
  long_name.slice.owner = std::string(kMaxSliceTextBytes + 1, 'x');
  EXPECT_FALSE(SliceTable().check(long_name));
}

TEST(SliceTable, IsBounded) {
  SliceTable table;
  for (size_t i = 0; i < kMaxSlices; ++i) must_apply(table, begin("s" + std::to_string(i)));
  Status refused = table.check(begin("more"));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().reason, Reason::LimitExceeded);
}

TEST(SliceTable, SnapshotRebuildsAnyTable) {
  Random random(7);
  SliceTable table;
  for (int i = 0; i < 5000; ++i) {
    std::string id(1, static_cast<char>('a' + random.below(12)));
    auto kind = static_cast<RecordKind>(1 + random.below(5));
    SliceRecord record = kind == RecordKind::BeginPrepare ? begin(id) : step(kind, id);
    if (kind == RecordKind::Resized) {
      record.slice.share = {.memory_bytes = random.below(99), .compute_percent = 7, .ceiling_percent = 50};
      record.slice.paused = random.below(2) == 0;
    }
    if (table.check(record)) table.apply(record);
    if (i % 50 != 0) continue;
    SliceTable copy;
    for (const SliceRecord& r : table.snapshot()) must_apply(copy, r);
    EXPECT_EQ(copy.entries(), table.entries());
  }
}

TEST(Recovery, DecidesForEveryCombination) {
  SliceTable table;
  for (std::string id : {"adopt", "lost", "undo", "undo2", "finish", "soft-none"})
    must_apply(table, begin(id));
  for (std::string id : {"adopt", "lost", "finish"}) must_apply(table, step(RecordKind::Prepared, id));
  SliceRecord none = step(RecordKind::Prepared, "soft-none");
  none.slice.isolation = Isolation::None;
  must_apply(table, none);
  must_apply(table, step(RecordKind::BeginRelease, "finish"));

  std::vector<RecoveryAction> plan = plan_recovery(table, {"adopt", "undo", "stranger"});
  std::vector<RecoveryAction> expected = {
      {RecoveryStep::RemoveLeaked, "stranger"},
      {RecoveryStep::FinishRelease, "finish"},
      {RecoveryStep::Undo, "undo"},
      {RecoveryStep::Undo, "undo2"},
      {RecoveryStep::Adopt, "adopt"},
      {RecoveryStep::Rebuild, "lost"},
      {RecoveryStep::Adopt, "soft-none"},
  };
  EXPECT_EQ(plan, expected);
}

}  // namespace
}  // namespace tweendeck::device
