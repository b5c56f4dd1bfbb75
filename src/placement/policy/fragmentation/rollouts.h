// The value of what is left on a node: how much of it the expected requests would still use.
//
// kSequences fixed sequences of kSequenceLength requests are cut from one shuffled deck that holds the learned mix in
// exact proportion. Each is offered to the node alone, in order: a request that fits goes where the least is left, one
// that does not is skipped. The value is the device share placed, summed over all sequences. Every state meets the
// same sequences, so that chance cancels in differences; and it is a sum of integers, equal on every machine.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "placement/policy/fragmentation/catalog.h"
#include "placement/policy/fragmentation/demand.h"
#include "placement/policy/fragmentation/state.h"

namespace tweendeck::placement::fragmentation {

inline constexpr uint32_t kSequences = 32;
// Long enough that an empty node of eight devices fills: shorter ones make it look unfillable.
inline constexpr uint32_t kSequenceLength = 50;
static_assert(kSequenceLength <= 64);  // a sequence is a word of bits

// Indices into the mix: kSequences * kSequenceLength of them.
std::vector<uint16_t> shuffled_deck(std::span<const KindCount> mix);

// The sequences as one type of node meets them.
class Rollouts {
 public:
  Rollouts(const Catalog& catalog, uint16_t type, std::span<const KindCount> mix);
  // Types whose nodes meet the same requests share a value, so a deck is dealt to one of them only.
  bool same_as(const Rollouts& other) const;
  void deal(std::span<const uint16_t> deck);
  // Sum over the sequences, permille of a device.
  int32_t value(const State& state) const;

 private:
  struct Entry {  // of the mix
    uint32_t cpu_milli = 0;
    uint32_t devices = 0;
    std::vector<Need> needs;  // by group
    bool operator==(const Entry&) const = default;
  };
  struct Pick {  // what the hot loop reads of an entry when there is one group
    uint32_t cpu_milli = 0;
    uint16_t devices = 0;
    uint16_t need = 0;
  };

  void make_masks();
  int32_t value_one_dimension(const State& state) const;
  int32_t value_any(const State& state) const;
  uint64_t candidates(uint32_t sequence, uint32_t largest_rest, uint32_t cpu_milli) const;

  std::vector<Entry> mix_;
  std::vector<uint16_t> deck_;
  std::array<uint8_t, kMaxDevicesPerNode> group_of_{};
  bool one_dimension_ = true;  // one group, no memory asked, more than one device only whole
  std::vector<Pick> picks_;    // by place in the deck
  // Bit i of a sequence's word: its i-th request may fit when so much is left. By sequence, then row.
  std::array<uint8_t, kWholeRest + 1> rest_row_{};
  std::vector<uint64_t> rest_masks_;
  size_t rest_rows_ = 0;
  static constexpr uint32_t kCpuRows = 64;  // of kCpuStep; the last one stands for all above
  std::array<uint8_t, kCpuRows> cpu_row_{};
  std::vector<uint64_t> cpu_masks_;
  size_t cpu_rows_ = 0;
  std::array<uint64_t, kSequences> device_masks_{};  // asks for devices at all
};

}  // namespace tweendeck::placement::fragmentation
