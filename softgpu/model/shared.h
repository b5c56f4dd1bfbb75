// The mapped device-model file, its lock and its undo log.
//
// A change of several words is a transaction: put() records the old value before it writes, commit() forgets
// the records. Whoever gets the lock after its holder was killed finds the records and restores the old
// values, so that a transaction happened completely or not at all. All but open() and create(): the lock is
// held.
#pragma once

#include <cstdint>
#include <expected>
#include <string>
#include <vector>

#include "softgpu/model/layout.h"

namespace tweendeck::softgpu {

struct CreateOptions {
  std::vector<CardInfo> cards;
  ClockMode clock = ClockMode::Real;
  uint64_t start_clients = 0;
  uint64_t slice_ns = kDefaultSliceNs;
};

uint64_t monotonic_ns();

class Shared {
 public:
  // Fails where `path` exists. The file appears complete or not at all; mode 0666, as a GPU's device node
  // has.
  static std::expected<void, std::string> create(const std::string& path, const CreateOptions& options);
  static std::expected<Shared, std::string> open(const std::string& path);

  Shared(Shared&& other) noexcept;
  Shared(const Shared&) = delete;
  Shared& operator=(const Shared&) = delete;
  ~Shared();

  Header& header() const { return *reinterpret_cast<Header*>(base_); }
  Card& card(uint64_t index) const {
    return *reinterpret_cast<Card*>(base_ + kCardsOffset + index * kCardStride);
  }

  void put(Word& word, uint64_t value);
  void add(Word& word, uint64_t delta) { put(word, word.load(std::memory_order_relaxed) + delta); }
  void commit() { header().undo.count.store(0, std::memory_order_release); }

  // Owner marks: a file lock on one byte per client slot that the kernel gives back when the process ends.
  int take_mark(uint32_t slot) const;  // a descriptor that holds the mark, or -1 when another has it
  bool mark_is_held(uint32_t slot) const;

  void lock();
  void unlock();
  // Wakes who waits on the word, after unlock(): the woken one needs the lock. One word; nullptr = nobody.
  void wake_later(const Word* word) { wake_ = word; }

 private:
  Shared(std::string path, int fd, char* base) : path_(std::move(path)), fd_(fd), base_(base) {}
  void roll_back();

  std::string path_;
  int fd_ = -1;
  char* base_ = nullptr;
  const Word* wake_ = nullptr;
};

class Locked {
 public:
  explicit Locked(Shared& shared) : shared_(shared) { shared_.lock(); }
  ~Locked() { shared_.unlock(); }
  Locked(const Locked&) = delete;
  Locked& operator=(const Locked&) = delete;

 private:
  Shared& shared_;
};

}  // namespace tweendeck::softgpu
