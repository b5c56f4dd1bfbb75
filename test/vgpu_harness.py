"""Slices of software GPUs for tests of the vgpu library: the two pages, and tenants in them.

The pages are written here byte by byte, as a second reading of the layout in src/vgpu/page.h.
"""
import json
import os
import pathlib
import random
import struct
import subprocess
import sys
import time

import pytest

from conftest import BUILD

LIBRARY = BUILD / "lib" / "libtweendeck-vgpu.so"
SOFTGPU = BUILD / "lib" / "softgpu"
TOOL = BUILD / "bin" / "tweendeck-softgpu"
TENANT = pathlib.Path(__file__).with_name("vgpu_tenant.py")
MIB = 1 << 20
OWN = 258 * MIB  # what a tenant's context and its one module take of a software GPU; charged to the slice like all else
CONTEXTS, MODULES = 7, 8  # kinds of memory
OUT_OF_MEMORY, SYSTEM_NOT_READY = 2, 802
SET, DEVICE, SLOTS_OFFSET, BOOKS_OFFSET = 64 + 64 * 16, 64, 128 + 512 * 16, 128 + 512 * 16 + 64 * 256
LIMITS_SIZE, USAGE_SIZE = 128 + 2 * SET + 64 * 16, BOOKS_OFFSET + 128 * 16 * 256


class Gpu:
    """One device-model file."""

    def __init__(self, directory, cards="1:H100-80G"):
        self.path = directory / "model"
        subprocess.run([TOOL, "create", "--cards", cards, self.path], check=True, capture_output=True)

    def state(self):
        return json.loads(subprocess.run([TOOL, "ls", "-o", "json", self.path], check=True, capture_output=True).stdout)

    def uuid(self, card=0):
        return self.state()["cards"][card]["uuid"]

    def busy_ns(self, pid, card=0):
        return sum(p["busy_ns"] for p in self.state()["cards"][card]["processes"] if p["pid"] == pid)


class SliceOf:
    """The two pages of one slice. `memory` is what is left for data when that many processes have started; 0 = no limit."""

    def __init__(self, directory, gpu, memory=0, permille=0, card=0, processes=1):
        self.gpu, self.card = gpu, card
        self.own = OWN * processes
        directory.mkdir()
        self.limits, self.usage = directory / "limits", directory / "usage"
        self.generation = 0
        binding = random.getrandbits(63) | 1
        head = struct.pack("<QIIQQ", 0x31494C5550475654, 1, 1, LIMITS_SIZE, binding)
        self.limits.write_bytes(head.ljust(128, b"\0") + self.set_of(memory, permille).ljust(2 * SET + 64 * 16, b"\0"))
        self.usage.write_bytes(struct.pack("<QIIQQ", 0x3153555550475654, 1, 1, USAGE_SIZE, binding).ljust(USAGE_SIZE, b"\0"))

    def set_of(self, memory, permille):
        uuid = bytes.fromhex(self.gpu.uuid(self.card).removeprefix("GPU-").replace("-", ""))
        limit = memory + self.own if memory else 0
        device = uuid + struct.pack("<QIIIiII", limit, permille, permille, 1, 0, 0, 0)
        return (struct.pack("<II", 1, 0).ljust(64, b"\0") + device).ljust(SET, b"\0")

    def resize(self, memory, permille):
        self.generation += 1
        with self.limits.open("r+b") as page:
            page.seek(128 + SET * (self.generation & 1))
            page.write(self.set_of(memory, permille))
            page.flush()
            page.seek(96)
            page.write(struct.pack("<Q", self.generation))

    def device_word(self, index):
        with self.usage.open("rb") as page:
            page.seek(128 + 8 * index)
            return struct.unpack("<Q", page.read(8))[0]

    def used(self):
        """Bytes of data, contexts and modules aside."""
        data = self.usage.read_bytes()
        total = 0
        for slot in range(256):
            owner = struct.unpack_from("<Q", data, SLOTS_OFFSET + 64 * slot)[0]
            if owner and not owner & 1:
                used, pending, *kinds = struct.unpack_from("<14Q", data, BOOKS_OFFSET + 128 * slot)
                total += used + pending - kinds[CONTEXTS] - kinds[MODULES]
        return total

    def environment(self, **more):
        return dict(os.environ, LD_PRELOAD=str(LIBRARY), LD_LIBRARY_PATH=str(SOFTGPU),
                    TWEENDECK_SOFTGPU_STATE=str(self.gpu.path), TWEENDECK_VGPU_LIMITS=str(self.limits),
                    TWEENDECK_VGPU_USAGE=str(self.usage), CUDA_VISIBLE_DEVICES=self.gpu.uuid(self.card), **more)


class Tenant:
    def __init__(self, slice_of, flags=0, user=None, **environment):
        self.process = subprocess.Popen(
            [sys.executable, TENANT, str(flags)], env=slice_of.environment(**environment), stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, user=user, group=user,
            extra_groups=[] if user else None)
        self.pid = self.process.pid
        first = self.process.stdout.readline()
        assert first, self.process.stderr.read()
        self.init = json.loads(first)["init"]

    def send(self, *command):
        self.process.stdin.write(json.dumps(command) + "\n")
        self.process.stdin.flush()

    def answer(self):
        line = self.process.stdout.readline()
        assert line, self.process.stderr.read()
        return json.loads(line)

    def do(self, *command):
        self.send(*command)
        return self.answer()

    def kill(self):
        self.process.kill()
        self.process.wait()


def share_of(gpu, tenants, commands, seconds, settle=0.0):
    """Percent of the card's time that each of the tenants gets, by the device's own account."""
    for tenant, command in zip(tenants, commands):
        tenant.send(*command)
    time.sleep(0.3 + settle)
    start, before = time.monotonic(), [gpu.busy_ns(t.pid) for t in tenants]
    time.sleep(seconds)
    after, end = [gpu.busy_ns(t.pid) for t in tenants], time.monotonic()
    for tenant in tenants:
        tenant.answer()
    return [(b - a) / (end - start) / 1e7 for a, b in zip(before, after)]


def assert_some_within(measure, percent):
    """A host that is too busy to feed the card shows as a lower share, so one of three measurements has to be right."""
    if os.getloadavg()[0] > os.cpu_count():
        pytest.skip("the host is too busy to feed a card; shares need a quiet one")
    seen = []
    for _ in range(3):
        seen.append(measure())
        if abs(seen[-1] - percent) <= 2:
            return
    raise AssertionError(f"{percent} % asked, {seen} got")


def script(slice_of, *command):
    """What a Python program inside the slice prints."""
    run = subprocess.run([sys.executable, *command], env=slice_of.environment(), capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout


@pytest.fixture
def gpu(tmp_path):
    return Gpu(tmp_path)


@pytest.fixture
def make(tmp_path, gpu):
    """make(memory, permille) -> slice; make.tenant(slice, ...) -> process that ends with the test."""
    tenants = []

    def slice_of(memory=0, permille=0, on=gpu, card=0, processes=1):
        return SliceOf(tmp_path / f"slice{random.getrandbits(48)}", on, memory, permille, card, processes)

    def tenant(*args, **kwargs):
        tenants.append(Tenant(*args, **kwargs))
        return tenants[-1]

    slice_of.tenant = tenant
    yield slice_of
    for one in tenants:
        one.kill()
