#include "routing/kv/stream.h"

#include <xxhash.h>

#include <utility>

namespace tweendeck::routing::kv {
namespace {

constexpr int kMaxRecognitions = 16;  // events that are looked at for the engine's way of hashing

uint64_t digest_of(std::string_view payload) {
  return XXH3_64bits(payload.data(), payload.size());
}

}  // namespace

std::optional<uint64_t> EventStream::take_request() {
  return std::exchange(request_, std::nullopt);
}

bool EventStream::seen(uint64_t seq, std::string_view payload) const {
  const Remembered& there = remembered_[seq % kRememberedMessages];
  return there.seq == seq && there.digest == digest_of(payload);
}

void EventStream::apply(uint64_t seq, std::string_view payload) {
  if (!known_) complete_ = seq == 0;
  EventReader reader(payload);
  while (reader.next(event_)) {
    if (scheme_ == HashScheme::Unknown && recognitions_ < kMaxRecognitions &&
        event_.type == Event::Type::Stored) {
      ++recognitions_;
      scheme_ = recognize(event_);
    }
    index_->apply(endpoint_, event_);
  }
  known_ = true;
  next_ = seq + 1;
  remembered_[seq % kRememberedMessages] = {seq, digest_of(payload)};
  if (!reader.malformed()) return;
  ++stats_.malformed;
  complete_ = false;
  index_->clear(endpoint_);
}

void EventStream::forget() {
  index_->clear(endpoint_);
  known_ = false;
  complete_ = false;
  verify_ = false;
  next_ = 0;
  replayed_from_ = 0;
  remembered_.fill({});
  scheme_ = HashScheme::Unknown;
  recognitions_ = 0;
}

bool EventStream::ask() {
  if (!can_replay_ || asked_ == kMaxReplays) return false;
  ++asked_;
  ++stats_.replays;
  state_ = State::Replaying;
  verify_ = known_ && next_ > 0;
  request_ = verify_ ? next_ - 1 : 0;
  index_->set_visible(endpoint_, false);
  return true;
}

void EventStream::hold(uint64_t seq, std::string_view payload) {
  held_.push_back({seq, std::string(payload)});
  held_bytes_ += payload.size();
  if (held_.size() <= kMaxHeldMessages && held_bytes_ <= kMaxHeldBytes) return;
  // The replay does not keep up: begin anew with what waits.
  ++stats_.losses;
  forget();
  asked_ = kMaxReplays;
  request_.reset();
  go_live();
}

// While live.
void EventStream::in_order(uint64_t seq, std::string_view payload) {
  if (known_ && seq < next_) {
    if (seen(seq, payload)) {
      ++stats_.duplicates;
      return;
    }
    ++stats_.restarts;
    forget();
  }
  const bool follows = known_ ? seq == next_ : seq == 0;
  if (!follows) {
    if (known_) ++stats_.gaps;
    if (ask()) return hold(seq, payload);
    if (known_) {
      ++stats_.losses;
      forget();
    }
  }
  apply(seq, payload);
}

// A message that waited and that the replay brought too, or is older than what the replay still had.
bool EventStream::replayed(const Held& message) const {
  if (!known_ || message.seq >= next_) return false;
  return message.seq < replayed_from_ || message.seq + kRememberedMessages < next_ ||
         seen(message.seq, message.payload);
}

void EventStream::go_live() {
  state_ = State::Live;
  verify_ = false;
  std::deque<Held> held = std::exchange(held_, {});
  held_bytes_ = 0;
  for (const Held& message : held) {
    if (state_ != State::Live) {
      hold(message.seq, message.payload);
    } else if (!replayed(message)) {
      in_order(message.seq, message.payload);
    }
  }
  if (state_ == State::Live) index_->set_visible(endpoint_, true);
}

void EventStream::on_message(uint64_t seq, std::string_view payload) {
  ++stats_.messages;
  stats_.bytes += payload.size();
  if (state_ == State::Away) on_connected();
  if (state_ == State::Replaying) return hold(seq, payload);
  const bool expected = known_ && seq == next_;
  in_order(seq, payload);
  if (expected) asked_ = 0;
}

void EventStream::on_replayed(uint64_t seq, std::string_view payload) {
  if (state_ != State::Replaying) return;
  stats_.bytes += payload.size();
  if (verify_) {
    if (seq + 1 < next_) return;
    verify_ = false;
    if (seq + 1 == next_) {
      if (seen(seq, payload)) return;
      ++stats_.restarts;
      forget();
      if (!ask()) go_live();
      return;
    }
    ++stats_.losses;  // it keeps no messages that old
    forget();
  }
  if (known_ && seq < next_) return;
  if (known_ && seq > next_) {
    ++stats_.losses;
    forget();
  }
  if (!known_) replayed_from_ = seq;
  apply(seq, payload);
}

void EventStream::on_replay_end() {
  if (state_ != State::Replaying) return;
  if (verify_) {  // it never sent what we have of it
    ++stats_.restarts;
    forget();
  }
  go_live();
}

void EventStream::on_replay_failed() {
  if (state_ != State::Replaying) return;
  ++stats_.replay_failures;
  if (ask()) return;
  if (known_) ++stats_.losses;
  forget();
  go_live();
}

void EventStream::on_connected() {
  if (state_ == State::Replaying || (state_ == State::Live && known_)) return;
  state_ = State::Live;
  asked_ = 0;
  if (ask()) return;
  forget();
  go_live();
}

void EventStream::on_disconnected() {
  held_.clear();
  held_bytes_ = 0;
  request_.reset();
  asked_ = 0;
  if (known_ && can_replay_) {
    state_ = State::Away;
    index_->set_visible(endpoint_, false);
    return;
  }
  if (known_) ++stats_.losses;
  forget();
  go_live();
}

void EventStream::on_other_process() {
  held_.clear();
  held_bytes_ = 0;
  request_.reset();
  asked_ = 0;
  if (known_) ++stats_.restarts;
  forget();
  go_live();
}

}  // namespace tweendeck::routing::kv
