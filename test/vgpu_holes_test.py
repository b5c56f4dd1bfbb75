"""Memory that is easily lost from sight: what outlives the call, pool or handle that it came by is charged until it is gone."""
import ctypes
import json
import textwrap

import pytest

from vgpu_harness import MIB, TENANT, gpu, make, script  # noqa: F401
from vgpu_paths import UNIT

PRELUDE = f"""
import ctypes, json, os, sys
sys.path.insert(0, {str(TENANT.parent)!r})
import vgpu_tenant as t, vgpu_paths as p
UNIT = p.UNIT
cuda = t.Cuda()
fits = lambda bytes: (lambda got: got[0] == 0 and cuda.free(got[1]) == 0)(cuda.alloc(bytes))
def left():
    return cuda.info()[0]
"""


def run(slice_of, text):
    return json.loads(script(slice_of, "-c", PRELUDE + textwrap.dedent(text)))


@pytest.mark.parametrize("free", ["cuMemFreeAsync", "cuMemFree"])
def test_a_destroyed_pool_is_charged_until_the_last_of_it_is_freed(make, free):
    slice_of = make(16 * UNIT)
    seen = run(slice_of, f"""
        pool = p.Pool(cuda)
        keep = t.U64(2 ** 63)  # a release threshold: what is freed stays with the pool
        pool.check("cuMemPoolSetAttribute", 11020, pool.pool, 4, ctypes.byref(keep))
        held = [pool.get()[1] for _ in range(5)]
        pool.put(held.pop())
        steps = [left()]
        pool.check("cuMemPoolDestroy", 11020, pool.pool)
        steps.append(left())
        def free(address):
            if "{free}" == "cuMemFree": return pool.check("cuMemFree", 3020, address)
            pool.check("cuMemFreeAsync", 11020, address, None)
        for address in held[:3]: free(address)
        steps.append(left())
        free(held[3])
        steps.append(left())
        steps.append(fits(16 * UNIT))
        print(json.dumps(steps))""")
    # Freed memory stayed in the pool; its destruction gives that back, and the rest when nothing of it is in use.
    assert seen == [11 * UNIT, 12 * UNIT, 12 * UNIT, 16 * UNIT, True]
    assert slice_of.used() == 0


def test_many_pools_that_are_made_and_destroyed_leave_nothing(make):
    slice_of = make(16 * UNIT)
    assert run(slice_of, """
        orphans = []
        for i in range(200):
            pool = p.Pool(cuda)
            codes = [pool.get() for _ in range(1 + i % 3)]
            assert all(code == 0 for code, _ in codes)
            pool.check("cuMemPoolDestroy", 11020, pool.pool)
            orphans += [address for _, address in codes]
            if i % 4 == 3:
                while orphans: pool.check("cuMemFreeAsync", 11020, orphans.pop(), None)
        print(json.dumps(left()))""") == 16 * UNIT
    assert slice_of.used() == 0


def test_a_reset_ends_destroyed_pools_too(make):
    slice_of = make(16 * UNIT)
    assert run(slice_of, """
        pool = p.Pool(cuda)
        held = [pool.get()[1] for _ in range(3)]
        pool.check("cuMemPoolDestroy", 11020, pool.pool)
        print(json.dumps(cuda.call("cuDevicePrimaryCtxReset", 11000, 0)))""") == 0
    assert slice_of.used() == 0


TILES = """
        class Info(ctypes.Structure):
            _fields_ = [("resource_type", ctypes.c_int), ("resource", t.P), ("kind", ctypes.c_int), ("part", t.U64 * 4),
                        ("operation", ctypes.c_int), ("handle_type", ctypes.c_int), ("handle", t.U64), ("offset", t.U64),
                        ("mask", t.UINT), ("flags", t.UINT), ("reserved", t.UINT * 2)]
        SPARSE = 0x40
        array, shape = t.P(), p.Array3D.Descriptor(1024, 1024, 0, p.UNSIGNED_INT8, 4, SPARSE)
        t.Cuda.check(cuda.call("cuArray3DCreate", 11010, ctypes.byref(array), ctypes.byref(shape)))
        def tile(which, handle):
            info = Info(0, array, 0, (t.U64 * 4)(which), 1 if handle else 2, 0, handle or 0, 0, 1, 0)
            t.Cuda.check(cuda.call("cuMemMapArrayAsync", 11010, ctypes.byref(info), t.UINT(1), None))
        path = p.Virtual(cuda)
        steps = [left()]
        for which in range(3):
            code, handle = path.get()
            tile(which, handle)
            path.put(handle)  # the tile keeps the memory
        steps.append(left())
        tile(0, None)
        steps.append(left())
        code, handle = path.get()
        tile(1, handle)  # another memory in its place
        path.put(handle)
        steps.append(left())
"""


def test_memory_that_is_mapped_to_an_array_is_charged_until_the_array_lets_it_go(make):
    slice_of = make(16 * UNIT)
    assert run(slice_of, TILES + """
        t.Cuda.check(cuda.call("cuArrayDestroy", 2000, array))
        steps.append(left())
        print(json.dumps(steps))""") == [16 * UNIT, 13 * UNIT, 14 * UNIT, 14 * UNIT, 16 * UNIT]
    assert slice_of.used() == 0


def test_memory_that_is_mapped_to_an_array_ends_with_the_context(make):
    slice_of = make(16 * UNIT)
    assert run(slice_of, TILES + """
        print(json.dumps(cuda.call("cuDevicePrimaryCtxReset", 11000, 0)))""") == 0
    assert slice_of.used() == 0


def test_heaps_of_a_context_are_charged_when_their_limits_are_raised(make):
    slice_of = make(16 * UNIT)
    seen = run(slice_of, """
        STACK, PRINTF, MALLOC = range(3)
        def limit(which):
            value = t.SIZE()
            t.Cuda.check(cuda.call("cuCtxGetLimit", 3010, ctypes.byref(value), which))
            return value.value
        def raise_by(which, bytes):
            return cuda.call("cuCtxSetLimit", 3010, which, t.SIZE(limit(which) + bytes))
        steps = []
        def step(code):
            steps.append([code, left()])
        step(raise_by(MALLOC, 4 * UNIT))
        step(raise_by(MALLOC, -4 * UNIT))
        step(raise_by(MALLOC, 4 * UNIT))
        step(raise_by(PRINTF, 2 * UNIT))
        step(raise_by(STACK, 8))
        was = limit(MALLOC)
        step(raise_by(MALLOC, 16 * UNIT))
        assert limit(MALLOC) == was
        module = p.Module(cuda)
        step(module.get()[0])
        print(json.dumps(steps))""")
    stacks = 8 * 132 * 2048
    heaps = [4 * UNIT, 4 * UNIT, 4 * UNIT, 6 * UNIT, 6 * UNIT + stacks]
    assert seen[:5] == [[0, 16 * UNIT - held] for held in heaps], "a limit that is lowered gives nothing back, and costs nothing again"
    assert seen[5] == [2, 16 * UNIT - heaps[-1]]
    assert seen[6] == [0, 15 * UNIT - heaps[-1]], "code is measured beside them"


def test_heaps_end_with_their_context(make):
    slice_of = make(16 * UNIT)
    assert run(slice_of, """
        cuda.check(cuda.call("cuCtxSetLimit", 3010, 2, t.SIZE(20 << 20)))
        before = left()
        cuda.check(cuda.call("cuDevicePrimaryCtxReset", 11000, 0))
        print(json.dumps(before))""") == 10 * UNIT
    assert slice_of.used() == 0
