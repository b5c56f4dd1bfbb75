"""PyTorch in slices beside PyTorch without the library: matrix products, decode by CUDA graph, allocator churn, two tenants."""
import contextlib
import importlib.util
import statistics
import sys
import threading
import time

from suite import lines, slices
from suite.node import Node
from suite.nvml import Nvml, NvmlError
from suite.setting import ROOT, Missing
from suite.slices import Slice

TENANT = [sys.executable, str(ROOT / "bench" / "gpu" / "torch_tenant.py")]
STEPS = {"matmul": 4, "decode": 3, "churn": 2}
LIMIT_BYTES = 16 << 30
CAP = 50
UNCAPPED_LEAST = 0.97
SHARE_POINTS = 5.0  # throughput moves with the clock, which rises when the device rests
START_S = 75  # import, context, libraries' own set-up
SAMPLE_S = 0.2
PIECE_BYTES = 64 << 20


class Utilization:
    """The driver's own figure, by the time at which it was read."""

    def __init__(self):
        self.samples, self.ended = [], threading.Event()
        self.thread = threading.Thread(target=self._sample, daemon=True)
        self.thread.start()

    def _sample(self):
        try:
            nvml = Nvml()
            while not self.ended.wait(SAMPLE_S):
                self.samples.append((time.monotonic(), nvml.utilization()))
        except NvmlError as error:
            lines.say(f"no utilisation: {error}")

    def mean(self, begin, end):
        inside = [value for at, value in self.samples if begin <= at <= end]
        return statistics.mean(inside) if inside else None


def _steps(setting, inside, steps, prefix=()):
    """What each step printed, with the time at which it did."""
    process = slices.start(setting, inside, *[f"{name}:{seconds}" for name, seconds in steps.items()], program=[*prefix, *TENANT])
    told = {}
    for _ in steps:
        step = slices.read_line(process)
        told[step["step"]] = {**step, "at": time.monotonic()}
    slices.finish(process, START_S)
    return told


def _one_tenant(setting, bare):
    free = _steps(setting, Slice(setting, memory_bytes=LIMIT_BYTES), {**STEPS, "limit": 0})
    for name in STEPS:
        ratio = free[name]["rate"] / bare[name]["rate"]
        lines.check(ratio >= UNCAPPED_LEAST, f"{name} in a slice without a cap", f"{ratio:.3f} of {bare[name]['rate']:.0f} per second",
                    f">= {UNCAPPED_LEAST}")
    got = free["limit"]
    lines.check(got["total_bytes"] == LIMIT_BYTES and got["free_bytes"] < 2 * PIECE_BYTES, "memory limit",
                f"total {got['total_bytes'] - LIMIT_BYTES:+d} B, {got['held_bytes'] >> 20} MiB held, {got['free_bytes'] >> 20} MiB free at the refusal",
                "total as the limit, refused at its end")
    use, inside = Utilization(), Slice(setting, memory_bytes=LIMIT_BYTES, compute=CAP)
    capped = _steps(setting, inside, STEPS)
    use.ended.set()
    for name in ("matmul", "decode"):
        share, at = 100 * capped[name]["rate"] / bare[name]["rate"], capped[name]["at"]
        measured = use.mean(at - STEPS[name] + 1, at)
        told = f"{share:.1f} % of its throughput" + (f", utilisation {measured:.1f} %" if measured is not None else "")
        lines.check(abs(share - CAP) <= SHARE_POINTS or (measured is not None and abs(measured - CAP) <= SHARE_POINTS), f"{name}, cap {CAP}", told,
                    f"{CAP} +- {SHARE_POINTS:.0f} points by either")
    lines.note("reckoned by the library", f"throttled {inside.usage()['throttled_ns'] / 1e9:.1f} s, charged {inside.usage()['charged_ns'] / 1e9:.1f} s")


def _two_tenants(setting, bare):
    steps = {"matmul": 6}
    with contextlib.ExitStack() as stack:
        try:
            node = stack.enter_context(Node(setting))
            places = [(None, node.inside("16Gi", cap)) for cap in (30, 70)]
        except (Missing, slices.Failed) as reason:
            lines.note("two tenants run without a node", reason)
            node, places = None, [(Slice(setting, memory_bytes=LIMIT_BYTES, compute=cap), ()) for cap in (30, 70)]
        got = [None, None]

        def run(index):
            with contextlib.suppress(slices.Failed):
                got[index] = _steps(setting, places[index][0], steps, places[index][1])

        threads = [threading.Thread(target=run, args=(index,)) for index in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    if None in got:
        lines.check(False, "two tenants", "one of them ended early", "run")
        return
    parts = [100 * one["matmul"]["rate"] / bare["matmul"]["rate"] for one in got]
    apart = abs(got[0]["matmul"]["at"] - got[1]["matmul"]["at"])
    lines.check(node is None or all(abs(part - cap) <= SHARE_POINTS for part, cap in zip(parts, (30, 70))), "two tenants, 30 + 70, matmul",
                f"{parts[0]:.1f} % and {parts[1]:.1f} % of the throughput alone, ends {apart:.1f} s apart", f"+- {SHARE_POINTS:.0f} points")


def run(setting):
    if importlib.util.find_spec("torch") is None:
        lines.skip("PyTorch", "this Python cannot import torch")
        return
    bare = _steps(setting, None, STEPS)
    for name in STEPS:
        lines.note(f"{name} without the library", f"{bare[name]['rate']:.1f} per second")
    for step in (_one_tenant, _two_tenants):
        try:
            step(setting, bare)
        except slices.Failed as failed:
            lines.check(False, "PyTorch", failed, "runs")
