"""Unchanged clients inside a slice: NVML's see the slice, NVIDIA's Python stack is limited by it.

cuda-bindings, cuda-core and numba-cuda find every function through cuGetProcAddress.
"""
import json
import subprocess
import sys
import textwrap
import time

import pytest

from softgpu_clients_test import WORKER
from vgpu_harness import MIB, OWN, assert_some_within, gpu, make, script  # noqa: F401
from vgpu_paths import UNIT


@pytest.fixture
def busy(make):
    """Two slices of a card with a process each: (slice, worker of it, worker of the other)."""
    slices = [make(1024 * MIB), make(4096 * MIB)]
    workers = []
    for one, size in zip(slices, (300 * MIB, 2000 * MIB)):
        workers.append(subprocess.Popen([sys.executable, "-c", WORKER, str(size)], env=one.environment(), text=True,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE))
        assert workers[-1].stdout.readline() == "ready\n"
    yield slices[0], *workers
    for worker in workers:
        worker.kill()
        worker.wait()
        worker.stdin.close()
        worker.stdout.close()


def test_nvml_lists_the_processes_of_the_slice(busy):
    pytest.importorskip("pynvml")
    slice_of, mine, _ = busy
    shown = json.loads(script(slice_of, "-c", textwrap.dedent("""
        import json, pynvml as n
        n.nvmlInit()
        h = n.nvmlDeviceGetHandleByIndex(0)
        lists = [f(h) for f in (n.nvmlDeviceGetComputeRunningProcesses, n.nvmlDeviceGetComputeRunningProcesses_v2,
                                n.nvmlDeviceGetGraphicsRunningProcesses)]
        try: samples = [s.pid for s in n.nvmlDeviceGetProcessUtilization(h, 0)]
        except n.NVMLError as error: samples = error.value
        m = n.nvmlDeviceGetMemoryInfo(h)
        print(json.dumps([[[(p.pid, p.usedGpuMemory) for p in l] for l in lists], samples, [m.total, m.used]]))""")))
    own = [[mine.pid, 300 * MIB + OWN]]
    assert shown[0] == [own, own, []]
    assert shown[1] in ([mine.pid], 6)  # sampled six times a second; none yet is "not found"
    assert shown[2] == [1024 * MIB + OWN, 300 * MIB + OWN]


def test_nvitop_shows_the_slice(busy):
    pytest.importorskip("nvitop")
    slice_of, mine, other = busy
    text = script(slice_of, "-m", "nvitop", "--once")
    assert str(mine.pid) in text and str(other.pid) not in text
    assert "558.0MiB / 1282MiB" in " ".join(text.split()), text


def test_gpustat_shows_the_slice(busy):
    pytest.importorskip("gpustat")
    slice_of, mine, _ = busy
    shown = json.loads(script(slice_of, "-m", "gpustat", "--json"))["gpus"][0]
    assert (shown["memory.used"], shown["memory.total"]) == (558, 1282)
    assert [(p["pid"], p["gpu_memory_usage"]) for p in shown["processes"]] == [(mine.pid, 558)]


def test_cuda_bindings_is_limited(make):
    pytest.importorskip("cuda.bindings.driver")
    slice_of = make(16 * UNIT)
    code = """
        from cuda.bindings import driver as d
        def check(result):
            assert result[0] == d.CUresult.CUDA_SUCCESS, result
            return result[1] if len(result) > 1 else None
        check(d.cuInit(0))
        check(d.cuCtxSetCurrent(check(d.cuDevicePrimaryCtxRetain(check(d.cuDeviceGet(0))))))
        check(d.cuModuleLoadData(b"tw_spin"))
        def fill(call):
            count = 0
            while count < 64 and call()[0] == d.CUresult.CUDA_SUCCESS: count += 1
            return count
        counts = [fill(lambda: d.cuMemAlloc(2 << 20)), int(check(d.cuDeviceTotalMem(0)))]
        print(counts)"""
    assert json.loads(script(slice_of, "-c", textwrap.dedent(code))) == [16, 16 * UNIT + OWN]


# Both define `memory()`, which answers how much was granted and with which error the rest was refused, and that what is freed
# is granted again; and `launch()`, some milliseconds of kernels, each waited for.
CUDA_CORE = """
    from cuda.core import Device, LaunchConfig, Program, ProgramOptions, launch as start
    device = Device(0)
    device.set_current()
    stream = device.create_stream()
    source = 'extern "C" __global__ void empty() {}'
    kernel = Program(source, code_type="c++", options=ProgramOptions(arch="sm_90")).compile("cubin").get_kernel("empty")
    def launch():
        for _ in range(2):
            start(stream, LaunchConfig(grid=GRID, block=1024), kernel)
            stream.sync()
    def memory():
        held = []
        try:
            while len(held) < 64: held.append(device.allocate(UNIT, stream=stream))
            return "no refusal"
        except Exception as error:
            granted, text = len(held), str(error)
        held.pop().close(stream)
        stream.sync()
        again = device.allocate(UNIT, stream=stream)
        again.close(stream)
        return [granted, text]
"""

NUMBA_CUDA = """
    import warnings
    warnings.simplefilter("ignore")
    import numpy
    from numba import cuda
    from numba.cuda.cudadrv.driver import CudaAPIError
    @cuda.jit
    def empty(): pass
    empty[1, 1]()
    cuda.synchronize()
    def launch():
        for _ in range(2):
            empty[GRID, 1024]()
            cuda.synchronize()
    def memory():
        held = []
        try:
            while len(held) < 64: held.append(cuda.device_array(UNIT, dtype=numpy.uint8))
            return "no refusal"
        except CudaAPIError as error:
            granted, text = len(held), str(error)
        held.clear()
        cuda.current_context().deallocations.clear()
        again = cuda.device_array(UNIT, dtype=numpy.uint8)
        return [granted, text]
"""

CLIENTS = pytest.mark.parametrize("package, client", [("cuda.core", CUDA_CORE), ("numba_cuda", NUMBA_CUDA)])


def program(client, last):
    # Some three milliseconds of an H100, which runs 264 such blocks at once.
    return textwrap.dedent(client) + f"\nUNIT, GRID = {UNIT}, 264 * 600\n" + textwrap.dedent(last)


@CLIENTS
def test_pythons_cuda_packages_are_refused_memory_at_the_limit(make, package, client):
    pytest.importorskip(package)
    slice_of = make(16 * UNIT)
    granted, error = json.loads(script(slice_of, "-c", program(client, "import json; print(json.dumps(memory()))")))
    assert granted == 16 + 1, "a software GPU gives libraries nothing, so the module's room in OWN is there, too"
    assert "CUDA_ERROR_OUT_OF_MEMORY" in error


@CLIENTS
def test_pythons_cuda_packages_get_their_share_of_the_time(make, gpu, package, client):
    pytest.importorskip(package)
    slice_of = make(0, 300)
    loop = program(client, """
        import select, sys
        for _ in range(20): launch()
        print("ready", flush=True)
        while not select.select([sys.stdin], [], [], 0)[0]: launch()
        """)
    with subprocess.Popen([sys.executable, "-c", loop], env=slice_of.environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                          text=True) as process:
        try:
            assert process.stdout.readline() == "ready\n"

            def measure():
                started, before = time.monotonic(), gpu.busy_ns(process.pid)
                time.sleep(2)
                return (gpu.busy_ns(process.pid) - before) / (time.monotonic() - started) / 1e7

            assert_some_within(measure, 30)
        finally:
            process.kill()
