// Events as recorded from vLLM 0.32 (testdata/), and the layouts that the recording does not have.
#include "routing/kv/events.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <map>

#include "routing/kv/index.h"
#include "routing/kv/vllm_hash.h"

namespace tweendeck::routing::kv {
namespace {

std::string unhex(std::string_view hex) {
  std::string out;
  for (size_t i = 0; i + 1 < hex.size(); i += 2) {
    out += static_cast<char>(strtoul(std::string(hex.substr(i, 2)).c_str(), nullptr, 16));
  }
  return out;
}

struct Recorded {
  std::string server;
  uint64_t seq;
  std::string payload;
};

std::vector<Recorded> recording() {
  std::ifstream file(std::string(getenv("TWEENDECK_SOURCE_DIR")) +
                     "/src/routing/kv/testdata/vllm-0.32-cpu.jsonl");
  std::vector<Recorded> out;
  for (std::string line; std::getline(file, line);) {
    auto field = [&](const std::string& name) {
      const size_t from = line.find("\"" + name + "\": ") + name.size() + 4;
      const bool text = line[from] == '"';
      return line.substr(from + text, line.find_first_of("\",}", from + text) - from - text);
    };
    out.push_back({field("server"), std::stoull(field("seq")), unhex(field("payload_hex"))});
  }
  return out;
}

std::vector<Event> read(std::string_view payload, bool malformed = false) {
  EventReader reader(payload);
  std::vector<Event> events;
  Event event;
  while (reader.next(event)) events.push_back(event);
  EXPECT_EQ(reader.malformed(), malformed);
  return events;
}

TEST(RecordedEvents, DecodeToTheLast) {
  std::map<std::string, std::array<size_t, 3>> blocks;  // stored, removed; events of clearing
  const auto messages = recording();
  ASSERT_EQ(messages.size(), 36);
  for (const Recorded& message : messages) {
    for (const Event& event : read(message.payload)) {
      auto& [stored, removed, cleared] = blocks[message.server];
      if (event.type == Event::Type::Stored) stored += event.hashes.size();
      if (event.type == Event::Type::Removed) removed += event.hashes.size();
      if (event.type == Event::Type::Cleared) ++cleared;
      EXPECT_NE(event.type, Event::Type::Unknown);
      if (event.type != Event::Type::Stored) continue;
      EXPECT_EQ(event.block_tokens, message.server == "single" ? 128 : 32);
      EXPECT_EQ(event.group_kind, GroupKind::FullAttention);
      EXPECT_EQ(event.tier, Tier::Device);
      EXPECT_TRUE(event.extras.empty());  // the adapter's name is not among them
    }
  }
  EXPECT_EQ(blocks["single"], (std::array<size_t, 3>{10, 0, 4}));
  EXPECT_EQ(blocks["P"], (std::array<size_t, 3>{48, 20, 1}));
  EXPECT_EQ(blocks["D"], (std::array<size_t, 3>{60, 26, 3}));
  EXPECT_EQ(blocks["E"], (std::array<size_t, 3>{42, 8, 2}));
}

TEST(RecordedEvents, HashesOf32BytesAndOf64BitsMeanTheSameBlock) {
  std::map<std::string, Event> first;
  for (const Recorded& message : recording()) {
    if (message.seq == 0) first[message.server] = read(message.payload).at(0);
  }
  EXPECT_EQ(first["P"].hashes, first["D"].hashes);
  EXPECT_EQ(first["P"].hashes[0], 0xe855f39ee78d090b);
}

TEST(RecordedEvents, TheIndexHoldsWhatTheEnginesHeld) {
  KvIndex index({.max_bytes = 8 << 20, .max_endpoints = 8});
  auto reader = *KvIndex::Reader::join(index);
  std::map<std::string, EndpointNumber> endpoints;
  std::map<std::string, std::map<uint64_t, std::vector<Fingerprint>>> prompts;  // by last key: the chain
  std::map<std::string, std::map<uint64_t, int>> held;
  for (const Recorded& message : recording()) {
    if (!endpoints.contains(message.server)) endpoints[message.server] = *index.add_endpoint();
    const EndpointNumber endpoint = endpoints[message.server];
    auto& keys = held[message.server];
    for (const Event& event : read(message.payload)) {
      index.apply(endpoint, event);
      for (const uint64_t key : event.hashes) keys[key] += event.type == Event::Type::Stored ? 1 : -1;
      if (event.type == Event::Type::Cleared) keys.clear();
      if (event.type != Event::Type::Stored || event.has_parent) continue;
      std::vector<Fingerprint> chain;
      Fingerprinter().chain(root_of(event), event.tokens, event.block_tokens, {}, chain);
      for (size_t i = 0; i < chain.size(); ++i) {
        prompts[message.server][event.hashes[i]] = {chain.begin(),
                                                    chain.begin() + static_cast<ptrdiff_t>(i) + 1};
      }
    }
    for (const auto& [key, chain] : prompts[message.server]) {
      size_t wanted = 0;  // leading blocks whose keys are held
      for (const auto& [other, head] : prompts[message.server]) {
        const bool is_head =
            head.size() <= chain.size() && std::equal(head.begin(), head.end(), chain.begin());
        if (is_head && keys[other] > 0) wanted = std::max(wanted, head.size());
      }
      std::vector<KvIndex::Match> found;
      reader.match(chain, found);
      size_t blocks = 0;
      for (const KvIndex::Match& match : found) {
        if (match.endpoint == endpoint) blocks = match.blocks;
      }
      ASSERT_EQ(blocks, wanted) << message.server << " " << message.seq;  // tails are evicted first: no holes
    }
  }
  EXPECT_EQ(index.stats().orphans, 0);
  EXPECT_EQ(index.stats().unknown, 0);
}

// Server E hashed with a seed of its own; an adapter's blocks are not reproduced.
TEST(RecordedEvents, HashesAreVllmsOfTheTokens) {
  size_t recognized = 0;
  for (const Recorded& message : recording()) {
    for (const Event& event : read(message.payload)) {
      if (event.type != Event::Type::Stored) continue;
      if (message.server == "E" || event.has_lora) {
        EXPECT_EQ(recognize(event), HashScheme::Unknown);
        continue;
      }
      EXPECT_EQ(recognize(event), HashScheme::Sha256) << message.server << " " << message.seq;
      ++recognized;
      VllmHasher hasher(HashScheme::Sha256);
      BlockHash parent = hasher.none();
      for (size_t i = 0; i < event.hashes.size(); ++i) {
        parent =
            *hasher.next(parent, std::span(event.tokens).subspan(i * event.block_tokens, event.block_tokens));
        EXPECT_EQ(on_the_wire(parent), event.hashes[i]);
      }
    }
  }
  EXPECT_EQ(recognized, 22);
}

// Vectors that vLLM 0.32 sent.
TEST(VllmHash, Vectors) {
  std::vector<uint32_t> tokens;
  for (uint32_t i = 0; i < 64; ++i) tokens.push_back(37 * i % 900 + 10);
  const std::span<const uint32_t> first = std::span(tokens).first(32), second = std::span(tokens).last(32);
  auto bytes = [](const BlockHash& hash) { return std::string(hash.begin(), hash.end()); };
  VllmHasher pickled(HashScheme::Sha256);
  const BlockHash block0 = *pickled.next(pickled.none(), first);
  EXPECT_EQ(bytes(block0), unhex("222fee515dda443bddb71d9fec6e510882581e878d974ba7e855f39ee78d090b"));
  EXPECT_EQ(bytes(*pickled.next(block0, second)),
            unhex("38fd95d3cacf812ae9373e241ff575edd6abfa9d3f3de0bd3793f728685711e2"));
  VllmHasher cbor(HashScheme::Sha256Cbor);
  const BlockHash cbor0 = *cbor.next(cbor.none(), first);
  EXPECT_EQ(on_the_wire(cbor0), 561402280024002857u);
  EXPECT_EQ(on_the_wire(*cbor.next(cbor0, second)), 7183563792119542949u);
}

// Made with Python 3.11's pickle and hashlib: token ids of every width.
TEST(VllmHash, PicklesEveryWidth) {
  VllmHasher hasher(HashScheme::Sha256);
  BlockHash parent;
  parent.fill('x');
  const std::vector<uint32_t> tokens{1, 300, 70000, 1u << 31};
  EXPECT_EQ(on_the_wire(*hasher.next(parent, tokens)), 0x1397bc06109e9780);
  EXPECT_EQ(on_the_wire(*hasher.next(parent, std::span(tokens).first(1))), 0xe000c2bf3b6ffba3);
}

TEST(Sha256, Vectors) {  // FIPS 180-4's examples
  auto bytes = [](const BlockHash& hash) { return std::string(hash.begin(), hash.end()); };
  EXPECT_EQ(bytes(sha256("abc")), unhex("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"));
  EXPECT_EQ(bytes(sha256("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq")),
            unhex("248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"));
}

// h = XXH64(LE64 parent | LE32 tokens | extras) from XXH64(LE64 XXH64("") | LE64 1 | "m").
TEST(Fingerprint, IsLlmdsXxh64) {
  std::vector<uint32_t> tokens(40);
  for (uint32_t i = 0; i < 40; ++i) tokens[i] = i;
  std::vector<Fingerprint> chain;
  Fingerprinter().chain(Fingerprinter::root("m"), tokens, 16, {}, chain);
  EXPECT_EQ(chain, (std::vector<Fingerprint>{0x5317a154bfe36a86, 0xcef81508f75d55b7}));
}

TEST(EventReader, ReadsArraysWithTheTagFirst) {
  // [1.5, [["BlockStored", [1, 0xff..fe], nil, [1, 2, 300, 70000], 2, nil, "GPU", nil, [["salt"], nil], 0,
  // "full_attention"], ["BlockRemoved", [1], "CPU", 3], ["AllBlocksCleared"], ["Novelty", {}]], 0]
  const auto events =
      read(unhex("93cb3ff800000000000094"
                 "9bab426c6f636b53746f72656492"
                 "01fec0940102cd012cce0001117002c0a3475055c09291a473616c74c000"
                 "ae66756c6c5f617474656e74696f6e"
                 "94ac426c6f636b52656d6f7665649101a343505503"
                 "91b0416c6c426c6f636b73436c6561726564"
                 "92a74e6f76656c74798000"));
  ASSERT_EQ(events.size(), 4);
  EXPECT_EQ(events[0].hashes, (std::vector<uint64_t>{1, UINT64_MAX - 1}));
  EXPECT_EQ(events[0].tokens, (std::vector<uint32_t>{1, 2, 300, 70000}));
  EXPECT_FALSE(events[0].has_parent);
  EXPECT_EQ(events[0].extras_of(0).size(), 1);
  EXPECT_EQ(events[0].extras_of(1).size(), 0);
  EXPECT_EQ(events[0].group_kind, GroupKind::FullAttention);
  EXPECT_EQ(events[1].tier, Tier::Host);
  EXPECT_EQ(events[1].group, 3);
  EXPECT_EQ(events[2].type, Event::Type::Cleared);
  EXPECT_EQ(events[3].type, Event::Type::Unknown);
}

TEST(EventReader, ReadsSglangsShorterArrays) {
  // [1.5, [["BlockStored", [-5, 7], -9, [1, 2], 1, nil]], nil]
  const auto events = read(unhex("93cb3ff80000000000009196ab426c6f636b53746f72656492fb07f792010201c0c0"));
  ASSERT_EQ(events.size(), 1);
  EXPECT_EQ(events[0].hashes[0], static_cast<uint64_t>(-5));
  EXPECT_EQ(events[0].parent, static_cast<uint64_t>(-9));
  EXPECT_EQ(events[0].block_tokens, 1);
  EXPECT_EQ(events[0].group_kind, GroupKind::Unsaid);
}

TEST(EventReader, RefusesWhatCannotBeMeant) {
  read("", true);
  read(unhex("93cb3ff8000000000000ddffffffff"), true);  // 2^32 events in no byte
  read(unhex("93cb3ff80000000000009192ab426c6f636b53746f726564dd7fffffff01"), true);  // 2^31 hashes
  read(unhex("93cb3ff80000000000009195ab426c6f636b53746f7265649101c0920102c0"),
       true);  // two tokens, no block size
  read(unhex("93cb3ff80000000000009195ab426c6f636b53746f7265649101c09201020300"),
       true);                                  // of blocks of three
  read(std::string(1'000'000, '\x91'), true);  // nested 10^6 deep
}

TEST(EventReader, WhatIsNestedDeepIsJumpedOver) {
  std::string deep = unhex("93cb3ff80000000000009182a474797065b0416c6c426c6f636b73436c6561726564a178");
  deep += std::string(1'000'000, '\x91') + '\xc0' + '\xc0';
  const auto events = read(deep);
  ASSERT_EQ(events.size(), 1);
  EXPECT_EQ(events[0].type, Event::Type::Cleared);
}

}  // namespace
}  // namespace tweendeck::routing::kv
