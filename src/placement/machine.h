// One machine on the engine: what its devices and its slice journal say becomes events, the engine's decisions become
// devices for slices. It decides nothing itself.
//
//   machine.observe(devices, slices);              // before every use: what differs from what the engine knows
//   Decision decision = machine.place(claim, ids);  // reserved, or refused with the reason
//   machine.confirm(id); machine.give_back(id);     // once the slice is prepared, or could not be
//
// Each device is a node of its own (machine_facts.h), each slice a claim. The slices of one deployment are a family: with
// `distinct_devices` or `Spread` they keep apart. All slices of a claim are placed or none; they are equal, so placing one
// after the other finds room whenever any assignment would.
//
// Nothing waits here: who was refused is withdrawn and asks again, whose turn it is is serving's business. So the
// engine needs no time, and every event has time 0. After a restart a new Machine is told the same devices and slices,
// adopts them, and decides as the old one would have.
//
// Pure. Not safe for concurrent use.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "placement/engine.h"
#include "placement/refusal.h"

namespace tweendeck::placement {

// Shapes are never forgotten, so past this many the engine starts anew from what there is.
inline constexpr size_t kMaxMachineShapes = 16'384;

struct Decision {
  std::vector<std::string> device_ids;  // one per slice of the claim, in order; empty when refused
  std::optional<Refusal> refusal;
  bool placed() const { return !refusal.has_value(); }
  bool operator==(const Decision&) const = default;
};

class Machine {
 public:
  Machine();

  // `devices`: ids are unique; where devices are equally good the first one is taken. `slices`: everything that is held,
  // being prepared or being released; ids are unique. What the devices of slices that are not there hold is booked when
  // they come back. Memory that slices hold beyond what a device has stays booked; compute beyond all of it is not.
  void observe(const std::vector<Device>& devices, const std::vector<Slice>& slices);

  // One new id per slice of the claim. Reserved until confirm, fail or the next observe.
  Decision place(const MachineClaim& claim, const std::vector<std::string>& slice_ids);
  void confirm(const std::string& slice_id);
  void give_back(const std::string& slice_id);

  // Gives a held slice another share where it is: less always, more when it is free and the device is healthy. Errors:
  // NotFound (the slice or its device), InsufficientMemory, InsufficientCompute, DeviceUnhealthy, InvalidArgument.
  Status resize(const std::string& slice_id, const Share& wanted);

  // Whether the device of a held slice is there and still has what its slices hold: slices that were made before it went
  // away or shrank are not made again on what is not there. Errors: DeviceGone.
  Status holds(const std::string& slice_id) const;

  const Engine& engine() const { return *engine_; }

 private:
  struct Held {
    Slice slice;
    ClaimId claim = 0;         // 0 = not booked: its device is not there
    uint64_t reservation = 0;  // until it is confirmed
    FamilyId family = 0;
  };

  void start_anew();
  void observe_devices(const std::vector<Device>& devices);
  bool in_order() const;
  void adopt(Held& held);
  void withdraw(const Held& held);
  FamilyId family_of(const std::string& deployment);
  std::vector<ClaimDecision> send(const Event& event);
  Result<uint32_t> shape_number(const Request& request);
  bool reserve(const MachineClaim& claim, uint32_t shape, FamilyId family, const std::string& slice_id);
  NodeIndex node_of(const Slice& slice) const;
  Error resize_problem(const Slice& slice, const Share& wanted) const;
  std::vector<HeldSlice> held_slices() const;

  std::unique_ptr<Engine> engine_;
  std::vector<Device> devices_;
  std::map<std::string, NodeFacts> known_;  // nodes that the engine has, by name
  std::map<std::string, Held> held_;        // by slice id
  std::map<std::string, uint32_t> shapes_;  // numbers, by request as text
  bool squeezed_ = false;                   // slices hold more compute than there is
  ClaimId claims_ = 0;
  FamilyId families_ = 0;
};

}  // namespace tweendeck::placement
