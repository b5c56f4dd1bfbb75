"""Memory: the limit is exact for each way to take memory, races never pass it, and views show the slice."""
import json
import subprocess
import sys
import time

from suite import lines, slices
from suite.nvml import Nvml, NvmlError
from suite.setting import Missing
from suite.slices import Slice

MIB = 1 << 20
ROOM = 512 * MIB  # what a tenant may take beside its context
PATHS = ("linear", "pitch", "managed", "array", "mipmap", "virtual", "async", "pool", "graph")
QUICK_PATHS = ("linear", "pitch")
# The driver takes small pieces from blocks of its own; what it counts may be that much more.
DRIVER_BLOCKS = 8 * MIB
RACERS, RACE_S, RACE_ROOM = 16, 3, 1 << 30
IPC_BYTES = 64 * MIB


def _context_bytes(setting):
    """What a tenant holds before it has asked for anything, as the library counts it."""
    inside = Slice(setting, memory_bytes=0)
    holder = slices.start(setting, inside, "hold")
    slices.read_line(holder)
    used = inside.usage()
    _end(holder)
    lines.note("a context takes", f"{used['context_bytes'] / MIB:.1f} MiB, modules {used['module_bytes'] / MIB:.1f} MiB")
    return used["used_bytes"]


def _end(tenant):
    """Tells a tenant that waits for it to go on to its end."""
    try:
        tenant.communicate("\n", timeout=60)
    except (subprocess.TimeoutExpired, ValueError):  # ValueError: it has ended, and its output was read
        tenant.kill()


def _driver_count(pid):
    try:
        return Nvml().processes().get(pid)
    except NvmlError:
        return None


def _path(setting, name, limit):
    inside = Slice(setting, memory_bytes=limit)
    tenant = slices.start(setting, inside, "fill", name)
    try:
        full = slices.read_line(tenant)
    except Missing as missing:
        lines.skip(name, missing)
        return
    counted, books = _driver_count(tenant.pid), inside.usage()
    out, _ = tenant.communicate("\n", timeout=60)
    if tenant.returncode != 0:
        raise slices.Failed(slices.last(slices.complaints(tenant)))
    after = json.loads(out.splitlines()[-1])
    slack = limit - books["used_bytes"]
    finest = full["finest_bytes"]
    exact = 0 <= slack < finest and full["refused_with"] == 2 and full["granted_bytes"] <= full["free_before"]
    lines.check(exact, f"{name}: exact", f"granted {full['granted_bytes'] / MIB:.4f} MiB, {slack} B left, refused with {full['refused_with']}",
                f"< {finest} B left, refused with 2")
    lines.check(full["total_bytes"] == limit and full["free_full"] == slack, f"{name}: mem-info",
                f"total {full['total_bytes'] - limit:+d} B, free {full['free_full']} B", "total as the limit, free as the books")
    drift = full["free_before"] - after["free_after"]
    lines.check(drift == 0 and after["granted_again"] == full["granted_bytes"], f"{name}: given back",
                f"{drift} B missing, then granted {after['granted_again'] - full['granted_bytes']:+d} B", "0 B")
    if counted is not None:
        most = limit + max(DRIVER_BLOCKS, finest)
        lines.check(counted <= most or name == "managed", f"{name}: the driver's own count", f"{(counted - limit) / MIB:+.1f} MiB against the limit",
                    f"<= {(most - limit) / MIB:+.0f} MiB")


def _most_used(until):
    """The most that the driver says is in use on the device, at one moment; and how often it was asked."""
    most, looks = 0, 0
    nvml = Nvml()
    while time.monotonic() < until:
        most, looks = max(most, nvml.memory()[2]), looks + 1
    return most, looks


def _race(setting, context):
    racers, seconds = (4, 0.5) if setting.quick else (RACERS, RACE_S)
    limit = racers * context + RACE_ROOM
    inside = Slice(setting, memory_bytes=limit)
    running = [slices.start(setting, inside, "race", seconds, seed) for seed in range(1, racers + 1)]
    try:
        for process in running:
            slices.read_line(process)
        beside = Nvml().memory()[2] - inside.usage()["used_bytes"]  # what others hold
        for process in running:
            process.stdin.write("\n")
            process.stdin.flush()
        most, looks = _most_used(time.monotonic() + seconds)
        got = [slices.read_line(process) for process in running]
        books = inside.usage()
        held = sum(one["held_bytes"] for one in got)
    finally:
        for process in running:
            _end(process)
    refused = sum(one["refused"] for one in got)
    told = f"{sum(one['granted'] for one in got)} granted, {refused} refused"
    lines.check(books["peak_bytes"] <= limit and books["used_bytes"] <= limit and refused > 0, f"{racers} processes race",
                f"most {(books['peak_bytes'] - limit) / MIB:+.3f} MiB against the limit, {told}", "<= 0, some refused")
    lines.check(held + racers * context <= books["used_bytes"] + DRIVER_BLOCKS, f"{racers} processes race: nothing is missed",
                f"they hold {held / MIB:.0f} MiB, the books {books['used_bytes'] / MIB:.0f} MiB with contexts", "the books hold it")
    lines.check(most - beside <= limit + racers * DRIVER_BLOCKS, f"{racers} processes race: the driver's own count",
                f"most {(most - beside - limit) / MIB:+.1f} MiB against the limit, {looks} looks", f"<= {racers * DRIVER_BLOCKS / MIB:+.0f} MiB")


def _ipc(setting, context):
    inside = Slice(setting, memory_bytes=2 * context + 4 * IPC_BYTES)
    owner = slices.start(setting, inside, "ipc-export", IPC_BYTES)
    try:
        handle = slices.read_line(owner)["handle"]
        got = slices.ask(setting, inside, "ipc-import", handle)
        lines.check(got["free_before"] == got["free_with"], "IPC: only the exporter pays", f"{got['free_before'] - got['free_with']} B charged", "0 B")
    except (Missing, slices.Failed) as reason:
        lines.skip("IPC", reason)
    finally:
        _end(owner)


def _nvml_view(setting, limit):
    inside = Slice(setting, memory_bytes=limit)
    program = f"import sys; sys.path.insert(0, {str(slices.lines.__file__).rsplit('/suite', 1)[0]!r}); import json; " \
              "from suite.nvml import Nvml; print(json.dumps({'memory': Nvml().memory()}))"
    total, free, used = slices.ask(setting, inside, "-c", program, program=[sys.executable])["memory"]
    lines.check(total == limit and free + used == total, "NVML view inside the slice", f"total {total - limit:+d} B, used {used} B", "total as the limit")


def run(setting):
    context = _context_bytes(setting)
    limit = context + ROOM + 12345 * 512  # not a round number
    for name in QUICK_PATHS if setting.quick else PATHS:
        try:
            _path(setting, name, limit)
        except slices.Failed as failed:
            lines.check(False, name, failed, "runs")
    _nvml_view(setting, limit)
    _race(setting, context)
    if not setting.quick:
        _ipc(setting, context)
