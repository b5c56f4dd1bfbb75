"""Programs on CUDA's own runtime library, which finds everything through cuGetProcAddress."""
from suite import lines, slices
from suite.slices import Slice

MIB = 1 << 20
PIECE = 32 * MIB
ROOM = 1 << 30
POOL_SLACK = 2 * PIECE
SPINS = ((30, 100), (30, 2000), (60, 1000))  # cap, microseconds
SECONDS, POINTS = 3, 2.0


def run(setting):
    if "runtime" not in setting.tools:
        lines.skip("runtime", "no nvcc has built its program")
        return
    bare = slices.ask(setting, None, "spin", 1, 1000, program="runtime")
    lines.note("without the library", f"{bare['share_percent']:.2f} %")
    probe = Slice(setting)
    slices.ask(setting, probe, "spin", 0.1, 100, program="runtime")
    limit = probe.usage()["peak_bytes"] + ROOM
    got = slices.ask(setting, Slice(setting, memory_bytes=limit), "memory", program="runtime")
    room = got["free_bytes"]
    lines.check(got["total_bytes"] == limit and 0 <= room - got["plain_bytes"] < PIECE, "cudaMalloc",
                f"{got['plain_bytes'] // MIB} of {room / MIB:.1f} MiB", f"to the last {PIECE // MIB} MiB")
    lines.check(0 <= room - got["ordered_bytes"] < POOL_SLACK, "cudaMallocAsync", f"{got['ordered_bytes'] // MIB} of {room / MIB:.1f} MiB",
                f"to the last {POOL_SLACK // MIB} MiB")
    for cap, kernel_us in SPINS:
        spun = slices.ask(setting, Slice(setting, compute=cap), "spin", SECONDS, kernel_us, program="runtime")
        lines.check(abs(spun["share_percent"] - cap) <= POINTS, f"kernels and graphs of {kernel_us} us, cap {cap}",
                    f"{spun['share_percent']:.2f} %", f"+- {POINTS:.0f} points")
