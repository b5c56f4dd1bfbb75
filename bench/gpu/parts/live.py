"""Limits that change under load: pause, memory and share, each effective within 10 ms."""
import statistics
import time

from suite import lines, shares, slices
from suite.slices import Slice
from suite.spins import START_S, Spinner

EFFECTIVE_MS = 10.0
SHARE_MS, SETTLE_MS, SHARE_POINTS = 250, 10, 5.0
ROUNDS, MEMORY_ROUNDS, SHARE_ROUNDS = 250, 1000, 24
QUICK = 10, 10, 4
ON_MS, OFF_MS, GAP_MS = 15, 20, 6
BESIDE_S = 1.0  # that the tenant goes on before and after


def _told(values_ms):
    values = sorted(values_ms)
    return f"median {statistics.median(values):.2f} ms, p99 {values[int(len(values) * 0.99)]:.2f} ms, most {values[-1]:.2f} ms of {len(values)}"


def _within(setting, what, values_ms):
    if not values_ms:
        lines.check(False, what, "nothing was seen", f"<= {EFFECTIVE_MS:.0f} ms")
        return
    lines.timed(setting, max(values_ms) <= EFFECTIVE_MS, what, _told(values_ms), f"<= {EFFECTIVE_MS:.0f} ms")


def _pauses(setting, rounds):
    inside = Slice(setting, compute=60)
    seconds = rounds * (ON_MS + OFF_MS) / 1e3 + BESIDE_S
    tenant = Spinner(setting, inside, "plain", seconds, 100)
    _wait_for_launch(inside)
    changes = slices.finish(inside.command("pauses", rounds, ON_MS, OFF_MS), seconds + START_S)
    spun = tenant.finish()
    offset = spun.told["device_minus_host_ns"]
    stop_ms, go_ms = [], []
    for change in changes:
        paused, resumed = change["paused_ns"] + offset, change["resumed_ns"] + offset
        # No kernel may begin later than this after the pause; the first after the resume ends it.
        during = [entry.start for entry in spun.log if paused <= entry.start < resumed]
        stop_ms.append((max(during) - paused) / 1e6 if during else 0.0)
        after = next((entry.start for entry in spun.log if entry.start >= resumed), None)
        if after is not None:
            go_ms.append((after - resumed) / 1e6)
    _within(setting, "pause: last kernel begins", stop_ms)
    _within(setting, "resume: first kernel begins", go_ms)


def _wait_for_launch(inside):
    deadline = time.monotonic() + START_S
    while inside.usage()["launches"] == 0:
        if time.monotonic() > deadline:
            raise slices.Failed("the tenant has launched nothing")
        time.sleep(0.02)


def _memory(setting, rounds):
    sizes = (8 << 30, 6 << 30)
    inside = Slice(setting, memory_bytes=sizes[0])
    seconds = rounds * GAP_MS / 1e3 + BESIDE_S
    tenant = slices.start(setting, inside, "follow", seconds)
    slices.read_line(tenant)
    changes = slices.finish(inside.command("resizes", rounds, sizes[1], sizes[0], GAP_MS), seconds + START_S)
    seen = slices.finish(tenant, seconds + START_S)
    late_ms = []
    for change in changes:
        match = next((one for one in seen if one["at_ns"] >= change["at_ns"] and one["total_bytes"] == change["total_bytes"]), None)
        if match:
            late_ms.append((match["at_ns"] - change["at_ns"]) / 1e6)
    lines.timed(setting, len(late_ms) == len(changes), "memory limit: changes seen", f"{len(late_ms)} of {len(changes)}", "all")
    _within(setting, "memory limit: effective", late_ms)


def _shares(setting, rounds):
    inside = Slice(setting, compute=60)
    seconds = rounds * SHARE_MS / 1e3 + BESIDE_S
    tenant = Spinner(setting, inside, "plain", seconds, 100)
    _wait_for_launch(inside)
    changes = []
    for turn in range(rounds):
        cap = (20, 60, 35)[turn % 3]
        changes.append((inside.set(compute=cap), cap))
        time.sleep(SHARE_MS / 1e3)
    spun = tenant.finish()
    offset = spun.told["device_minus_host_ns"]
    off = []
    for (at, cap), (until, _) in zip(changes, changes[1:]):
        got = shares.percent(spun.log, at + offset + SETTLE_MS * 1_000_000, until + offset)
        off.append(got - cap)
    worst = max(off, key=abs)
    lines.timed(setting, abs(worst) <= SHARE_POINTS, f"share: from {SETTLE_MS} ms after each of {len(changes)} changes",
                f"worst {worst:+.2f} points, mean {statistics.mean(map(abs, off)):.2f}", f"+- {SHARE_POINTS:.0f} points")


def run(setting):
    for change, rounds in zip((_pauses, _memory, _shares), QUICK if setting.quick else (ROUNDS, MEMORY_ROUNDS, SHARE_ROUNDS)):
        try:
            change(setting, rounds)
        except slices.Failed as failed:
            lines.check(False, "a change under load", failed, "runs")
