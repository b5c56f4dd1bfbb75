"""The node on this machine's driver: devices, slices by `tweendeck exec`, two tenants, borrowing, an owner that returns."""
import json
import statistics
import subprocess

from suite import lines, shares, slices
from suite.node import Node
from suite.spins import Spinner, measure

MIB = 1 << 20
MEMORY_MIB = 3000
MEAN_POINTS = 2.0
ALONE_LEAST = 95.0
KERNEL_US = 1000
RETURN_MS = 20.0  # the owner has its floor again after this
QUEUE_MS = 2.0  # or one unit of the borrower's work: what the owner's first kernel may wait for
BURSTS_MS, QUICK_BURSTS_MS = (400, 300), (150, 100)  # on, off
DOCTOR_LINES = 12
SECONDS, QUICK_SECONDS = 5, 1.2


def _devices(node, setting):
    devices = node.json("devices")["devices"]
    found = next((one for one in devices if one.get("id") == node.device), None)
    lines.check(found is not None, "devices", ", ".join(str(one.get("id")) for one in devices), f"{node.device} among them")
    if found:
        lines.note(node.device, " ".join(f"{key}={found[key]}" for key in ("vendor", "model", "memory_bytes", "isolation") if key in found))
    code, out, err = node.ask("doctor")
    lines.note("doctor", f"exit code {code}")
    for line in (out + err).strip().splitlines()[:DOCTOR_LINES]:
        lines.note("doctor", line)


def _exec(node, setting):
    tenant = slices.start(setting, None, "fill", "linear", program=[*node.inside(f"{MEMORY_MIB}Mi", name="fill"), setting.tool("probe")])
    full = slices.read_line(tenant)
    listed = next((one for one in node.json("slices")["slices"] if one["id"] == "fill"), {})
    tenant.communicate("\n", timeout=60)
    limit = MEMORY_MIB * MIB
    lines.check(full["total_bytes"] == limit and full["refused_with"] == 2, "exec: the memory limit",
                f"total {full['total_bytes'] - limit:+d} B, granted {full['granted_bytes'] / MIB:.2f} MiB, refused with {full['refused_with']}",
                "total as the limit")
    used = listed.get("use", {}).get("memory_bytes", 0)
    lines.check(0 <= limit - used < full["finest_bytes"], "slices: what it uses", f"{used - limit:+d} B against the limit", "all of it")
    lines.check(not node.json("slices")["slices"], "exec: the slice is given back", "looked after its end", "no slice is left")


def _spinner(node, setting, compute, most=0, seconds=SECONDS, bursts_ms=(), mode="plain"):
    return Spinner(setting, None, mode, seconds, KERNEL_US, bursts_ms, prefix=node.inside(compute=compute, most=most))


def _tenants(node, setting, seconds):
    for modes in (("graph", "plain"),) if setting.quick else (("plain", "plain"), ("graph", "plain")):
        running = [_spinner(node, setting, cap, seconds=seconds, mode=mode) for cap, mode in zip((30, 70), modes)]
        spun = [one.finish() for one in running]
        begin, end = shares.together([one.log for one in spun])
        got = [shares.percent(one.log, begin, end) for one in spun]
        lines.timed(setting, all(abs(a - b) <= MEAN_POINTS for a, b in zip(got, (30, 70))), f"two tenants, 30 + 70, {modes[0]} and {modes[1]}",
                    f"{got[0]:.2f} % and {got[1]:.2f} %", f"+- {MEAN_POINTS:.0f} points")


def _borrowing(node, setting, seconds):
    mean, _, _ = measure([_spinner(node, setting, 30, most=100, seconds=seconds).finish()], 100)
    lines.timed(setting, mean >= ALONE_LEAST, "a floor of 30 % alone, ceiling 100 %", f"{mean:.2f} %", f">= {ALONE_LEAST:.0f} %")
    bursts_ms = QUICK_BURSTS_MS if setting.quick else BURSTS_MS
    borrower = _spinner(node, setting, 30, most=100, seconds=seconds + (1 if setting.quick else 2))
    owner = _spinner(node, setting, 70, seconds=seconds, bursts_ms=bursts_ms).finish()
    theirs = borrower.finish()
    offset, unit_ms = owner.told["device_minus_host_ns"], KERNEL_US / 1e3
    waits, floors = [], []
    for burst in owner.told["bursts"][1:-1]:  # the first learns its kernels, the last may be cut
        at = burst + offset
        first = next((entry.start for entry in owner.log if entry.start >= at), None)
        if first is None:
            continue
        waits.append((first - at) / 1e6)
        floors.append(shares.percent(owner.log, int(at + max(RETURN_MS, unit_ms) * 1e6), int(at + bursts_ms[0] * 1e6)))
    if not waits:
        lines.check(False, "an owner that returns", "no burst was seen", "its floor")
        return
    lines.timed(setting, max(waits) <= max(QUEUE_MS, unit_ms), "an owner that returns: its first kernel waits",
                f"median {statistics.median(waits):.2f} ms, most {max(waits):.2f} ms of {len(waits)}", f"<= {max(QUEUE_MS, unit_ms):.0f} ms")
    lines.timed(setting, min(floors) >= 70 - MEAN_POINTS, f"an owner that returns: its share from {RETURN_MS:.0f} ms on",
                f"median {statistics.median(floors):.1f} %, least {min(floors):.1f} %", f">= {70 - MEAN_POINTS:.0f} %")
    begin, end = theirs.log[0].start, theirs.ended
    both = shares.percent(shares.merged([owner.log, theirs.log]), begin, min(end, owner.ended))
    lines.note("the device beside an owner that comes and goes", f"{both:.1f} % busy")


def run(setting):
    if setting.soft:  # the daemon has a software GPU of its own
        setting.environment, setting.uuid = {}, ""
    with Node(setting) as node:
        lines.note("tweendeck", json.loads(node.must("version", "-o", "json")).get("version", "?"))
        seconds = QUICK_SECONDS if setting.quick else SECONDS
        for step in (lambda: _devices(node, setting), lambda: _exec(node, setting), lambda: _tenants(node, setting, seconds),
                     lambda: _borrowing(node, setting, seconds)):
            try:
                step()
            except (slices.Failed, subprocess.TimeoutExpired, KeyError) as failed:
                lines.check(False, "a step", f"{type(failed).__name__} {failed}", "runs")
