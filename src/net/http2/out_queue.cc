#include "net/http2/out_queue.h"

#include <algorithm>
#include <utility>

namespace tweendeck::net::http2 {
namespace {

// Below this, copying costs less than one more piece.
constexpr size_t kCopiedBytes = 1024;
constexpr size_t kCompactBytes = 64 * 1024;
constexpr size_t kCompactPieces = 256;

}  // namespace

const char* OutQueue::data(const Piece& piece) const {
  return piece.owner ? piece.owner->data() + piece.at : flat_.data() + (piece.at - flat_gone_);
}

void OutQueue::append(std::string_view bytes) {
  if (bytes.empty()) return;
  const bool joins = head_ < pieces_.size() && !pieces_.back().owner;
  if (joins) {
    pieces_.back().size += bytes.size();
  } else {
    pieces_.push_back({nullptr, flat_gone_ + flat_.size(), bytes.size()});
  }
  flat_ += bytes;
  size_ += bytes.size();
}

void OutQueue::append(Owner owner, std::string_view bytes) {
  if (bytes.size() < kCopiedBytes) return append(bytes);
  const auto at = static_cast<size_t>(bytes.data() - owner->data());
  pieces_.push_back({std::move(owner), at, bytes.size()});
  size_ += bytes.size();
}

int OutQueue::front(iovec* parts, int max) const {
  int count = 0;
  for (size_t i = head_; i < pieces_.size() && count < max; ++i, ++count) {
    parts[count] = {const_cast<char*>(data(pieces_[i])), pieces_[i].size};
  }
  return count;
}

void OutQueue::pop(size_t bytes) {
  size_ -= bytes;
  while (bytes > 0) {
    Piece& first = pieces_[head_];
    const size_t now = std::min(bytes, first.size);
    first.at += now;
    first.size -= now;
    bytes -= now;
    if (first.size == 0) pieces_[head_++].owner.reset();
  }
  compact();
}

void OutQueue::take(OutQueue& from, size_t bytes) {
  from.size_ -= bytes;
  while (bytes > 0) {
    Piece& first = from.pieces_[from.head_];
    const size_t now = std::min(bytes, first.size);
    const std::string_view part(from.data(first), now);
    if (!first.owner) {
      append(part);
    } else {
      append(now == first.size ? std::move(first.owner) : first.owner, part);
    }
    first.at += now;
    first.size -= now;
    bytes -= now;
    if (first.size == 0) from.pieces_[from.head_++].owner.reset();
  }
  from.compact();
}

void OutQueue::compact() {
  if (size_ == 0) return clear();
  if (head_ >= kCompactPieces && head_ * 2 >= pieces_.size()) {
    pieces_.erase(pieces_.begin(), pieces_.begin() + static_cast<std::ptrdiff_t>(head_));
    head_ = 0;
  }
  if (flat_.size() < kCompactBytes) return;
  size_t needed = flat_gone_ + flat_.size();  // the first byte of flat_ that is still to be sent
  for (size_t i = head_; i < pieces_.size(); ++i) {
    if (!pieces_[i].owner) {
      needed = pieces_[i].at;
      break;
    }
  }
  const size_t sent = needed - flat_gone_;
  if (sent * 2 < flat_.size()) return;
  flat_.erase(0, sent);
  flat_gone_ += sent;
}

void OutQueue::clear() {
  flat_gone_ += flat_.size();
  flat_.clear();
  pieces_.clear();
  head_ = size_ = 0;
}

}  // namespace tweendeck::net::http2
