// Who has a slot, and what becomes of it when its owner dies.
#include <gtest/gtest.h>

#include "vgpu/books.h"
#include "vgpu/testing.h"

namespace tweendeck::vgpu {
namespace {

using testing::kFake, testing::kLimit, testing::World;

class SlotsTest : public testing::BooksTest {};

TEST_F(SlotsTest, WhatADeadProcessHeldIsThereForTheNextOne) {
  Books a = process(1), b = process(2);
  ASSERT_EQ(a.reserve(0, kLimit, 900, TW_VGPU_KIND_LINEAR), Grant::Granted);
  World::dead = {1};
  EXPECT_EQ(b.reserve(0, kLimit, 1000, TW_VGPU_KIND_LINEAR), Grant::Granted);
  EXPECT_EQ(total(), 1000u);
}

TEST_F(SlotsTest, WhoTakesADeadProcesssSlotTakesNoneOfWhatItHeld) {
  Books a = process(1), b = process(2);
  const uint32_t slot = a.slot();
  ASSERT_EQ(a.reserve(0, kLimit, 900, TW_VGPU_KIND_LINEAR), Grant::Granted);
  ASSERT_EQ(a.reserve(5, kLimit, 800, TW_VGPU_KIND_ARRAY), Grant::Granted);
  EXPECT_EQ(page_->slots[slot].used_devices, 1u | 1u << 5);
  page_->books[5][slot].pending_bytes = 70;  // killed between its two steps
  World::dead = {1};
  ASSERT_TRUE(b.sweep());
  Books c = process(3);
  ASSERT_EQ(c.slot(), slot);
  uint64_t used = 1;
  EXPECT_EQ(tw_vgpu_memory_claimed(page_.get(), 0, &used), 0u);
  EXPECT_EQ(tw_vgpu_memory_claimed(page_.get(), 5, &used), 0u);
  EXPECT_EQ(page_->books[5][slot].by_kind[TW_VGPU_KIND_ARRAY], 0u);
  EXPECT_EQ(page_->slots[slot].used_devices, 0u);
  ASSERT_EQ(c.reserve(5, kLimit, 10, TW_VGPU_KIND_ARRAY), Grant::Granted);
  EXPECT_EQ(page_->slots[slot].used_devices, 1u << 5);
}

TEST_F(SlotsTest, AProgramStartedByExecTakesTheOldSlotsPlace) {
  Books a = process(1);
  ASSERT_EQ(a.reserve(0, kLimit, 900, TW_VGPU_KIND_LINEAR), Grant::Granted);
  Books again = process(1);
  EXPECT_EQ(total(), 0u);
  EXPECT_EQ(again.slot(), a.slot());
}

TEST_F(SlotsTest, AProcessKilledWhileMovingInIsReclaimed) {
  page_->slots[0].owner = tw_vgpu_owner(9, 90, 1);
  page_->books[0][0].used_bytes = 500;
  page_->slots_in_use = 1;
  World::dead = {9};
  Books a = process(1);
  EXPECT_EQ(total(), 0u);
  EXPECT_TRUE(a.sweep());
  EXPECT_EQ(page_->slots[0].owner, 0u);
}

TEST_F(SlotsTest, AProcessKilledBeforeTheBoundPassedItsSlotIsReclaimed) {
  Books a = process(1);
  page_->slots[7].owner = tw_vgpu_owner(9, 90, 1);
  World::dead = {9};
  EXPECT_TRUE(a.sweep());
  EXPECT_EQ(page_->slots[7].owner, 0u);
}

TEST_F(SlotsTest, PidsOfAnotherNamespaceAreLeftToTheNode) {
  World::name_space = 8;
  Books a = process(1);
  World::name_space = 7;
  Books b = process(2);
  World::dead = {1};
  EXPECT_FALSE(b.sweep());
  EXPECT_NE(page_->slots[a.slot()].owner, 0u);
}

TEST_F(SlotsTest, SlotsOfDeadProcessesAreUsedAgainWhenAllAreTaken) {
  for (uint32_t pid = 1; pid <= TW_VGPU_MAX_SLOTS; ++pid) process(pid);
  World::self_pid = 5000;
  Books late(kFake);
  EXPECT_FALSE(late.attach(page_.get()));
  World::dead = {17};
  EXPECT_TRUE(late.attach(page_.get()));
  EXPECT_EQ(late.slot(), 16u);
}

TEST_F(SlotsTest, TheSumIsNoLongerThanTheSlotsThatAreOwned) {
  for (uint32_t pid = 1; pid <= 60; ++pid) process(pid);
  EXPECT_EQ(tw_vgpu_slot_bound(page_.get()), 60u);
  Books last = process(61);
  for (uint64_t pid = 2; pid <= 60; ++pid) World::dead.push_back(pid);
  EXPECT_TRUE(last.sweep());
  EXPECT_EQ(tw_vgpu_slot_bound(page_.get()), 61u) << "the last is owned";
  last.detach();
  Books next = process(62);
  EXPECT_EQ(next.slot(), 1u);
  EXPECT_EQ(tw_vgpu_slot_bound(page_.get()), 2u);
}

TEST_F(SlotsTest, WhoLowersTheBoundHasSeenTheLatestClaim) {
  process(1);
  const uint64_t before = page_->slots_in_use;
  Books b = process(2);
  b.detach();
  const Books c = process(3);
  EXPECT_EQ(c.slot(), 1u);
  EXPECT_GT(page_->slots_in_use >> 32, (before >> 32) + 1) << "the same bound, another word";
}

TEST_F(SlotsTest, DetachingGivesEverythingBack) {
  Books a = process(1);
  ASSERT_EQ(a.reserve(0, kLimit, 900, TW_VGPU_KIND_LINEAR), Grant::Granted);
  a.detach();
  EXPECT_EQ(total(), 0u);
}

TEST_F(SlotsTest, AFreeMarkIsDeathInWhateverPidNamespace) {
  World::marks = true;
  World::name_space = 8;
  Books a = process(1);
  ASSERT_EQ(a.reserve(0, kLimit, 900, TW_VGPU_KIND_LINEAR), Grant::Granted);
  World::name_space = 7;
  Books b = process(2);
  EXPECT_FALSE(b.sweep());
  World::kernel_ends(1);
  EXPECT_EQ(b.reserve(0, kLimit, 500, TW_VGPU_KIND_LINEAR), Grant::Granted);
  EXPECT_EQ(total(), 500u);
}

TEST_F(SlotsTest, AHeldMarkIsLifeWhateverPidsSay) {
  World::marks = true;
  World::name_space = 8;
  const Books a = process(1);
  World::name_space = 7;
  Books b = process(2);
  World::dead = {1};  // no such pid here
  EXPECT_FALSE(b.sweep());
  EXPECT_TRUE(a.owns_slot());
}

TEST_F(SlotsTest, AnImageThatEndedByExecIsGoneAlthoughItsPidLives) {
  World::marks = true;
  Books a = process(1), b = process(2);
  ASSERT_EQ(a.reserve(0, kLimit, 900, TW_VGPU_KIND_LINEAR), Grant::Granted);
  World::kernel_ends(1);
  EXPECT_EQ(b.reserve(0, kLimit, 900, TW_VGPU_KIND_LINEAR), Grant::Granted);
}

TEST_F(SlotsTest, KilledWhileMovingInIsSeenByItsMark) {
  World::marks = true;
  Books a = process(1);
  page_->slots[1].owner = tw_vgpu_owner(9, 90, 1);
  page_->slots_in_use = 2;
  World::mark_of[1] = 9;
  EXPECT_FALSE(a.sweep()) << "it is still at it";
  World::kernel_ends(9);
  EXPECT_TRUE(a.sweep());
}

TEST_F(SlotsTest, ASlotTakenFromTheLivingIsItsOwnAgain) {
  Books a = process(1);
  ASSERT_EQ(a.reserve(0, kLimit, 400, TW_VGPU_KIND_LINEAR), Grant::Granted);
  page_->slots[a.slot()].owner = 0;
  EXPECT_EQ(a.reserve(0, kLimit, 100, TW_VGPU_KIND_LINEAR), Grant::Granted);
  EXPECT_EQ(total(), 500u);
}

TEST_F(SlotsTest, WhoseSlotIsAnothersGetsNothingAndChangesNothing) {
  Books a = process(1);
  ASSERT_EQ(a.reserve(0, kLimit, 400, TW_VGPU_KIND_LINEAR), Grant::Granted);
  page_->slots[a.slot()].owner = 0;
  Books b = process(2);
  ASSERT_EQ(b.slot(), a.slot());
  ASSERT_EQ(b.reserve(0, kLimit, 300, TW_VGPU_KIND_LINEAR), Grant::Granted);
  EXPECT_EQ(a.reserve(0, kLimit, 1, TW_VGPU_KIND_LINEAR), Grant::OverLimit);
  a.release(0, 400, TW_VGPU_KIND_LINEAR);
  EXPECT_EQ(total(), 300u);
}

}  // namespace
}  // namespace tweendeck::vgpu
