"""Tenants that spin, and what their logs say together."""
from typing import NamedTuple

from suite import shares, slices

START_S = 60  # for a process to load the driver, make its context and end


class Spun(NamedTuple):
    log: list  # entries, sorted
    told: dict  # what the process printed
    began: int  # of the device's clock
    ended: int


class Spinner:
    def __init__(self, setting, inside, mode, seconds, kernel_us, bursts_ms=(), prefix=()):
        """prefix: words before the program, for example `tweendeck exec ... --`."""
        self.log = setting.path("spins", f"{id(self):x}-{len(list(setting.path('spins', 'x').parent.iterdir()))}")
        self.seconds = seconds
        words = ["spin", mode, seconds, kernel_us, self.log, *bursts_ms]
        program = [*prefix, setting.tool("probe")] if prefix else "probe"
        self.process = slices.start(setting, inside, *words, program=program)

    def finish(self):
        told = slices.finish(self.process, self.seconds + START_S)[-1]
        offset = told["device_minus_host_ns"]
        log = shares.read_log(self.log)
        self.log.unlink()
        if not log:
            raise slices.Failed("no kernel has run")
        return Spun(log, told, told["started_ns"] + offset, told["started_ns"] + int(self.seconds * 1e9) + offset)


def measure(spun, share):
    """Mean share of one slice's processes, its worst window, and what a window may be off by."""
    entries = shares.merged([one.log for one in spun])
    begin, end = entries[0].start, min(one.ended for one in spun)
    mean = shares.percent(entries, begin, end)
    worst, allowed = shares.worst_window(entries, begin, end, share, max(one.told["unit_ns"] for one in spun))
    return mean, worst, allowed
