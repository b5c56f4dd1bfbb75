"""Unchanged clients of CUDA and NVML on software GPUs: nvidia-ml-py, nvitop, gpustat, cuda-bindings, and plain ctypes."""
import json
import os
import pathlib
import signal
import subprocess
import sys
import textwrap
import time

import pytest

BUILD = pathlib.Path(__file__).resolve().parent.parent / "build" / "release"
TOOL = BUILD / "bin" / "tweendeck-softgpu"
GIB = 1 << 30
CONTEXT_BYTES = 256 << 20  # what a context takes, docs/internals/softgpu.md

# Holds memory and keeps card 0 busy until its standard input ends.
WORKER = """
import ctypes, select, sys
cuda = ctypes.CDLL("libcuda.so.1")
def check(code):
    if code: raise SystemExit(f"CUDA error {code}")
context, module, spin, pointer = (ctypes.c_void_p() for _ in range(4))
check(cuda.cuInit(0))
check(cuda.cuDevicePrimaryCtxRetain(ctypes.byref(context), 0))
check(cuda.cuCtxSetCurrent(context))
check(cuda.cuMemAlloc_v2(ctypes.byref(pointer), ctypes.c_size_t(int(sys.argv[1]))))
check(cuda.cuModuleLoadData(ctypes.byref(module), b"any image"))
check(cuda.cuModuleGetFunction(ctypes.byref(spin), module, b"tw_spin"))
duration = ctypes.c_uint64(2_000_000)
arguments = (ctypes.c_void_p * 1)(ctypes.addressof(duration))
print("ready", flush=True)
while not select.select([sys.stdin], [], [], 0)[0]:
    for _ in range(8):
        check(cuda.cuLaunchKernel(spin, 1, 1, 1, 1, 1, 1, 0, None, arguments, None))
    check(cuda.cuCtxSynchronize())
"""


class Cards:
    def __init__(self, directory, spec, *options):
        self.path = directory / "cards"
        self.env = {**os.environ, "TWEENDECK_SOFTGPU_STATE": str(self.path), "LD_LIBRARY_PATH": str(BUILD / "lib" / "softgpu")}
        self.env.pop("CUDA_VISIBLE_DEVICES", None)
        self.created = self.tool("create", "--cards", spec, *options, self.path)
        self.workers = []

    @staticmethod
    def tool(*args):
        done = subprocess.run([TOOL, *map(str, args), "-o", "json"], capture_output=True, text=True, timeout=30)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def list(self):
        return self.tool("ls", self.path)

    def worker(self, memory_bytes):
        process = subprocess.Popen([sys.executable, "-c", WORKER, str(memory_bytes)], env=self.env, text=True,
                                   stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.workers.append(process)
        assert process.stdout.readline() == "ready\n"
        return process

    def run(self, *command):
        done = subprocess.run([sys.executable, *command], env=self.env, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def script(self, text):
        return json.loads(self.run("-c", textwrap.dedent(text)))

    def close(self):
        for process in self.workers:
            process.kill()
            process.wait()
            process.stdin.close()
            process.stdout.close()
        self.path.unlink(missing_ok=True)


@pytest.fixture
def cards(tmp_path):
    if not TOOL.exists():
        pytest.skip("softgpu is not built")
    made = Cards(tmp_path, "2:H100-80G")
    yield made
    made.close()


def eventually(condition, what, timeout_s=20):
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError(f"not within {timeout_s} s: {what}")


def test_tool_creates_lists_and_removes(cards, tmp_path):
    assert cards.created["simulated"] is True
    assert [card["model"] for card in cards.created["cards"]] == ["H100-80G", "H100-80G"]
    assert all("(simulated)" in card["name"] for card in cards.created["cards"])
    again = subprocess.run([TOOL, "create", "--cards", "1:A10", cards.path], capture_output=True, text=True)
    assert again.returncode == 1 and "exists already" in again.stderr
    wrong = subprocess.run([TOOL, "create", "--cards", "1:H999", tmp_path / "x"], capture_output=True, text=True)
    assert wrong.returncode == 1 and "H100-80G" in wrong.stderr
    assert subprocess.run([TOOL, "create", "--no-such-flag"], capture_output=True).returncode == 2
    worker = cards.worker(GIB)
    busy = subprocess.run([TOOL, "rm", cards.path], capture_output=True, text=True)
    assert busy.returncode == 1 and "in use by 1" in busy.stderr
    worker.kill()
    worker.wait()
    assert cards.tool("rm", cards.path)["removed"] == str(cards.path)


def test_nvidia_ml_py_sees_cards_processes_and_utilisation(cards):
    pytest.importorskip("pynvml")
    worker = cards.worker(3 * GIB)
    eventually(lambda: cards.list()["cards"][0]["sm_percent"] > 90, "card 0 is busy")
    seen = cards.script("""
        import json, pynvml as n
        n.nvmlInit()
        out = []
        for i in range(n.nvmlDeviceGetCount()):
            h = n.nvmlDeviceGetHandleByIndex(i)
            memory = n.nvmlDeviceGetMemoryInfo(h, version=n.nvmlMemory_v2)
            try:
                samples = [(s.pid, s.smUtil) for s in n.nvmlDeviceGetProcessUtilization(h, 0)]
            except n.NVMLError_NotFound:
                samples = []
            out.append({"name": n.nvmlDeviceGetName(h), "used": memory.used, "total": memory.total,
                        "gpu": n.nvmlDeviceGetUtilizationRates(h).gpu, "samples": samples,
                        "processes": [(p.pid, p.usedGpuMemory) for p in n.nvmlDeviceGetComputeRunningProcesses(h)]})
        n.nvmlShutdown()
        print(json.dumps(out))
        """)
    expected = 3 * GIB + CONTEXT_BYTES + (2 << 20)  # and one module
    assert [card["name"] for card in seen] == ["Tweendeck Soft H100-80G (simulated)"] * 2
    assert seen[0]["used"] == expected and seen[1]["used"] == 0
    assert seen[0]["processes"] == [[worker.pid, expected]] and seen[1]["processes"] == []
    assert seen[0]["gpu"] > 50 and seen[1]["gpu"] == 0
    assert seen[0]["samples"][0][0] == worker.pid and seen[0]["samples"][0][1] > 50


def test_two_processes_share_the_card_in_turn(cards):
    workers = [cards.worker(GIB), cards.worker(2 * GIB)]

    def shares():
        processes = {p["pid"]: p["sm_percent"] for p in cards.list()["cards"][0]["processes"]}
        return [processes.get(w.pid, 0) for w in workers]

    # Eight launches each in turn: half the card for both, but for what the machine's own load takes from one.
    eventually(lambda: min(shares()) >= 30 and sum(shares()) >= 85, "both get their half of the card")


def test_nvitop_shows_the_process(cards):
    pytest.importorskip("nvitop")
    worker = cards.worker(3 * GIB)
    text = cards.run("-m", "nvitop", "--once")
    assert "(simulated)" in text and "79.65GiB" in text
    row = next(line for line in text.splitlines() if f" {worker.pid} " in line)
    assert "3330MiB" in row or "3.25GiB" in row
    assert "ERROR" not in text


def test_gpustat_shows_the_process(cards):
    pytest.importorskip("gpustat")
    worker = cards.worker(3 * GIB)
    shown = json.loads(cards.run("-m", "gpustat", "--json"))["gpus"]
    assert "(simulated)" in shown[0]["name"]
    assert shown[0]["memory.total"] == 81559
    assert [(p["pid"], p["gpu_memory_usage"]) for p in shown[0]["processes"]] == [(worker.pid, 3330)]


def test_cuda_bindings_allocate_copy_launch_and_time(cards):
    pytest.importorskip("cuda.bindings.driver")
    seen = cards.script("""
        import ctypes, json
        from cuda.bindings import driver as d
        def ok(result):
            assert result[0] == d.CUresult.CUDA_SUCCESS, result[0]
            return result[1] if len(result) == 2 else result[1:]
        ok(d.cuInit(0))
        device = ok(d.cuDeviceGet(1))
        ok(d.cuCtxSetCurrent(ok(d.cuDevicePrimaryCtxRetain(device))))
        pointer = ok(d.cuMemAlloc(1 << 20))
        data = bytes(range(256)) * 4096
        ok(d.cuMemcpyHtoD(pointer, data, len(data)))
        back = ctypes.create_string_buffer(len(data))
        ok(d.cuMemcpyDtoH(ctypes.addressof(back), pointer, len(data)))
        kernel = ok(d.cuLibraryGetKernel(ok(d.cuLibraryLoadData(b"any image", [], [], 0, [], [], 0)), b"tw_spin"))
        stream = ok(d.cuStreamCreate(d.CUstream_flags.CU_STREAM_NON_BLOCKING))
        first, second = ok(d.cuEventCreate(0)), ok(d.cuEventCreate(0))
        duration = ctypes.c_uint64(30_000_000)
        arguments = (ctypes.c_void_p * 1)(ctypes.addressof(duration))
        ok(d.cuEventRecord(first, stream))
        config = d.CUlaunchConfig()
        config.gridDimX = config.gridDimY = config.gridDimZ = 1
        config.blockDimX = config.blockDimY = config.blockDimZ = 1
        config.hStream = stream
        ok(d.cuLaunchKernelEx(config, d.CUfunction(int(kernel)), ctypes.addressof(arguments), 0))
        ok(d.cuEventRecord(second, stream))
        pending = d.cuStreamQuery(stream)[0].name
        ok(d.cuEventSynchronize(second))
        refused = d.cuMemAlloc(100 << 30)[0]
        print(json.dumps({"same": back.raw == data, "pending": pending, "ms": ok(d.cuEventElapsedTime(first, second)),
                          "refused": refused.name, "text": ok(d.cuGetErrorString(refused)).decode(),
                          "name": ok(d.cuDeviceGetName(64, device)).decode().rstrip(chr(0)).strip(),
                          "parameter": [int(x) for x in ok(d.cuKernelGetParamInfo(kernel, 0))]}))
        """)
    assert seen["same"] is True
    assert seen["pending"] == "CUDA_ERROR_NOT_READY"
    assert 30 <= seen["ms"] < 60
    assert (seen["refused"], seen["text"]) == ("CUDA_ERROR_OUT_OF_MEMORY", "out of memory")
    assert "(simulated)" in seen["name"]
    assert seen["parameter"] == [0, 8]


def test_killed_processes_leave_nothing(cards):
    survivor = cards.worker(GIB)
    for _ in range(5):
        victims = [cards.worker(10 * GIB) for _ in range(3)]
        assert cards.list()["attached"] == 4
        for victim in victims:
            victim.send_signal(signal.SIGKILL)
            victim.wait()
        state = cards.list()
        assert state["attached"] == 1
        assert [p["pid"] for p in state["cards"][0]["processes"]] == [survivor.pid]
        assert state["cards"][0]["used_bytes"] == GIB + CONTEXT_BYTES + (2 << 20)
    assert survivor.poll() is None


def test_visible_devices_selects_cards(cards):
    cards.env["CUDA_VISIBLE_DEVICES"] = "1"
    cards.worker(GIB)
    assert [len(card["processes"]) for card in cards.list()["cards"]] == [0, 1]
