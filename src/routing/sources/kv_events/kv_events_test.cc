// Publishers as engines run them (here with libzmq too), in both roles, against the sources.
#include "routing/sources/kv_events/kv_events.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <map>
#include <mutex>
#include <thread>

#include "routing/sources/kv_events/zmq.h"

namespace tweendeck::routing::sources {
namespace {

constexpr auto kPatience = std::chrono::seconds(30);

std::string big_endian(uint64_t number) {
  std::string out;
  for (int shift = 56; shift >= 0; shift -= 8) out += static_cast<char>(number >> shift & 0xFF);
  return out;
}

// ["BlockStored", [hash...], parent or nil, [token...], 1]: blocks of one token, whose hash is key + place.
std::string stored(uint8_t key, std::string_view tokens) {
  const auto head = static_cast<char>(0x90 | tokens.size());
  std::string hashes(1, head);
  for (size_t i = 0; i < tokens.size(); ++i) hashes += static_cast<char>(key + i);
  return std::string("\x95\xab", 2) + "BlockStored" + hashes + "\xc0" + head + std::string(tokens) + "\x01";
}
std::string removed(uint8_t key) {
  return std::string("\x92\xac", 2) + "BlockRemoved" + "\x91" + static_cast<char>(key);
}
std::string batch(double time, const std::string& event) {
  uint64_t bits = 0;
  static_assert(sizeof bits == sizeof time);
  memcpy(&bits, &time, sizeof bits);
  return "\x93\xcb" + big_endian(bits) + "\x91" + event + std::string(1, '\xc0');
}

// An engine's publisher with its replay service.
class Publisher {
 public:
  explicit Publisher(std::string topic, const std::string& connect_to = "")
      : topic_(std::move(topic)),
        context_(zmq_ctx_new()),
        socket_(context_, ZMQ_XPUB),
        replay_(context_, ZMQ_ROUTER) {
    for (ZmqSocket* socket : {&socket_, &replay_}) {
      socket->set(ZMQ_LINGER, 0);
      socket->set(ZMQ_RCVTIMEO, 20);
    }
    EXPECT_TRUE(replay_.bind("tcp://127.0.0.1:*"));
    if (connect_to.empty()) {
      EXPECT_TRUE(socket_.bind("tcp://127.0.0.1:*"));
    } else {
      EXPECT_TRUE(socket_.connect(connect_to));
    }
    endpoint = address(socket_);
    replay_endpoint = address(replay_);
    service_ = std::thread([this] { serve(); });
  }
  ~Publisher() {
    stopping_ = true;
    service_.join();
    socket_.close();
    replay_.close();
    zmq_ctx_term(context_);
  }

  // An XPUB socket receives what is subscribed: from then on nothing is lost.
  void wait_for_subscriber() {
    const auto end = std::chrono::steady_clock::now() + kPatience;
    char byte = 0;
    while (zmq_recv(socket_.get(), &byte, 1, 0) < 1 || byte != 1) {
      ASSERT_LT(std::chrono::steady_clock::now(), end) << "nobody subscribed";
    }
  }
  void publish(const std::string& event, bool lost = false) { publish_raw(batch(++time_, event), lost); }
  void publish_raw(const std::string& payload, bool lost = false) {
    uint64_t seq = 0;
    {
      std::lock_guard lock(mutex_);
      seq = log_.size();
      log_.push_back(payload);
    }
    if (lost) return;
    socket_.send(topic_, true);
    socket_.send(big_endian(seq), true);
    socket_.send(payload, false);
  }

  std::string endpoint;
  std::string replay_endpoint;
  std::atomic<int> replays{0};

 private:
  static std::string address(ZmqSocket& socket) {
    char text[256];
    size_t size = sizeof text;
    zmq_getsockopt(socket.get(), ZMQ_LAST_ENDPOINT, text, &size);
    return text;
  }
  void serve() {
    ZmqMessage request;
    while (!stopping_) {
      zmq_pollitem_t item{replay_.get(), 0, ZMQ_POLLIN, 0};
      zmq_poll(&item, 1, 20);
      if (!request.receive(replay_) || request.size() != 3) continue;
      ++replays;
      uint64_t from = 0;
      for (const char byte : request[2]) from = from << 8 | static_cast<uint8_t>(byte);
      const std::string identity(request[0]);
      std::vector<std::string> log;
      {
        std::lock_guard lock(mutex_);
        log = log_;
      }
      auto answer = [&](const std::string& topic, uint64_t seq, const std::string& payload) {
        replay_.send(identity, true);
        replay_.send("", true);
        replay_.send(topic, true);
        replay_.send(big_endian(seq), true);
        replay_.send(payload, false);
      };
      for (uint64_t seq = from; seq < log.size(); ++seq) answer(topic_, seq, log[seq]);
      answer("", UINT64_MAX, "");
    }
  }

  std::string topic_;
  void* context_;
  ZmqSocket socket_;
  ZmqSocket replay_;
  std::mutex mutex_;
  std::vector<std::string> log_;
  double time_ = 0;
  std::atomic<bool> stopping_{false};
  std::thread service_;
};

class KvEventSourcesTest : public testing::Test {
 protected:
  explicit KvEventSourcesTest(const std::string& listen = "") {
    KvEventsConfig config;
    config.index = {.max_bytes = 8 << 20, .max_endpoints = 8};
    config.listen = listen;
    config.first_retry = 10 * kMillisecond;
    config.max_retry = 100 * kMillisecond;
    config.replay_timeout = kSecond;
    sources_.emplace(config, registry_,
                     [this](const std::string& id, std::optional<kv::EndpointNumber> number) {
                       std::lock_guard lock(mutex_);
                       numbers_[id] = number;
                     });
    EXPECT_TRUE(sources_->start());
    reader_.emplace(*kv::KvIndex::Reader::join(sources_->index()));
  }
  ~KvEventSourcesTest() override { sources_->stop(); }

  // Leading tokens that the endpoint holds.
  size_t held(const std::string& id, std::string_view tokens) {
    std::vector<uint32_t> ids(tokens.begin(), tokens.end());
    std::vector<kv::Fingerprint> chain;
    kv::Fingerprinter().chain(kv::Fingerprinter::root(""), ids, 1, {}, chain);
    std::vector<kv::KvIndex::Match> found;
    reader_->match(chain, found);
    std::lock_guard lock(mutex_);
    const auto match = std::ranges::find_if(found, [&](const auto& m) { return numbers_[id] == m.endpoint; });
    return match == found.end() ? 0 : match->blocks;
  }
  KvSourceView view(const std::string& id) {
    for (KvSourceView& source : sources_->sources()) {
      if (source.id == id) return source;
    }
    return {};
  }
  template <class Condition>
  static bool eventually(Condition condition) {
    const auto end = std::chrono::steady_clock::now() + kPatience;
    while (!condition()) {
      if (std::chrono::steady_clock::now() > end) return false;
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
    return true;
  }

  Registry registry_;
  std::mutex mutex_;
  std::map<std::string, std::optional<kv::EndpointNumber>> numbers_;
  std::optional<KvEventSources> sources_;
  std::optional<kv::KvIndex::Reader> reader_;
};

TEST_F(KvEventSourcesTest, FollowsAPublisherThatListens) {
  Publisher engine("kv@a");
  sources_->set_source({"a", engine.endpoint, "", "kv@a"});
  engine.wait_for_subscriber();
  engine.publish(stored(1, "abc"));
  EXPECT_TRUE(eventually([&] { return held("a", "abcd") == 3; }));
  engine.publish(removed(3));
  EXPECT_TRUE(eventually([&] { return held("a", "abcd") == 2; }));
  EXPECT_TRUE(view("a").complete);
  EXPECT_EQ(view("a").reason, Reason::None);
  sources_->remove_source("a");
  EXPECT_TRUE(eventually([&] { return held("a", "abcd") == 0; }));
}

TEST_F(KvEventSourcesTest, WhatWasPublishedBeforeIsAskedFor) {
  Publisher engine("kv@a");
  engine.publish(stored(1, "abc"));
  engine.publish(removed(3));
  sources_->set_source({"a", engine.endpoint, engine.replay_endpoint, "kv@a"});
  EXPECT_TRUE(eventually([&] { return held("a", "abc") == 2; }));
  EXPECT_TRUE(view("a").complete);
}

TEST_F(KvEventSourcesTest, ALostMessageIsReplayed) {
  Publisher engine("kv@a");
  sources_->set_source({"a", engine.endpoint, engine.replay_endpoint, ""});
  engine.wait_for_subscriber();
  engine.publish(stored(1, "abc"));
  EXPECT_TRUE(eventually([&] { return held("a", "abc") == 3; }));
  engine.publish(removed(2), true);
  engine.publish(stored(7, "xy"));
  EXPECT_TRUE(eventually([&] { return held("a", "xy") == 2; }));
  EXPECT_EQ(held("a", "abc"), 1);
  EXPECT_TRUE(view("a").complete);
  EXPECT_EQ(view("a").stats.gaps, 1);
}

TEST_F(KvEventSourcesTest, WithoutReplayALossIsForgotten) {
  Publisher engine("kv@a");
  sources_->set_source({"a", engine.endpoint, "", ""});
  engine.wait_for_subscriber();
  engine.publish(stored(1, "abc"));
  engine.publish(removed(1), true);
  engine.publish(stored(7, "xy"));
  EXPECT_TRUE(eventually([&] { return held("a", "xy") == 2; }));
  EXPECT_EQ(held("a", "abc"), 0);
  EXPECT_FALSE(view("a").complete);
  EXPECT_EQ(view("a").stats.losses, 1);
}

TEST_F(KvEventSourcesTest, ARestartedEngineHoldsNothingOfBefore) {
  auto engine = std::make_unique<Publisher>("kv@a");
  const std::string endpoint = engine->endpoint, replay = engine->replay_endpoint;
  sources_->set_source({"a", endpoint, replay, ""});
  engine->publish(stored(1, "abc"));
  engine->publish(stored(4, "def"));
  EXPECT_TRUE(eventually([&] { return held("a", "def") == 3; }));
  engine.reset();
  EXPECT_TRUE(eventually([&] { return view("a").reason == Reason::KvEventsUnreachable; }));
  EXPECT_EQ(held("a", "abc"), 0);  // not known
  Publisher again("kv@a");         // elsewhere, which is news of the supervisor's
  again.publish(stored(1, "xyz"));
  sources_->set_source({"a", again.endpoint, again.replay_endpoint, ""});
  EXPECT_TRUE(eventually([&] { return held("a", "xyz") == 3; }));
  EXPECT_EQ(held("a", "abc"), 0);
}

TEST_F(KvEventSourcesTest, ALostConnectionIsVerified) {
  Publisher engine("kv@a");
  sources_->set_source({"a", engine.endpoint, engine.replay_endpoint, ""});
  engine.publish(stored(1, "abc"));
  EXPECT_TRUE(eventually([&] { return held("a", "abc") == 3; }));
  engine.publish_raw(std::string(kMaxMessageBytes + 1, 'x'), false);  // too large: the connection ends
  EXPECT_TRUE(eventually([&] { return view("a").stats.replay_failures > 0; }));
  engine.publish(stored(7, "xy"));
  EXPECT_TRUE(eventually([&] { return held("a", "xy") == 2; }));
}

TEST_F(KvEventSourcesTest, GarbageForgetsOneEndpointOnly) {
  Publisher good("kv@a"), bad("kv@b");
  sources_->set_source({"a", good.endpoint, "", ""});
  sources_->set_source({"b", bad.endpoint, "", ""});
  good.wait_for_subscriber();
  bad.wait_for_subscriber();
  good.publish(stored(1, "abc"));
  bad.publish(stored(1, "abc"));
  EXPECT_TRUE(eventually([&] { return held("a", "abc") == 3 && held("b", "abc") == 3; }));
  bad.publish_raw(std::string("\x93\xc0\xdd\x7f\xff\xff\xff", 7));
  EXPECT_TRUE(eventually([&] { return view("b").stats.malformed == 1; }));
  EXPECT_EQ(held("b", "abc"), 0);
  EXPECT_EQ(held("a", "abc"), 3);
}

class KvEventListenerTest : public KvEventSourcesTest {
 protected:
  // A port that was free a moment ago.
  static std::string free_address() {
    void* context = zmq_ctx_new();
    char text[256];
    size_t size = sizeof text;
    {
      ZmqSocket socket(context, ZMQ_PUB);
      EXPECT_TRUE(socket.bind("tcp://127.0.0.1:*"));
      zmq_getsockopt(socket.get(), ZMQ_LAST_ENDPOINT, text, &size);
    }
    zmq_ctx_term(context);
    return text;
  }
  KvEventListenerTest() : KvEventListenerTest(free_address()) {}
  explicit KvEventListenerTest(const std::string& address) : KvEventSourcesTest(address), address_(address) {}
  const std::string address_;
};

TEST_F(KvEventListenerTest, PublishersThatConnectAreToldApartByTopic) {
  sources_->set_source({"a", "", "", "kv@a"});
  sources_->set_source({"b", "", "", "kv@b"});
  Publisher a("kv@a", address_), b("kv@b", address_), stranger("kv@c", address_);
  for (Publisher* publisher : {&a, &b, &stranger}) publisher->wait_for_subscriber();
  stranger.publish(stored(1, "abc"));
  a.publish(stored(1, "abc"));
  b.publish(stored(1, "ab"));
  EXPECT_TRUE(eventually([&] { return held("a", "abc") == 3 && held("b", "abc") == 2; }));
}

TEST_F(KvEventListenerTest, AnEndOfOnePublisherLeavesNoPhantomOfIt) {
  auto a = std::make_unique<Publisher>("kv@a", address_);
  Publisher b("kv@b", address_);
  sources_->set_source({"a", "", "", "kv@a"});
  sources_->set_source({"b", "", b.replay_endpoint, "kv@b"});
  a->wait_for_subscriber();
  b.wait_for_subscriber();
  a->publish(stored(1, "abc"));
  b.publish(stored(1, "abc"));
  EXPECT_TRUE(eventually([&] { return held("a", "abc") == 3 && held("b", "abc") == 3; }));
  a.reset();
  EXPECT_TRUE(eventually([&] { return held("a", "abc") == 0; }));
  b.publish(stored(4, "xy"));  // perhaps while it is not connected: then a replay brings it
  EXPECT_TRUE(eventually([&] { return held("b", "abc") == 3 && held("b", "xy") == 2; }));
  EXPECT_TRUE(view("b").complete);
}

TEST(KvEventListener, AnAddressThatIsNoneIsRefused) {
  Registry registry;
  KvEventsConfig config;
  config.listen = "tcp://no-such-address";
  KvEventSources sources(config, registry, [](const std::string&, std::optional<kv::EndpointNumber>) {});
  const Status started = sources.start();
  ASSERT_FALSE(started);
  EXPECT_EQ(started.error().reason, Reason::KvEventsUnreachable);
}

}  // namespace
}  // namespace tweendeck::routing::sources
