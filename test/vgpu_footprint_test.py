"""What contexts and code take is measured by NVML, also where NVML does not show this process under its own pid."""
import json
import os
import struct
import subprocess
import sys
import threading

import pytest

from vgpu_harness import (BOOKS_OFFSET, CONTEXTS, MIB, MODULES, OUT_OF_MEMORY, OWN, SLOTS_OFFSET, TENANT, gpu, make)  # noqa: F401
from vgpu_paths import UNIT

NO_PIDS = {"TWEENDECK_SOFTGPU_NVML_PIDS": "none"}
MOST_OF_CONTEXT, MOST_OF_CODE = 2 << 30, 1 << 30  # footprint.h


def measured(slice_of):
    """Bytes of contexts and of code, per process of the slice."""
    data = slice_of.usage.read_bytes()
    found = []
    for slot in range(256):
        owner = struct.unpack_from("<Q", data, SLOTS_OFFSET + 64 * slot)[0]
        if owner and not owner & 1:
            kinds = struct.unpack_from("<14Q", data, BOOKS_OFFSET + 128 * slot)[2:]
            found.append((kinds[CONTEXTS], kinds[MODULES]))
    return found


CONTEXT = OWN - 2 * MIB


def test_without_its_pid_a_process_is_measured_by_the_device(make):
    slice_of = make(16 * UNIT, processes=2)
    first = make.tenant(slice_of, **NO_PIDS)
    assert measured(slice_of) == [(CONTEXT, 2 * MIB)]
    assert first.do("alloc", 5 * UNIT)[0] == 0
    make.tenant(slice_of, **NO_PIDS)
    assert measured(slice_of) == [(CONTEXT, 2 * MIB)] * 2, "what a peer holds is not measured again"
    assert first.do("fill", UNIT) == [11, OUT_OF_MEMORY]


def test_memory_of_the_slices_own_data_is_not_taken_for_code(make):
    slice_of = make(16 * UNIT, processes=2)
    peer = make.tenant(slice_of, **NO_PIDS)
    tenant = make.tenant(slice_of, **NO_PIDS)
    peer.do("alloc", 3 * UNIT)
    assert tenant.do("path", "module") == [13, OUT_OF_MEMORY, 1, 13]


def test_a_neighbour_disturbs_what_is_measured_within_a_bound_only(make):
    """It takes and gives back most of the card all the time, while tenants start."""
    neighbour = make.tenant(make())
    stop = threading.Event()

    def churn():
        while not stop.is_set():
            code, address = neighbour.do("alloc", 60 << 30)
            assert code == 0
            neighbour.do("free", address)

    thread = threading.Thread(target=churn)
    thread.start()
    try:
        for _ in range(5):
            slice_of = make(8 << 30)
            tenant = make.tenant(slice_of, **NO_PIDS)
            [(context, code)] = measured(slice_of)
            assert context <= MOST_OF_CONTEXT and code <= MOST_OF_CODE
            tenant.kill()
    finally:
        stop.set()
        thread.join()


def can_have_own_pids():
    return os.geteuid() == 0 and subprocess.run(["unshare", "--pid", "--fork", "true"], capture_output=True).returncode == 0


class Contained:
    """A tenant in a pid namespace of its own, where it is process 1."""

    def __init__(self, slice_of):
        self.process = subprocess.Popen(["unshare", "--pid", "--fork", "--kill-child", sys.executable, TENANT], text=True,
                                        env=slice_of.environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert json.loads(self.process.stdout.readline()) == {"init": 0}

    def do(self, *command):
        self.process.stdin.write(json.dumps(command) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait(30)
        self.process.stdout.close()


@pytest.mark.skipif(not can_have_own_pids(), reason="no pid namespaces here")
def test_a_stranger_of_the_same_pid_is_not_taken_for_oneself(make):
    other, mine = make(1024 * MIB), make(16 * UNIT)
    with Contained(other) as stranger:
        stranger.do("alloc", 300 * MIB)
        with Contained(mine) as tenant:
            assert measured(mine) == [(CONTEXT, 2 * MIB)], "not what NVML says of the stranger"
            assert tenant.do("fill", UNIT) == [16, OUT_OF_MEMORY]
            assert measured(other) == [(CONTEXT, 2 * MIB)]
