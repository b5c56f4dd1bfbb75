// Gangs as the engine knows them: who belongs to them and how they stand.
#pragma once

#include <cstdint>
#include <unordered_map>
#include <vector>

#include "placement/claim_table.h"
#include "placement/gang/gang.h"

namespace tweendeck::placement {

inline constexpr size_t kMaxGroups = 1u << 16;

// A gang is started when all its roles got at least their minimum at once. It stays so while each role holds or has
// ended at least that many; otherwise it is broken: everybody gives back what he holds, and it waits as a whole.
// Members that were stopped for others have not ended: as many may come in their place. A member that is adopted
// proves that its gang has started: those of the minimum that nobody told of may have ended.
struct Group {
  GroupId id = 0;
  bool used = false;
  bool started = false;
  bool ready = false;     // something changed that may let it go on
  bool quota = false;     // barred by its queue or namespace
  bool promised = false;  // others are being stopped for it, as promise `promise` of the handovers
  bool stopping = false;  // all that hold something are being stopped
  uint16_t failures = 0;
  uint32_t waiting = 0;  // members that hold nothing
  uint64_t order = 0;
  uint64_t promise = 0;
  QueueId queue = kNoQueue;
  NamespaceId space = kNoNamespace;
  int32_t priority = 0;
  int64_t tried_ms = 0;
  int64_t rest_until_ms = 0;
  Gang gang;
  std::vector<std::vector<ClaimSlot>> members;  // by role, in order of submission
  std::vector<uint32_t> ended;                  // by role, since it started
  std::vector<uint32_t> unknown;  // by role: were placed before the engine was told, may have ended
  std::vector<Reason> reasons;    // by role: why its members wait

  uint32_t needed(size_t role) const {
    const uint32_t gone = ended[role] + unknown[role];
    return gang.roles[role].min > gone ? gang.roles[role].min - gone : 0;
  }
  void set_reason(Reason reason) { reasons.assign(members.size(), reason); }
  bool gathered() const {
    for (size_t role = 0; role < members.size(); ++role) {
      if (members[role].size() < needed(role)) return false;
    }
    return true;
  }
  bool empty() const {
    for (const auto& role : members) {
      if (!role.empty()) return false;
    }
    return true;
  }
};

class Groups {
 public:
  using Index = uint32_t;
  static constexpr Index kNone = UINT32_MAX;
  Index find(GroupId id) const;
  Index add(GroupId id);  // must be unknown
  void erase(Index index);
  Group& operator[](Index index) { return groups_[index]; }
  const Group& operator[](Index index) const { return groups_[index]; }
  size_t size() const { return ids_.size(); }
  size_t slots() const { return groups_.size(); }

 private:
  std::unordered_map<GroupId, Index> ids_;  // looked up only
  std::vector<Group> groups_;
  std::vector<Index> free_;
};

}  // namespace tweendeck::placement
