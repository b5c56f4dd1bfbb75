// One engine's messages put in order: loss, repetition, restarts.
//
// A publisher numbers its messages from 0, sends each once, and keeps the last ones for who asks again (replay).
// It says nothing when it starts anew. So:
//
// - a number that is missing: what the engine holds is in doubt. The endpoint is hidden and the missing part is
//   asked for; what comes meanwhile waits. Without an answer everything is forgotten: an empty index is right.
// - a number that was there already: the same message is ignored; another one means that the engine restarted.
// - a connection that was lost: the engine may have restarted and counted on. The last message that was applied
//   is asked for again; only if it is the same one, the rest follows from it.
//
// Pure; one thread, the index's writer. Who owns the sockets calls on_...(), and then looks at take_request().
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <string_view>

#include "routing/kv/index.h"
#include "routing/kv/vllm_hash.h"

namespace tweendeck::routing::kv {

inline constexpr size_t kMaxHeldMessages = 8192;  // that wait for a replay
inline constexpr size_t kMaxHeldBytes = size_t{32} << 20;
inline constexpr int kMaxReplays = 3;  // in a row, until everything is forgotten instead
inline constexpr size_t kRememberedMessages = 64;

struct StreamStats {
  uint64_t messages = 0;
  uint64_t bytes = 0;
  uint64_t duplicates = 0;
  uint64_t gaps = 0;             // numbers were missing
  uint64_t replays = 0;          // asked for
  uint64_t replay_failures = 0;  // no answer
  uint64_t restarts = 0;
  uint64_t losses = 0;  // what the engine held had to be forgotten, though it had not restarted
  uint64_t malformed = 0;
};

class EventStream {
 public:
  enum class State : uint8_t { Live, Replaying, Away };

  EventStream(KvIndex& index, EndpointNumber endpoint, bool can_replay)
      : index_(&index), endpoint_(endpoint), can_replay_(can_replay) {}

  void on_message(uint64_t seq, std::string_view payload);
  void on_replayed(uint64_t seq, std::string_view payload);
  void on_replay_end();
  void on_replay_failed();
  void on_connected();
  void on_disconnected();
  void on_other_process();  // somebody who knows says that the engine was started anew

  // From which number to ask for a replay. A request replaces the one before, whose answers no longer count.
  std::optional<uint64_t> take_request();

  State state() const { return state_; }
  // What the index holds is all that the engine holds: nothing was missed since it started.
  bool complete() const { return state_ == State::Live && complete_; }
  HashScheme scheme() const { return scheme_; }
  const StreamStats& stats() const { return stats_; }

 private:
  struct Remembered {
    uint64_t seq = UINT64_MAX;
    uint64_t digest = 0;
  };
  struct Held {
    uint64_t seq;
    std::string payload;
  };

  void in_order(uint64_t seq, std::string_view payload);
  void apply(uint64_t seq, std::string_view payload);
  bool seen(uint64_t seq, std::string_view payload) const;
  bool replayed(const Held& message) const;
  void hold(uint64_t seq, std::string_view payload);
  void forget();
  bool ask();  // false: enough was asked
  void go_live();

  KvIndex* index_;
  EndpointNumber endpoint_;
  bool can_replay_;
  State state_ = State::Live;
  bool known_ = false;  // next_ means something
  bool complete_ = false;
  bool verify_ = false;  // the replay's first message must be the last one that was applied
  uint64_t next_ = 0;
  uint64_t replayed_from_ = 0;  // what was applied begins here, if with a replay
  int asked_ = 0;               // in a row
  std::optional<uint64_t> request_;
  std::deque<Held> held_;
  size_t held_bytes_ = 0;
  std::array<Remembered, kRememberedMessages> remembered_{};  // place = seq modulo size
  Event event_;                                               // its buffers are used again
  HashScheme scheme_ = HashScheme::Unknown;
  int recognitions_ = 0;
  StreamStats stats_;
};

}  // namespace tweendeck::routing::kv
