"""Which cells of the matrix of compute caps are measured: each pair of values occurs, then further ones up to a count."""
import itertools
from typing import NamedTuple

CAPS = (10, 30, 50, 70)
KERNELS_US = (10, 100, 1000, 20000)
MODES = ("plain", "graph", "cooperative", "extended", "mixed")
PROCESSES = (1, 4)
GRAPH_KERNELS = 4  # as the probe makes them
CELLS = 24


class Cell(NamedTuple):
    cap: int
    kernel_us: int
    mode: str
    processes: int

    def unit_ns(self):
        return self.kernel_us * 1000 * (GRAPH_KERNELS if self.mode == "graph" else 1)

    def name(self):
        return f"cap {self.cap}, {self.kernel_us} us {self.mode}, {self.processes} process{'es' if self.processes > 1 else ''}"


def _pairs(cell):
    return {(i, j, cell[i], cell[j]) for i, j in itertools.combinations(range(len(cell)), 2)}


def chosen(count=CELLS):
    """The same ones each time, those that cover most first."""
    every = [Cell(*values) for values in itertools.product(CAPS, KERNELS_US, MODES, PROCESSES)]
    picked, covered = [], set()
    while len(picked) < count:
        rest = [cell for cell in every if cell not in picked]
        # Among equals spread over the list, so that the rest is not all of one cap.
        best = max(rest, key=lambda cell: (len(_pairs(cell) - covered), -abs(every.index(cell) - len(picked) * 37 % len(every))))
        picked.append(best)
        covered |= _pairs(best)
    return picked
