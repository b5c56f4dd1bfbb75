// Readers beside the writer: what they find is right at every moment.
#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "routing/kv/index.h"

namespace tweendeck::routing::kv {
namespace {

constexpr uint32_t kBlocks = 40;
constexpr int kRounds = 3000;
constexpr int kReaders = 3;

Event stored(uint64_t key, uint32_t text) {
  Event event;
  event.type = Event::Type::Stored;
  event.block_tokens = 1;
  for (uint32_t i = 0; i < kBlocks; ++i) {
    event.hashes.push_back(key + i);
    event.tokens.push_back(text + i);
  }
  return event;
}

std::vector<Fingerprint> chain(uint32_t text) {
  std::vector<Fingerprint> out;
  Fingerprinter().chain(Fingerprinter::root(""), stored(0, text).tokens, 1, {}, out);
  return out;
}

// The steady endpoint holds one text for ever; others come and go on it and on texts of their own, so that
// buckets are rewritten, segments grow and shrink, and sets and lanes are used again. Nobody ever holds more
// than half of the forbidden text.
TEST(KvIndexThreads, ReadersFindNoPhantomsWhileTheWriterWrites) {
  KvIndex index({.max_bytes = 4 << 20, .max_endpoints = 8});
  const EndpointNumber steady = *index.add_endpoint();
  index.apply(steady, stored(1, 1000));
  Event half = stored(1, 5000);
  half.hashes.resize(kBlocks / 2);
  half.tokens.resize(kBlocks / 2);
  const auto steady_chain = chain(1000), half_chain = chain(5000);
  std::atomic<bool> done{false};
  std::atomic<uint64_t> full{0}, phantoms{0};
  std::vector<std::thread> threads;
  for (int r = 0; r < kReaders; ++r) {
    threads.emplace_back([&] {
      auto reader = *KvIndex::Reader::join(index);
      std::vector<KvIndex::Match> found;
      while (!done) {
        reader.match(steady_chain, found);
        for (const KvIndex::Match& match : found) full += match.endpoint == steady && match.blocks == kBlocks;
        reader.match(half_chain, found);
        for (const KvIndex::Match& match : found)
          phantoms += match.endpoint == steady || match.blocks > kBlocks / 2;
      }
    });
  }
  std::vector<EndpointNumber> others;
  for (int e = 0; e < 5; ++e) others.push_back(*index.add_endpoint());
  for (int round = 0; round < kRounds; ++round) {
    const EndpointNumber e = others[static_cast<size_t>(round) % others.size()];
    index.apply(e, stored(100, 1000));
    index.apply(e, half);
    index.apply(e, stored(10'000, 100'000 + static_cast<uint32_t>(round) * kBlocks));
    if (round % 3 == 0) index.clear(e);
    if (round % 7 == 0) {
      Event gone = half;
      gone.type = Event::Type::Removed;
      index.apply(e, gone);
    }
    index.tidy(200);
  }
  while (full == 0) std::this_thread::yield();  // a quiet index is found whole
  done = true;
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(phantoms, 0);
}

}  // namespace
}  // namespace tweendeck::routing::kv
