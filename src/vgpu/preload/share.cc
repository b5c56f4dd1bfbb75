#include "vgpu/preload/share.h"

#include "vgpu/bucket.h"
#include "vgpu/preload/tenant.h"
#include "vgpu/trim.h"

namespace tweendeck::vgpu {
namespace {

constexpr uint64_t kSeenBeforeNs = 15'000'000;  // the node looks around this often at least
constexpr uint64_t kMostWaitedNs = TW_VGPU_MOST_WAITED_NS;
constexpr uint64_t kMostQueuedNs = 1'000'000'000;  // no peer's word that it has more queued is believed
constexpr uint64_t kWaitedHalvesNs = 200'000'000;

// Waiting for other tenants lately, per device; this process's own. Written by whoever settles.
struct Waited {
  uint64_t ns;
  uint64_t at_ns;
};
Waited g_waited[TW_VGPU_MAX_DEVICES];

uint64_t waited_now(uint32_t device, uint64_t now_ns) {
  const Waited& waited = g_waited[device];
  const uint64_t at = __atomic_load_n(&waited.at_ns, __ATOMIC_RELAXED);
  const uint64_t halvings = now_ns > at ? (now_ns - at) / kWaitedHalvesNs : 0;
  return halvings >= 32 ? 0 : __atomic_load_n(&waited.ns, __ATOMIC_RELAXED) >> halvings;
}

uint64_t add_waited(uint32_t device, uint64_t now_ns, uint64_t more_ns) {
  uint64_t waited = waited_now(device, now_ns) + more_ns;
  if (waited > kMostWaitedNs) waited = kMostWaitedNs;
  __atomic_store_n(&g_waited[device].ns, waited, __ATOMIC_RELAXED);
  __atomic_store_n(&g_waited[device].at_ns, now_ns, __ATOMIC_RELAXED);
  return waited;
}

}  // namespace

Share share_of(uint32_t device, uint64_t now_ns) {
  uint32_t set_flags = 0;
  const tw_vgpu_device_limit limit = device_limit(device, &set_flags);
  const tw_vgpu_feedback& feedback = limits_page()->feedback[device];
  Share share;
  share.paused = ((limit.flags | set_flags) & TW_VGPU_FLAG_PAUSED) != 0;
  if (limit.run_ahead_us) share.run_ahead_ns = uint64_t{limit.run_ahead_us} * 1000;
  const uint64_t yield = tw_vgpu_load(&feedback.yield_until_ns);
  share.yield_until_ns = yield < now_ns + TW_VGPU_YIELD_MAX_NS ? yield : now_ns + TW_VGPU_YIELD_MAX_NS;
  // A lower class keeps its queue short although nothing limits it.
  share.limited = yield != 0;
  const bool no_floor = limit.compute_floor_permille == 0;
  if (limit.compute_floor_permille >= TW_VGPU_WHOLE || (no_floor && limit.compute_ceiling_permille == 0))
    return share;
  share.limited = true;
  share.floor_permille = no_floor ? kLeastPermille : limit.compute_floor_permille;
  share.permille = share.floor_permille;
  const uint64_t stamp = tw_vgpu_load(&feedback.effective_stamp_ns);
  if (stamp == 0 || now_ns > stamp + TW_VGPU_EFFECTIVE_MAX_AGE_NS) return share;
  share.permille = tw_vgpu_share_in_force(share.floor_permille, limit.compute_ceiling_permille,
                                          tw_vgpu_load(&feedback.effective_permille));
  return share;
}

bool alone_since(uint32_t device, uint64_t since_ns) {
  if (tw_vgpu_load(&usage()->devices[device].shared)) return false;
  const uint64_t seen = tw_vgpu_load(&limits_page()->feedback[device].others_active_ns);
  return seen == 0 || seen + kSeenBeforeNs < since_ns;
}

template <class Visit>
static void for_peers(uint32_t device, Visit visit) {
  const tw_vgpu_usage_page& page = *usage();
  const uint32_t bound = tw_vgpu_slot_bound(&page), self = books().slot();
  for (uint32_t i = 0; i < bound; ++i) {
    const uint64_t until = tw_vgpu_load(&page.books[device][i].queued_until_ns);
    if (i != self && until != 0 && tw_vgpu_load(&page.slots[i].owner) != 0) visit(until);
  }
}

uint64_t peers_queued_ns(uint32_t device, uint64_t now_ns) {
  uint64_t sum = 0;
  for_peers(device, [&](uint64_t until) {
    if (until > now_ns) sum += until - now_ns < kMostQueuedNs ? until - now_ns : kMostQueuedNs;
  });
  return sum;
}

uint64_t peers_until(uint32_t device) {
  uint64_t latest = 0;
  for_peers(device, [&](uint64_t until) { latest = until > latest ? until : latest; });
  return latest;
}

uint64_t credit_ns(uint32_t device, uint64_t now_ns) {
  return kBurstNs + waited_now(device, now_ns);
}

void follow_node(uint32_t device, uint64_t now_ns, const Share& share, uint64_t in_flight_ns) {
  tw_vgpu_device_usage& shared = usage()->devices[device];
  const int64_t back = take_feedback(shared, limits_page()->feedback[device], now_ns,
                                     in_flight_ns + peers_queued_ns(device, now_ns));
  if (back == 0 || !share.limited) return;
  const uint64_t waited =
      add_waited(device, now_ns, back > 0 ? bucket_wall_ns(static_cast<uint64_t>(back), share.permille) : 0);
  bucket_charge(&shared.share_used_until_ns, now_ns, kBurstNs + waited, -back, share.permille);
}

void settle_charge(uint32_t device, uint64_t now_ns, const Settlement& settlement) {
  tw_vgpu_device_usage& shared = usage()->devices[device];
  const Share share = share_of(device, now_ns);
  const uint64_t total =
      settlement.alone ? settlement.estimated_ns : settlement.estimated_ns * trim_of(shared) / kFullTrim;
  tw_vgpu_count(&shared.charged_ns, total);
  tw_vgpu_count(&shared.estimated_ns, settlement.estimated_ns);
  if (share.permille > share.floor_permille)
    tw_vgpu_count(&shared.borrowed_ns, total * (share.permille - share.floor_permille) / share.permille);
  const uint64_t waited = add_waited(
      device, now_ns,
      settlement.waited_ns + (settlement.refund_ns > 0 ? static_cast<uint64_t>(settlement.refund_ns) : 0));
  const int64_t correction =
      static_cast<int64_t>(total) - static_cast<int64_t>(settlement.taken_ns) - settlement.refund_ns;
  if (!share.limited || correction == 0) return;
  bucket_charge(&shared.share_used_until_ns, now_ns, kBurstNs + waited + settlement.age_ns, correction,
                share.permille);
}

}  // namespace tweendeck::vgpu
