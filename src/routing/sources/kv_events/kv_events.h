// Receives engines' KV events over ZeroMQ and keeps the KvIndex by them, on a thread of its own.
//
//   KvEventSources sources(config, registry, on_endpoint);
//   sources.start();
//   sources.set_source({.id = "chat-1", .publisher = "tcp://127.0.0.1:5557", .replay = "tcp://127.0.0.1:5558"});
//
// An engine's publisher either listens and we connect to it, or it connects to us (`listen` of the
// configuration), which vLLM does when its endpoint holds no `*`; then its topic tells whose messages they are.
//
// A socket is used for one connection: when that ends, what still waits in it is dropped and a new one is made,
// since an engine that restarted numbers its messages anew. A publisher's end on the shared listening socket
// ends the others' connections too; they come again, and their next message or a replay shows that nothing was
// lost. Without a replay socket every lost connection makes the index forget the endpoint.
//
// Bounds: kMaxMessageBytes, kQueuedMessages per connection (more stays with the publisher), kMaxSources, and
// the index's own budget. All public functions are safe from any thread.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/metrics.h"
#include "base/result.h"
#include "routing/kv/index.h"
#include "routing/kv/stream.h"

namespace tweendeck::routing::sources {

inline constexpr int64_t kMaxMessageBytes = 4 << 20;
inline constexpr int kQueuedMessages = 256;
inline constexpr size_t kMaxSources = kv::kMaxEndpoints;

struct KvEventsConfig {
  kv::KvIndexConfig index;
  std::string listen;                      // "tcp://0.0.0.0:5557": publishers connect here; "" = none do
  Nanos first_retry = 100 * kMillisecond;  // of a connection or a replay that failed; doubles up to max_retry
  Nanos max_retry = 5 * kSecond;
  Nanos replay_timeout = 5 * kSecond;  // without any answer
};

struct KvSource {
  std::string id;         // the endpoint
  std::string publisher;  // "tcp://10.0.0.7:5557"; "" = it connects to `listen`
  std::string replay;     // "tcp://10.0.0.7:5558"; "" = it has none
  std::string topic;      // that its messages have; "" = any, where we connect
  bool operator==(const KvSource&) const = default;
};

struct KvSourceView {
  std::string id;
  Reason reason = Reason::None;  // why its cache is not known: KvEventsUnreachable, KvEventsInDoubt
  bool complete = false;         // everything since the engine's start is known
  uint64_t blocks = 0;
  uint32_t block_tokens = 0;
  kv::HashScheme scheme = kv::HashScheme::Unknown;
  kv::StreamStats stats;
};

class KvEventSources {
 public:
  // Called on the sources' thread: the endpoint's number in the index, nullopt once it has none any more.
  using OnEndpoint = std::function<void(const std::string& id, std::optional<kv::EndpointNumber> number)>;

  KvEventSources(const KvEventsConfig& config, Registry& registry, OnEndpoint on_endpoint);
  ~KvEventSources();  // stop()

  Status start();                           // Errors: KvEventsUnreachable when `listen` cannot be listened on
  void stop();                              // idempotent; nothing is called afterwards
  void set_source(const KvSource& source);  // adds; another address or topic makes it a new one
  void remove_source(const std::string& id);
  void restarted(const std::string& id);  // its engine is a new process

  kv::KvIndex& index();                 // for its readers, from construction to destruction
  std::vector<KvSourceView> sources();  // waits for the thread

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace tweendeck::routing::sources
