#include "device/journal/record.h"

#include <gtest/gtest.h>
#include <xxhash.h>

#include <algorithm>

namespace tweendeck::device {
namespace {

SliceRecord record_of(RecordKind kind, std::string id) {
  SliceRecord record;
  record.kind = kind;
  record.slice.id = std::move(id);
  if (kind == RecordKind::BeginPrepare) {
    record.provider = "cpu";
    record.slice.device_id = "cpu0";
    record.slice.owner = "chat-1";
    record.slice.deployment = "chat";
    record.slice.share = {.memory_bytes = 1ull << 33, .compute_percent = 40, .priority = -3};
  }
  if (kind == RecordKind::Resized) {
    record.slice.share = {.memory_bytes = 1ull << 32,
                          .compute_percent = 20,
                          .priority = 4,
                          .ceiling_percent = 90,
                          .weight = 3,
                          .memory_wait_ms = 250};
    record.slice.paused = true;
  }
  if (kind == RecordKind::Prepared) {
    record.slice.isolation = Isolation::Library;
    record.slice.isolation_reason = Reason::LibraryMissing;
  }
  return record;
}

// A journal with every kind of record; `ends` are the sizes after the header and after each record.
std::string sample(std::vector<size_t>* ends = nullptr) {
  using enum RecordKind;
  std::string bytes = encode_header();
  if (ends != nullptr) ends->push_back(bytes.size());
  uint64_t sequence = 1;
  for (auto [kind, id] : std::initializer_list<std::pair<RecordKind, const char*>>{{BeginPrepare, "a"},
                                                                                   {Prepared, "a"},
                                                                                   {BeginPrepare, "b"},
                                                                                   {BeginRelease, "a"},
                                                                                   {Released, "a"},
                                                                                   {Prepared, "b"},
                                                                                   {Resized, "b"}}) {
    bytes += encode_record(record_of(kind, id), sequence++);
    if (ends != nullptr) ends->push_back(bytes.size());
  }
  return bytes;
}

TEST(Replay, ReadsBackEveryField) {
  Result<Replay> result = replay(sample());
  ASSERT_TRUE(result) << to_string(result.error());
  EXPECT_FALSE(result->torn);
  EXPECT_EQ(result->next_sequence, 8u);
  ASSERT_EQ(result->table.entries().size(), 1u);
  const SliceEntry& entry = *result->table.find("b");
  EXPECT_EQ(entry.provider, "cpu");
  EXPECT_EQ(entry.slice.device_id, "cpu0");
  EXPECT_EQ(entry.slice.share, record_of(RecordKind::Resized, "b").slice.share);
  EXPECT_TRUE(entry.slice.paused);
  EXPECT_EQ(entry.slice.isolation, Isolation::Library);
  EXPECT_EQ(entry.slice.isolation_reason, Reason::LibraryMissing);
}

TEST(Replay, ReadsVersionOneWhichHadNoLiveShares) {
  const auto with_u32 = [](std::string& out, uint32_t value) {
    out.append(reinterpret_cast<const char*>(&value), sizeof(value));
  };
  std::string payload = encode_record(record_of(RecordKind::BeginPrepare, "a"), 1).substr(kFrameBytes);
  payload.resize(payload.size() - 3 * sizeof(uint32_t));  // ceiling, weight, wait
  std::string frame;
  with_u32(frame, static_cast<uint32_t>(payload.size()));
  with_u32(frame, 1);
  with_u32(frame, 0);  // upper half of the sequence
  const uint64_t check =
      XXH3_64bits_withSeed(payload.data(), payload.size(), XXH3_64bits(frame.data(), frame.size()));
  frame.append(reinterpret_cast<const char*>(&check), sizeof(check));
  const Result<Replay> result = replay(encode_header(kOldestJournalVersion) + frame + payload);
  ASSERT_TRUE(result) << to_string(result.error());
  EXPECT_EQ(result->version, kOldestJournalVersion);
  EXPECT_EQ(result->table.find("a")->slice.share,
            (Share{.memory_bytes = 1ull << 33, .compute_percent = 40, .priority = -3}));
}

TEST(Replay, AJournalCutAtAnyByteKeepsEveryWholeRecord) {
  std::vector<size_t> ends;
  std::string bytes = sample(&ends);
  for (size_t cut = 0; cut <= bytes.size(); ++cut) {
    Result<Replay> result = replay(std::string_view(bytes).substr(0, cut));
    ASSERT_TRUE(result) << "cut at " << cut << ": " << to_string(result.error());
    auto whole = std::ranges::find_if(ends.rbegin(), ends.rend(), [&](size_t end) { return end <= cut; });
    size_t kept = whole == ends.rend() ? 0 : *whole;
    EXPECT_EQ(result->valid_bytes, kept) << "cut at " << cut;
    EXPECT_EQ(result->torn, kept != cut || cut == 0) << "cut at " << cut;
    if (kept > 0) {
      EXPECT_EQ(result->table.entries(), replay(std::string_view(bytes).substr(0, kept))->table.entries());
    }
  }
}

TEST(Replay, ATailOfZerosOrNoiseIsTorn) {
  std::string bytes = sample();
  for (char filler : {'\0', '\xff', 'x'}) {
    Result<Replay> result = replay(bytes + std::string(100, filler));
    ASSERT_TRUE(result);
    EXPECT_TRUE(result->torn);
    EXPECT_EQ(result->valid_bytes, bytes.size());
  }
}

TEST(Replay, AFlippedBitBeforeTheLastRecordIsRefused) {
  std::vector<size_t> ends;
  std::string bytes = sample(&ends);
  size_t last_record = ends[ends.size() - 2];
  for (size_t at = 0; at < last_record; ++at) {
    for (int bit : {0, 7}) {
      std::string damaged = bytes;
      damaged[at] = static_cast<char>(damaged[at] ^ (1 << bit));
      Result<Replay> result = replay(damaged);
      ASSERT_FALSE(result) << "byte " << at << " bit " << bit;
      EXPECT_EQ(result.error().reason, Reason::JournalCorrupt);
      EXPECT_FALSE(result.error().hint.empty());
    }
  }
}

TEST(Replay, DamageLongerThanARecordIsNotATornTail) {
  Result<Replay> result = replay(sample() + std::string(kFrameBytes + kMaxPayloadBytes + 1, 'x'));
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().reason, Reason::JournalCorrupt);
}

TEST(Replay, MissingRepeatedAndIllegalRecordsAreRefused) {
  using enum RecordKind;
  std::string begin = encode_header() + encode_record(record_of(BeginPrepare, "a"), 1);
  EXPECT_FALSE(replay(begin + encode_record(record_of(Prepared, "a"), 3)));
  EXPECT_FALSE(replay(begin + encode_record(record_of(Prepared, "a"), 1)));
  EXPECT_FALSE(replay(begin + encode_record(record_of(Released, "a"), 2)));
  EXPECT_FALSE(replay(begin + encode_record(record_of(Prepared, "b"), 2)));
  EXPECT_TRUE(replay(begin + encode_record(record_of(Prepared, "a"), 2)));
}

TEST(Replay, ANewerVersionIsRefusedWithAdvice) {
  Result<Replay> result = replay(encode_header(kJournalVersion + 1) + "anything");
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().reason, Reason::StateNewer);
  EXPECT_FALSE(result.error().hint.empty());
}

TEST(Replay, AnotherFileIsRefused) {
  EXPECT_EQ(replay("SQLite format 3, certainly not ours").error().reason, Reason::JournalCorrupt);
  EXPECT_EQ(replay("x").error().reason, Reason::JournalCorrupt);
}

TEST(Record, TheLargestRecordFitsTheLimit) {
  SliceRecord record = record_of(RecordKind::BeginPrepare, std::string(kMaxSliceIdBytes, 'i'));
  for (std::string* text :
       {&record.slice.device_id, &record.slice.owner, &record.slice.deployment, &record.provider}) {
    *text = std::string(kMaxSliceTextBytes, 't');
  }
  std::string bytes = encode_record(record, 1);
  EXPECT_LE(bytes.size(), kFrameBytes + kMaxPayloadBytes);
  EXPECT_TRUE(replay(encode_header() + bytes));
}

}  // namespace
}  // namespace tweendeck::device
