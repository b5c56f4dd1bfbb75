"""Compute caps: cells of cap x kernel x way to launch x processes, and two tenants, by the kernels' own log."""
from suite import lines, shares, slices, soft
from suite.cells import KERNELS_US, MODES, chosen
from suite.slices import Slice
from suite.spins import Spinner, measure

MEAN_POINTS = 2.0
MOST_S, LEAST_S = 5.0, 1.5  # per cell
START_S = 1.5  # what a cell takes beside
TENANTS_S = 20
QUICK_CELLS, QUICK_S, QUICK_MOST_US = 6, 1.0, 1000
UNLIMITED_LEAST = 95.0
SATURATE_S, SATURATE_MOST_S = 0.15, 30


def _saturation(setting):
    """Percent by way to launch and kernel length: between kernels of 10 us the device is busy with neither of them, and a
    program that has all of it has that share."""
    if setting.soft:
        setting = soft.with_card(setting, "virtual", 1)
    told = slices.finish(slices.start(setting, None, "saturate", SATURATE_S, *KERNELS_US), SATURATE_MOST_S)
    return {(one["mode"], one["kernel_us"]): one["percent"] for one in told}


def _run(setting, inside, cell, seconds):
    running = [Spinner(setting, inside, cell.mode, seconds, cell.kernel_us) for _ in range(cell.processes)]
    return [one.finish() for one in running]


def _cell(setting, cell, seconds, alone):
    if setting.soft:
        setting = soft.with_card(setting, "virtual", cell.processes)
    inside = Slice(setting, compute=cell.cap)
    mean, worst, allowed = measure(_run(setting, inside, cell, seconds), cell.cap * alone / 100)
    mean, worst = mean * 100 / alone, worst * 100 / alone
    # In virtual time windows are bench/vgpu's to judge, in cells made for it.
    good = abs(mean - cell.cap) <= MEAN_POINTS and (setting.soft or abs(worst - cell.cap) <= allowed)
    lines.check(good, cell.name(), f"{mean:.2f} %, worst window {worst:.1f} %" + (f", of {alone:.1f} %" if alone < 99 else ""),
                f"{cell.cap} +- {MEAN_POINTS:.0f} %, window +- {allowed:.0f}")


def tenants(setting, seconds, kernels_us=(1000, 1000), modes=("plain", "plain")):
    """Shares that two tenants of 30 and 70 % got in the time in which both were at work."""
    if setting.soft:
        setting = soft.with_card(setting, "virtual", 2)
    running = [Spinner(setting, Slice(setting, compute=cap), mode, seconds, kernel_us)
               for cap, mode, kernel_us in zip((30, 70), modes, kernels_us)]
    spun = [one.finish() for one in running]
    begin, end = shares.together([one.log for one in spun])
    return [shares.percent(one.log, begin, end) for one in spun]


def run(setting):
    alone = _saturation(setting)
    for kernel_us in KERNELS_US:
        lines.note(f"without the library, {kernel_us} us", ", ".join(f"{mode} {alone[mode, kernel_us]:.1f} %" for mode in MODES))
    lines.check(alone["plain", 1000] >= UNLIMITED_LEAST, "without the library, 1000 us plain", f"{alone['plain', 1000]:.2f} %",
                f">= {UNLIMITED_LEAST:.0f} %")
    cells = chosen()
    if setting.quick:
        cells = [cell for cell in cells if cell.kernel_us <= QUICK_MOST_US][:QUICK_CELLS]
    for index, cell in enumerate(cells):
        room = (setting.left_s() - TENANTS_S) / (len(cells) - index) - START_S
        seconds = QUICK_S if setting.quick else min(MOST_S, max(LEAST_S, room))
        try:
            _cell(setting, cell, seconds, alone[cell.mode, cell.kernel_us])
        except slices.Failed as failed:
            lines.check(False, cell.name(), failed, "runs")
    for modes, kernels_us in ((("plain", "plain"), (1000, 1000)), (("graph", "plain"), (100, 1000))):
        got = tenants(setting, QUICK_S if setting.quick else 4, kernels_us, modes)
        told = f"{got[0]:.2f} % and {got[1]:.2f} %"
        what = f"two tenants, 30 + 70, {modes[0]} and {modes[1]}, no node beside them"
        # Nobody tells the library here what its neighbours do; the node's part holds tenants to a bound.
        lines.note(what, told)
