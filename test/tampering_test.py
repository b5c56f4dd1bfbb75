"""Every way around a slice's limits that facts/vgpu.md section 6.5 names, and some more: impossible, or found at once.

Programs run by `tweendeck exec` as the daemon's own user, which is the easiest place to tamper from: in a replica's sandbox
the limits are read-only and files of other users out of reach.
"""
import datetime
import os
import pathlib
import subprocess
import sys
import time

import pytest

from conftest import SOAK, TWEENDECK, wait_for

TESTS = pathlib.Path(__file__).parent
MIB = 1 << 20
OUT_OF_MEMORY = 2
# What is promised is 1 s; a machine that does other things at the same time may not run the daemon for that long.
FOUND_S = 1.0 if SOAK else 3.0

# Runs the statements that come in; `page` changes words of the slice's usage page.
GUEST = """
import ctypes, os, subprocess, sys, threading, time
from vgpu_tenant import Cuda
USAGE, LIMITS = os.environ["TWEENDECK_VGPU_USAGE"], os.environ["TWEENDECK_VGPU_LIMITS"]
SLOTS, BOOKS = 128 + 512 * 16, 128 + 512 * 16 + 64 * 256
MIB = 1 << 20
def page(offset, value, size=8, path=USAGE):
    with open(path, "r+b", buffering=0) as file:
        file.seek(offset)
        file.write(value.to_bytes(size, "little"))
def fill(cuda, step, most):
    count = 0
    while count < most and cuda.alloc(step)[0] == 0:
        count += 1
    return count
cuda = Cuda()
print("ready", flush=True)
for line in sys.stdin:
    answer = None
    exec(line)
    print(repr(answer), flush=True)
"""


class Guest:
    def __init__(self, deck, *args, environment=None, name="bad"):
        self.process = subprocess.Popen(
            [TWEENDECK, "exec", "--quiet", "--state-dir", deck.state, "--name", name, *args, "--", sys.executable, "-c",
             GUEST], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True,
            env=dict(os.environ, PYTHONPATH=str(TESTS), **(environment or {})))
        assert self.process.stdout.readline() == "ready\n"

    def __call__(self, statement):
        self.process.stdin.write(statement + "\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()

    def end(self):
        self.process.stdin.close()
        self.process.stdout.close()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(10)


@pytest.fixture
def deck(make_deck):
    return make_deck("--soft-gpus", "1:H100-80G").start()


@pytest.fixture
def guest(deck):
    one = Guest(deck, "--memory", "2Gi", "--compute", "30")
    yield one
    one.end()


def found_after(deck, since, *reasons):
    """The event of the finding, which must have come in time."""
    def look():
        for event in deck.events():
            if event["action"] == "TamperingFound" and event["reason"] in reasons:
                return event
        return None
    event = wait_for(look, 15, f"{reasons} found; events: {deck.events()}")
    at = datetime.datetime.fromisoformat(event["time"].replace("Z", "+00:00")).timestamp()
    print(f"{event['reason']} found after {at - since:.2f} s")
    assert at - since <= FOUND_S, f"{event['reason']} found after {at - since:.2f} s"
    return event


def no_finding(deck):
    return not [e for e in deck.events() if e["action"] == "TamperingFound"]


def test_an_honest_program_is_not_accused(deck, guest):
    assert guest("answer = fill(cuda, 256 * MIB, 4)") == "4"
    guest("from vgpu_tenant import spin_for; answer = spin_for(cuda, [1_000_000], 1.5, 0, 1)")
    assert no_finding(deck), deck.events()
    assert deck.run("doctor", check=False).stdout.find("SliceBypassed") < 0


@pytest.mark.parametrize("variable", [("CUDA_REDIRECT", "libc.so.6"), ("CUDA_DISABLE_CONTROL", "true"),
                                      ("CUDA_DEVICE_MEMORY_LIMIT", "64g"), ("CUDA_DEVICE_MEMORY_SHARED_CACHE", "/tmp/x")])
def test_variables_that_lift_limits_elsewhere_do_nothing(deck, variable):
    guest = Guest(deck, "--memory", "1Gi", environment=dict([variable]))
    assert int(guest("answer = fill(cuda, 256 * MIB, 100)")) <= 4
    guest.end()


def test_own_variables_after_the_start_do_nothing(deck, guest):
    guest("os.environ['TWEENDECK_VGPU_LIMITS'] = '/nonexistent'; os.unsetenv('LD_PRELOAD')")
    assert int(guest("answer = fill(cuda, 256 * MIB, 100)")) <= 8


BARE_CHILD = ("subprocess.Popen([sys.executable, '-c', 'from vgpu_tenant import Cuda; import time; c = Cuda(); "
              "print(c.alloc(4 << 30), flush=True); time.sleep(60)'], stdout=subprocess.PIPE, text=True, env={env})")


@pytest.mark.parametrize("how, env", [
    ("without the preloaded library", "{k: v for k, v in os.environ.items() if k != 'LD_PRELOAD'}"),
    ("without anything of the slice", "{k: v for k, v in os.environ.items() if k != 'LD_PRELOAD' and 'VGPU' not in k}"),
])
def test_a_child_that_drops_the_library_is_found(deck, guest, how, env):
    since = time.time()
    guest("child = " + BARE_CHILD.format(env=env))
    assert guest("answer = child.stdout.readline()").startswith("'(0"), "nothing in user space stops it"
    event = found_after(deck, since, "SliceBypassed")
    assert event["subject"] == "bad", "it is known whose child it is"
    assert "SliceBypassed" in deck.run("doctor", check=False).stdout
    guest("child.kill(); child.wait()")
    wait_for(lambda: any(e["action"] == "TamperingOver" for e in deck.events()), 10, "it is over")


def test_a_process_with_pages_of_its_own_is_found(deck, guest):
    since = time.time()
    guest("import shutil; shutil.copy(LIMITS, '/tmp/limits-%d' % os.getpid()); shutil.copy(USAGE, '/tmp/usage-%d' % os.getpid())")
    guest("page(128 + 64 + 16, 64 << 30, 8, '/tmp/limits-%d' % os.getpid()); "
          "page(128 + 1088 + 64 + 16, 64 << 30, 8, '/tmp/limits-%d' % os.getpid())")
    guest("child = " + BARE_CHILD.format(env="dict(os.environ, TWEENDECK_VGPU_LIMITS='/tmp/limits-%d' % os.getpid(), "
                                             "TWEENDECK_VGPU_USAGE='/tmp/usage-%d' % os.getpid())"))
    guest("answer = child.stdout.readline()")
    assert found_after(deck, since, "SliceBypassed")["subject"] == "bad"
    guest("child.kill(); child.wait(); os.unlink('/tmp/limits-%d' % os.getpid()); os.unlink('/tmp/usage-%d' % os.getpid())")


def test_a_program_outside_of_every_slice_is_found(deck, guest):
    environment = {key: value for key, value in os.environ.items()}
    environment.update(PYTHONPATH=str(TESTS), TWEENDECK_SOFTGPU_STATE=str(deck.state / "softgpu" / "model"),
                       LD_LIBRARY_PATH=str(TWEENDECK.parent / "lib" / "softgpu"))
    program = "from vgpu_tenant import Cuda; import time; print(time.time(), flush=True); Cuda(); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", program], env=environment, stdout=subprocess.PIPE, text=True) as outside:
        since = float(outside.stdout.readline())
        assert found_after(deck, since, "SliceBypassed")["subject"] == "devices"
        outside.kill()


def test_a_library_loaded_a_second_time_is_no_way_around(deck, guest):
    since = time.time()
    guest("deep = ctypes.CDLL('libcuda.so.1', mode=os.RTLD_DEEPBIND | os.RTLD_NOW); address = ctypes.c_uint64()")
    granted = int(guest("answer = sum(deep.cuMemAlloc_v2(ctypes.byref(address), ctypes.c_size_t(1 << 30)) == 0 for _ in range(6))"))
    if granted > 2:
        found_after(deck, since, "BooksForged", "SliceBypassed")


def test_limits_that_the_tenant_writes_are_put_back_and_told(deck, guest):
    since = time.time()
    guest("[page(128 + 1088 * i + 64 + 16, 64 << 30, 8, LIMITS) for i in (0, 1)]")
    assert found_after(deck, since, "PageTampered")["subject"] == "bad"
    wait_for(lambda: int(guest("answer = cuda.info()[1]")) == 2 << 30, 5, "the limit is back")


def test_books_that_say_less_are_found(deck, guest):
    assert guest("answer = fill(cuda, 256 * MIB, 6)") == "6"
    since = time.time()
    guest("page(BOOKS, 0); page(BOOKS + 8, 0)")
    found_after(deck, since, "BooksForged")


def test_a_slot_that_is_given_away_is_found(deck, guest):
    since = time.time()
    guest("page(SLOTS, 0)")
    found_after(deck, since, "SliceBypassed")


def test_a_bucket_that_is_moved_back_is_found(deck, guest):
    guest("from vgpu_tenant import spin_for; answer = spin_for(cuda, [1_000_000], 0.5, 1, 1)")
    since = time.time()
    guest("stop = False")
    guest("forge = lambda: [page(128, 1) or time.sleep(0.0005) for _ in iter(lambda: stop, True)]")
    guest("thread = threading.Thread(target=forge, daemon=True); thread.start()")
    guest("answer = spin_for(cuda, [1_000_000], 2, 1, 1)")
    found_after(deck, since, "BooksForged", "ShareExceeded")
    guest("stop = True")


def test_a_usage_page_that_is_removed_or_cut_is_found(deck, guest):
    since = time.time()
    guest("os.unlink(USAGE)")
    found_after(deck, since, "PageTampered")
    guest.end()
    other = Guest(deck, "--memory", "1Gi", name="cut")
    other.process.stdin.write("os.truncate(USAGE, 0)\n")
    other.process.stdin.flush()
    wait_for(lambda: any(e["reason"] == "PageTampered" and e["subject"] == "cut" for e in deck.events()), 10, "found")
    assert deck.run("slices", check=False).returncode == 0, "the daemon lives"
    other.end()


def test_a_library_of_another_version_is_told(deck, guest):
    since = time.time()
    guest("page(SLOTS + 32, 77, 4)")
    found_after(deck, since, "LibraryStale")


def test_the_policy_stop_ends_what_bypasses_and_nothing_else(make_deck):
    deck = make_deck("--soft-gpus", "1:H100-80G", "--on-tampering", "stop").start()
    guest = Guest(deck, "--memory", "2Gi", "--compute", "30")
    guest("child = " + BARE_CHILD.format(env="{k: v for k, v in os.environ.items() if k != 'LD_PRELOAD'}"))
    assert guest("answer = child.wait(15)") == "-9"
    assert any(e["action"] == "Killed" and e["reason"] == "SliceBypassed" for e in deck.events())
    assert guest("answer = cuda.alloc(MIB)[0]") == "0", "the program itself goes on"
    guest.end()


def cpu_seconds(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def cpu_share(pid, seconds=1.5):
    started, before = time.monotonic(), cpu_seconds(pid)
    time.sleep(seconds)
    return (cpu_seconds(pid) - before) / (time.monotonic() - started)


def test_the_policy_throttle_takes_the_cpu_until_the_slice_keeps_its_limits(make_deck):
    deck = make_deck("--soft-gpus", "1:H100-80G", "--on-tampering", "throttle").start()
    guest = Guest(deck, "--memory", "2Gi", "--compute", "30")
    pid = int(guest("answer = os.getpid()"))
    guest("busy = subprocess.Popen([sys.executable, '-c', 'while True: pass'], env={})")
    worker = int(guest("answer = busy.pid"))
    free = cpu_share(worker)
    guest("child = " + BARE_CHILD.format(env="{k: v for k, v in os.environ.items() if k != 'LD_PRELOAD'}"))
    offender = int(guest("answer = child.pid"))
    told = wait_for(lambda: next((e for e in deck.events() if e["action"] == "Restrained"), None), 15, "restrained")
    if told["reason"] == "CgroupUnavailable":
        os.kill(worker, 9)
        guest.end()
        pytest.skip("no cgroup can be written here")
    assert told["reason"] == "SliceBypassed" and told["subject"] == "bad"
    held = cpu_share(worker)
    assert held < 0.05 and held < free / 5, f"{free:.2f} of a CPU before, {held:.2f} while restrained"
    assert pathlib.Path(f"/proc/{pid}").exists() and pathlib.Path(f"/proc/{offender}").exists(), "nobody is killed"
    os.kill(offender, 9)
    wait_for(lambda: any(e["action"] == "LetGo" and e["subject"] == "bad" for e in deck.events()), 30, "let go")
    again = cpu_share(worker)
    assert again > 4 * held and again > free / 5, f"{free:.2f} before, {again:.2f} after"
    os.kill(worker, 9)
    guest.end()
