// Bytes on their way to a socket, in order. Small pieces are copied together; large ones stay where they are and
// are only referred to, so that a body passes through the process without being copied again.
//
// One thread. What a referred piece's owner holds is not changed until the piece has been sent.
#pragma once

#include <sys/uio.h>

#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace tweendeck::net::http2 {

class OutQueue {
 public:
  using Owner = std::shared_ptr<const std::string>;

  void append(std::string_view bytes);               // copied
  void append(Owner owner, std::string_view bytes);  // a part of *owner; copied when that is cheaper

  size_t size() const { return size_; }  // bytes that are still here
  bool empty() const { return size_ == 0; }

  int front(iovec* parts, int max) const;   // the first pieces; how many were filled in
  void pop(size_t bytes);                   // the first so many were sent
  void take(OutQueue& from, size_t bytes);  // moves the first so many of `from` to the end of this queue
  void clear();

 private:
  struct Piece {
    Owner owner;  // null: in flat_
    size_t at;    // in *owner, or in all that flat_ has ever held
    size_t size;
  };
  const char* data(const Piece& piece) const;
  void compact();

  std::string flat_;
  size_t flat_gone_ = 0;  // bytes that flat_ held once, before what it holds now
  std::vector<Piece> pieces_;
  size_t head_ = 0;  // of pieces_
  size_t size_ = 0;
};

}  // namespace tweendeck::net::http2
