"""NVIDIA's Python stack on software GPUs, unchanged: cuda-bindings, cuda-core with NVRTC, numba-cuda; and memory shared by processes."""
import subprocess
import sys
import textwrap

import pytest

from softgpu_clients_test import CONTEXT_BYTES, cards  # noqa: F401  (a fixture)

MIB = 1 << 20

PRELUDE = """
import ctypes, json, sys
from cuda.bindings import driver as d
def ok(result):
    assert result[0] == d.CUresult.CUDA_SUCCESS, result[0]
    return result[1] if len(result) == 2 else result[1:]
ok(d.cuInit(0))
ok(d.cuCtxSetCurrent(ok(d.cuDevicePrimaryCtxRetain(ok(d.cuDeviceGet(0))))))
def taken():
    free, total = ok(d.cuMemGetInfo())
    return total - free
"""


def run(cards, text):
    return cards.script(PRELUDE + textwrap.dedent(text))


def test_cuda_bindings_capture_update_and_launch_graphs(cards):
    pytest.importorskip("cuda.bindings.driver")
    seen = run(cards, """
        spin = ok(d.cuModuleGetFunction(ok(d.cuModuleLoadData(b"any image")), b"tw_spin"))
        stream = ok(d.cuStreamCreate(d.CUstream_flags.CU_STREAM_NON_BLOCKING))
        def capture(ms):
            duration = ctypes.c_uint64(ms * 1_000_000)
            arguments = (ctypes.c_void_p * 1)(ctypes.addressof(duration))
            ok(d.cuStreamBeginCapture(stream, d.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_GLOBAL))
            for _ in range(3):
                ok(d.cuLaunchKernel(spin, 1, 1, 1, 1, 1, 1, 0, stream, ctypes.addressof(arguments), 0))
            return ok(d.cuStreamEndCapture(stream))
        def time(graph):
            first, second = ok(d.cuEventCreate(0)), ok(d.cuEventCreate(0))
            ok(d.cuEventRecord(first, stream))
            ok(d.cuGraphLaunch(graph, stream))
            ok(d.cuEventRecord(second, stream))
            ok(d.cuEventSynchronize(second))
            return ok(d.cuEventElapsedTime(first, second))
        executable = ok(d.cuGraphInstantiate(capture(5), 0))
        before = time(executable)
        ok(d.cuGraphExecUpdate(executable, capture(10)))
        nodes = ok(d.cuGraphGetNodes(capture(1), 8))
        print(json.dumps({"before": before, "after": time(executable), "nodes": nodes[1]}))
        """)
    assert 15 <= seen["before"] < 30 <= seen["after"] < 60
    assert seen["nodes"] == 3


def test_cuda_bindings_allocate_on_every_path(cards):
    pytest.importorskip("cuda.bindings.driver")
    seen = run(cards, """
        stream = ok(d.cuStreamCreate(0))
        start = taken()
        steps = {}
        linear = ok(d.cuMemAllocAsync(3 << 20, stream))
        steps["async"] = taken() - start
        prop = d.CUmemAllocationProp()
        prop.type = d.CUmemAllocationType.CU_MEM_ALLOCATION_TYPE_PINNED
        prop.location.type = d.CUmemLocationType.CU_MEM_LOCATION_TYPE_DEVICE
        prop.location.id = 0
        handle = ok(d.cuMemCreate(4 << 20, prop, 0))
        address = ok(d.cuMemAddressReserve(4 << 20, 0, 0, 0))
        ok(d.cuMemMap(address, 4 << 20, 0, handle, 0))
        access = d.CUmemAccessDesc()
        access.location = prop.location
        access.flags = d.CUmemAccess_flags.CU_MEM_ACCESS_FLAGS_PROT_READWRITE
        ok(d.cuMemSetAccess(address, 4 << 20, [access], 1))
        ok(d.cuMemsetD8(address, 1, 4 << 20))
        steps["created"] = taken() - start
        shape = d.CUDA_ARRAY_DESCRIPTOR()
        shape.Width, shape.Height, shape.NumChannels = 512, 512, 4
        shape.Format = d.CUarray_format.CU_AD_FORMAT_FLOAT
        array = ok(d.cuArrayCreate(shape))
        steps["array"] = taken() - start
        managed = ok(d.cuMemAllocManaged(1 << 20, d.CUmemAttach_flags.CU_MEM_ATTACH_GLOBAL.value))
        steps["managed"] = taken() - start
        ok(d.cuMemFree(managed))
        ok(d.cuArrayDestroy(array))
        ok(d.cuMemUnmap(address, 4 << 20))
        ok(d.cuMemRelease(handle))
        ok(d.cuMemAddressFree(address, 4 << 20))
        ok(d.cuMemFreeAsync(linear, stream))
        steps["end"] = taken() - start
        print(json.dumps(steps))
        """)
    assert seen == {"async": 3 * MIB, "created": 7 * MIB, "array": 11 * MIB, "managed": 12 * MIB, "end": 0}


EXPORTER = PRELUDE + """
pointer = ok(d.cuMemAlloc(1 << 20))
ok(d.cuMemsetD8(pointer, 7, 1 << 20))
handle = ok(d.cuIpcGetMemHandle(pointer))
print(ctypes.string_at(handle.getPtr(), 64).hex(), flush=True)
sys.stdin.readline()
back = (ctypes.c_ubyte * 1)()
ok(d.cuMemcpyDtoH(ctypes.addressof(back), int(pointer) + 5, 1))
print(back[0], flush=True)
"""


def test_memory_handles_are_opened_by_other_processes_which_do_not_pay(cards):
    pytest.importorskip("cuda.bindings.driver")
    exporter = subprocess.Popen([sys.executable, "-c", EXPORTER], env=cards.env, text=True, stdin=subprocess.PIPE,
                                stdout=subprocess.PIPE)
    try:
        handle = exporter.stdout.readline().strip()
        seen = run(cards, f"""
            handle = d.CUipcMemHandle()
            ctypes.memmove(handle.getPtr(), bytes.fromhex("{handle}"), 64)
            start = taken()
            pointer = ok(d.cuIpcOpenMemHandle(handle, 1))
            back = (ctypes.c_ubyte * 1)()
            ok(d.cuMemcpyDtoH(ctypes.addressof(back), int(pointer) + 100, 1))
            ok(d.cuMemsetD8(int(pointer) + 5, 9, 1))
            paid = taken() - start
            freed = d.cuMemFree(pointer)[0].name
            ok(d.cuIpcCloseMemHandle(pointer))
            print(json.dumps({{"read": back[0], "paid": paid, "freed": freed}}))
            """)
        assert seen == {"read": 7, "paid": 0, "freed": "CUDA_ERROR_INVALID_VALUE"}
        exporter.stdin.write("\n")
        exporter.stdin.flush()
        assert exporter.stdout.readline().strip() == "9"
        assert exporter.wait(timeout=30) == 0
    finally:
        exporter.kill()
        exporter.wait()
        exporter.stdin.close()
        exporter.stdout.close()


def test_cuda_core_compiles_allocates_launches_and_captures(cards):
    pytest.importorskip("cuda.core")
    seen = cards.script("""
        import ctypes, json
        import numpy
        from cuda.core import Device, LaunchConfig, ObjectCode, Program, ProgramOptions, launch
        device = Device(0)
        device.set_current()
        stream = device.create_stream()
        source = 'extern "C" __global__ void scale(float* x, float f, int n) { int i = threadIdx.x; if (i < n) x[i] *= f; }'
        scale = Program(source, code_type="c++", options=ProgramOptions(arch="sm_90")).compile("cubin").get_kernel("scale")
        buffer = device.allocate(4000, stream=stream)
        launch(stream, LaunchConfig(grid=4, block=256), scale, buffer, numpy.float32(2), numpy.int32(1000))
        stream.sync()
        spin = ObjectCode.from_cubin(b"any image").get_kernel("tw_spin")
        builder = device.create_graph_builder().begin_building()
        for _ in range(2):
            launch(builder, LaunchConfig(grid=1, block=1), spin, ctypes.c_uint64(10_000_000))
        graph = builder.end_building().complete()
        first = stream.record(options={"timing_enabled": True})
        graph.launch(stream)
        second = stream.record(options={"timing_enabled": True})
        second.sync()
        size = buffer.size
        buffer.close(stream)
        print(json.dumps({"name": device.name, "size": size, "ms": second - first}))
        """)
    assert "(simulated)" in seen["name"]
    assert seen["size"] == 4000
    assert 20 <= seen["ms"] < 60


def test_numba_cuda_compiles_copies_and_launches(cards):
    pytest.importorskip("numba_cuda")
    seen = cards.script("""
        import json, warnings
        warnings.simplefilter("ignore")
        import numpy
        from numba import cuda
        @cuda.jit
        def double(x):
            i = cuda.grid(1)
            if i < x.size:
                x[i] *= 2
        host = numpy.arange(1000, dtype=numpy.float32)
        held = cuda.to_device(host)
        double[4, 256](held)
        cuda.synchronize()
        managed = cuda.managed_array(100, dtype=numpy.float32)
        managed[:] = 3
        info = cuda.current_context().get_memory_info()
        print(json.dumps({"same": bool((held.copy_to_host() == host).all()), "managed": float(managed.sum()),
                          "taken": info.total - info.free}))
        """)
    assert seen["same"] is True  # kernels are timed, not computed
    assert seen["managed"] == 300
    assert seen["taken"] > CONTEXT_BYTES
