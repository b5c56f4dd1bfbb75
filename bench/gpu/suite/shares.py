"""What part of a device's time its kernels ran, from their own log: pure arithmetic on {start, end, own} entries.

A kernel that was preempted has own < end - start; its own time is spread evenly over its interval, which is wrong by
less than one interval.
"""
import array
import bisect
import pathlib
from typing import NamedTuple

WINDOW_NS = 250_000_000


class Entry(NamedTuple):
    start: int
    end: int
    own: int


def read_log(path):
    words = array.array("Q")
    data = pathlib.Path(path).read_bytes()
    words.frombytes(data[:len(data) // 24 * 24])
    return sorted(Entry(*words[i:i + 3]) for i in range(0, len(words), 3))


def busy_ns(entries, begin, end):
    """Own time of the entries within [begin, end). Entries are sorted by start."""
    total = 0.0
    for entry in entries[:bisect.bisect_left(entries, (end,))]:
        part = min(entry.end, end) - max(entry.start, begin)
        if part > 0:
            total += entry.own * part / (entry.end - entry.start)
    return total


def percent(entries, begin, end):
    return 100.0 * busy_ns(entries, begin, end) / (end - begin) if end > begin else 0.0


def windows(entries, begin, end, window_ns=WINDOW_NS):
    """Percent per window; a rest that is shorter than a window is left out."""
    totals = [0.0] * int((end - begin) // window_ns)
    for entry in entries:
        length = entry.end - entry.start
        at = max(entry.start, begin)
        while at < entry.end and length > 0:
            index = int((at - begin) // window_ns)
            if index >= len(totals):
                break
            until = min(entry.end, begin + (index + 1) * window_ns)
            totals[index] += entry.own * (until - at) / length
            at = until
    return [100.0 * total / window_ns for total in totals]


def merged(logs):
    return sorted(entry for log in logs for entry in log)


def together(logs):
    """The time in which all of several tenants were at work."""
    return max(log[0].start for log in logs), min(log[-1].end for log in logs)


def worst_window(entries, begin, end, share, unit_ns, window_ns=WINDOW_NS):
    """The window that is furthest from the share, and by how many points a window may be off: 5, or one unit of work."""
    values = windows(entries, begin, end, window_ns)
    allowed = max(5.0, 100.0 * unit_ns / window_ns)
    return max(values, key=lambda value: abs(value - share), default=0.0), allowed
