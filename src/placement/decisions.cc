// Decisions on their way out: words, and the digest that every one goes into.
#include "placement/engine.h"

namespace tweendeck::placement {

std::string_view to_string(Verdict verdict) {
  switch (verdict) {
    case Verdict::Placed:
      return "placed";
    case Verdict::Infeasible:
      return "infeasible";
    case Verdict::BudgetExhausted:
      return "budget-exhausted";
    case Verdict::Waiting:
      return "waiting";
    case Verdict::Released:
      return "released";
    case Verdict::Ended:
      return "ended";
    case Verdict::Bound:
      return "bound";
    case Verdict::Resized:
      return "resized";
    case Verdict::Stop:
      return "stop";
    case Verdict::Rejected:
      return "rejected";
  }
  return "";
}

namespace {

// A number for a reason that new reasons do not change, unlike its place in the list: FNV-1a of its name.
constexpr uint32_t name_hash(std::string_view name) {
  uint32_t hash = 2166136261u;
  for (const char c : name) hash = (hash ^ static_cast<unsigned char>(c)) * 16777619u;
  return hash;
}

constexpr uint32_t kReasonHashes[] = {
#define TW_REASON(name, ...) name_hash(#name),
#include "base/reason.def"
#undef TW_REASON
};

}  // namespace

void Engine::say(const ClaimDecision& decision) {
  out_->push_back(decision);
  uint64_t starts = 0;
  for (const uint8_t start : decision.spot.partition_starts) starts = starts * 9 + start;
  for (const uint64_t value : {decision.claim,
                               uint64_t{static_cast<uint8_t>(decision.verdict)} << 32 |
                                   kReasonHashes[static_cast<size_t>(decision.reason)],
                               decision.reservation, static_cast<uint64_t>(decision.score),
                               uint64_t{decision.spot.node} << 16 | decision.spot.devices, starts}) {
    digest_ = (digest_ ^ value) * 0x9e3779b97f4a7c15ull;
    digest_ ^= digest_ >> 31;
  }
}

Status Engine::reject(ClaimId claim, Reason reason) {
  say({.claim = claim, .verdict = Verdict::Rejected, .reason = reason, .spot = {}});
  return {};
}

}  // namespace tweendeck::placement
