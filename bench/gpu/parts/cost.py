"""What the library adds per call on this machine's driver: both sides take turns in one process."""
import time

from suite import lines, slices
from suite.slices import Slice

CALLS = (("launch", "launch", 5.0), ("pair", "alloc + free", 60.0), ("info", "mem-info", 30.0))
LIMIT_BYTES, CAP = 8 << 30, 50


def run(setting):
    # Real time on a busy machine says little, and a software GPU's driver is not what programs pay beside.
    for mode, what, most in CALLS[:1] if setting.quick else CALLS:
        inside = Slice(setting, memory_bytes=LIMIT_BYTES, compute=CAP)
        try:
            got = slices.ask(setting, inside, "cost", mode)
        except slices.Failed as failed:
            lines.check(False, what, failed, "runs")
            continue
        throttled = inside.usage()["throttled_ns"]
        told = (f"{got['added_ns']:+.1f} +- {got['error_ns']:.1f} ns on {got['bare_ns']:.0f} ns; cap {CAP} % "
                + ("not binding" if throttled == 0 else f"was binding for {throttled / 1e6:.1f} ms"))
        if got["same"]:
            lines.check(False, f"{what}, added", "the library was not found by the call's name", "it is")
        else:
            lines.timed(setting, got["added_ns"] <= most, f"{what}, added", told, f"<= {most:.0f} ns")
    if setting.quick:
        return
    bare, ours = [], []
    for _ in range(3):
        bare.append(_start_s(setting, None))
        ours.append(_start_s(setting, Slice(setting, memory_bytes=LIMIT_BYTES, compute=CAP)))
    lines.note("start of a process to its first context and back", f"{min(bare):.3f} s, {min(ours):.3f} s with the library")


def _start_s(setting, inside):
    began = time.monotonic()
    slices.ask(setting, inside, "info")
    return time.monotonic() - began
