"""Slices of programs that are not served: `exec`, `slices`, and limits that change while a program runs."""
import http.client
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

from conftest import TWEENDECK, wait_for

TENANT = pathlib.Path(__file__).with_name("vgpu_tenant.py")
MIB = 1 << 20
OUT_OF_MEMORY = 2
RESIZES = 1000
EFFECTIVE_S = 0.010


@pytest.fixture
def deck(make_deck):
    return make_deck("--soft-gpus", "1:H100-80G").start()


class Guest:
    """A CUDA client inside `tweendeck exec`."""

    def __init__(self, deck, name, *args):
        self.process = subprocess.Popen(
            [TWEENDECK, "exec", "--state-dir", deck.state, "--name", name, *args, "--", sys.executable, TENANT],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True)
        assert json.loads(self.process.stdout.readline()) == {"init": 0}
        children = pathlib.Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        self.pid = int(children.split()[0])

    def send(self, *command):
        self.process.stdin.write(json.dumps(command) + "\n")
        self.process.stdin.flush()

    def answer(self):
        return json.loads(self.process.stdout.readline())

    def __call__(self, *command):
        self.send(*command)
        return self.answer()

    def alloc(self, size):
        code, address = self("alloc", size)
        return address if code == 0 else code

    def end(self):
        self.process.stdin.close()
        code = self.process.wait(30)
        self.process.stdout.close()
        return code


def slice_named(deck, name):
    return next((s for s in deck.json("slices")["slices"] if s["id"] == name), None)


def is_gone(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except OSError:
        return True


def test_a_program_runs_in_its_slice_and_its_exit_code_comes_back(deck):
    guest = Guest(deck, "mine", "--memory", "1Gi", "--compute", "30")
    assert guest.alloc(256 * MIB) > OUT_OF_MEMORY
    assert guest.alloc(900 * MIB) == OUT_OF_MEMORY
    shown = slice_named(deck, "mine")
    assert shown["device"] == "soft0" and shown["isolation"] == "library" and shown["compute_cap"] == "time"
    assert shown["memory_bytes"] == 1024 * MIB and shown["compute_percent"] == 30
    use = shown["use"]
    assert use["processes"] == 1 and use["memory_refusals"] == 1 and use["memory_bytes"] >= 256 * MIB
    linear = next(kind for kind in use["kinds"] if kind["kind"] == "linear")
    assert linear["used_bytes"] == linear["peak_bytes"] == 256 * MIB
    assert "mine" in deck.run("slices").stdout and "linear" in deck.run("slices", "mine").stdout
    assert guest.end() == 0
    assert slice_named(deck, "mine") is None

    assert deck.run("exec", "--", "sh", "-c", "exit 7", check=False).returncode == 7
    assert deck.run("exec", "--", "sh", "-c", "kill -9 $$", check=False).returncode == 128 + 9
    missing = deck.run("exec", "--", "/nonexistent", check=False)
    assert missing.returncode == 127
    assert "cannot run /nonexistent" in missing.stderr and "[NotFound]" in missing.stderr and "hint: check the path" in missing.stderr
    folder = deck.run("exec", "--", "/tmp", check=False)
    assert folder.returncode == 126 and "[PermissionDenied]" in folder.stderr and "hint: it is a folder" in folder.stderr
    assert deck.json("slices")["slices"] == []


def test_what_does_not_fit_is_refused_with_the_reason(deck):
    refused = deck.run("exec", "--memory", "200Gi", "--", "true", check=False)
    assert refused.returncode == 5 and "MemoryExceedsDevice" in refused.stderr
    refused = deck.run("exec", "--compute", "50", "--compute-max", "40", "--", "true", check=False)
    assert refused.returncode == 2 and "ceiling" in refused.stderr
    for name in ("x" * 64, "a b", "../state.db", ".x"):
        refused = deck.run("exec", "--name", name, "--", "true", check=False)
        assert refused.returncode == 2 and "1 to 63 letters" in refused.stderr
    assert (deck.state / "state.db").exists()
    refused = deck.run("exec", "--device", "soft7", "--", "true", check=False)
    assert refused.returncode == 5 and "no device of this machine is soft7" in refused.stderr
    assert deck.json("slices")["slices"] == []
    assert deck.run("exec", "--quiet", "--priority", "-5", "sh", "-c", "exit 7", check=False).returncode == 7
    guest = Guest(deck, "mine", "--compute", "80")
    refused = deck.run("exec", "--name", "mine", "--", "true", check=False)
    assert refused.returncode == 6 and "AlreadyExists" in refused.stderr
    refused = deck.run("exec", "--compute", "30", "--device", "soft0", "--", "true", check=False)
    assert refused.returncode == 5 and "InsufficientCompute" in refused.stderr
    assert guest.end() == 0


def test_signals_reach_the_program(deck):
    process = subprocess.Popen(
        [TWEENDECK, "exec", "--state-dir", deck.state, "--", "sh", "-c",
         "trap 'exit 9' TERM; echo ready; while :; do sleep 0.02; done"],
        stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 9
    process.stdout.close()
    assert deck.json("slices")["slices"] == []


def test_a_killed_client_takes_its_program_with_it_and_gives_the_slice_back(deck):
    guest = Guest(deck, "mine")
    guest.process.kill()
    guest.process.wait(10)
    wait_for(lambda: is_gone(guest.pid), 10, "the program ended")
    wait_for(lambda: slice_named(deck, "mine") is None, 10, "its slice is given back")
    guest.process.stdout.close()
    guest.process.stdin.close()


def test_a_killed_daemon_leaves_the_program_alone_and_the_next_one_takes_over(deck):
    guest = Guest(deck, "mine")
    other = Guest(deck, "other")
    deck.run("resize", "mine", "--memory", "2Gi")
    deck.kill()
    assert guest.alloc(256 * MIB) > OUT_OF_MEMORY
    other.process.kill()
    deck.start()
    wait_for(lambda: slice_named(deck, "other") is None, 10, "the slice of the client that died meanwhile is gone")
    assert slice_named(deck, "mine")["memory_bytes"] == 2048 * MIB, "a resize survives kill -9"
    assert guest.alloc(1200 * MIB) > OUT_OF_MEMORY
    assert guest.end() == 0
    assert slice_named(deck, "mine") is None
    other.process.wait(10)
    other.process.stdout.close()
    other.process.stdin.close()


def test_limits_change_while_the_program_runs(deck):
    guest = Guest(deck, "mine", "--memory", "1Gi", "--compute", "30")
    held = [guest.alloc(350 * MIB), guest.alloc(350 * MIB)]
    assert guest.alloc(350 * MIB) == OUT_OF_MEMORY
    deck.run("resize", "mine", "--memory", "2Gi", "--compute", "60")
    assert guest.alloc(350 * MIB) > OUT_OF_MEMORY

    told = deck.run("resize", "mine", "--memory", "640Mi").stderr
    assert "mine has 640 MiB 60 %" in told and "until it has freed" in told, told
    assert guest.alloc(MIB) == OUT_OF_MEMORY
    assert any(e["reason"] == "MemoryPressure" and e["subject"] == "mine" for e in deck.events())
    for one in held:
        guest("free", one)
    assert guest.alloc(MIB) > OUT_OF_MEMORY, "under its limit again"

    for wrong, code in ((("--memory", "500Gi"), 5), (("--compute", "30", "--compute-max", "20"), 2), ((), 2)):
        assert deck.run("resize", "mine", *wrong, check=False).returncode == code
    assert deck.run("resize", "nobody", "--compute", "5", check=False).returncode == 4
    assert "resize needs NAME" in deck.run("resize", "", "--compute", "5", check=False).stderr
    assert slice_named(deck, "mine")["compute_percent"] == 60, "what was refused changed nothing"
    assert guest.end() == 0


def test_a_paused_slice_launches_nothing_until_it_is_resumed(deck):
    guest = Guest(deck, "mine", "--compute", "50")
    deck.run("pause", "mine")
    assert slice_named(deck, "mine")["paused"]
    before = slice_named(deck, "mine")["use"]["launches"]
    guest.send("spin", [1_000_000], 0.2, 1, 1)
    wait_for(lambda: slice_named(deck, "mine")["use"]["paused_ns"] > 50_000_000, 10, "it waits")
    deck.run("resize", "mine", "--compute", "40")
    deck.run("resume", "mine")
    assert guest.answer() > 0
    actions = [e["action"] for e in deck.events() if e["subject"] == "mine"]
    assert actions == ["SlicePrepared", "Paused", "Resized", "Resumed"]
    assert "tweendeck slices mine" in deck.run("why", "mine", check=False).stderr
    assert slice_named(deck, "mine")["use"]["launches"] > before
    assert guest.end() == 0


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost")
        self.path = str(path)

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self.path)


# Loads its slice with allocations and watches the limit. Prints each new one, when it began to look for the last time and
# still saw the one before, and when it saw this one. (When it saw it says little of a machine with much else to do.)
WATCHER = """
import sys, threading, time
from vgpu_tenant import Cuda
cuda = Cuda()
print("ready", flush=True)
held, seen, still = [], 0, 0.0
CHUNK = 16 << 20
end = None
def read():
    global end
    sys.stdin.read()
    end = True
def look():
    global seen, still
    began = time.monotonic()
    limit = cuda.info()[-1]
    if limit != seen:
        print(limit, still, time.monotonic(), flush=True)
        seen = limit
    still = began
    return limit
threading.Thread(target=read, daemon=True).start()
while not end:
    before = look()
    code, address = cuda.alloc(CHUNK)
    after = look()
    if code == 0:
        held.append(address)
        if len(held) * CHUNK > max(before, after):
            print("above", len(held) * CHUNK, before, after, flush=True)
    if code != 0 or len(held) % 7 == 0:
        for address in held[:3]:
            cuda.free(address)
        del held[:3]
"""


def test_many_resizes_under_load_are_in_force_at_once_and_never_passed(deck):
    environment = dict(os.environ, PYTHONPATH=str(TENANT.parent))
    process = subprocess.Popen([TWEENDECK, "exec", "--state-dir", deck.state, "--name", "mine", "--memory", "1Gi", "--",
                                sys.executable, "-c", WATCHER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                               env=environment, start_new_session=True)
    assert process.stdout.readline() == "ready\n"
    lines = []
    reader = threading.Thread(target=lambda: lines.extend(process.stdout))
    reader.start()
    asked = {}
    connection = UnixConnection(deck.state / "tweendeck.sock")
    for i in range(RESIZES):
        # Every limit once, up and down, so that each can be told from the others.
        mebibytes = 600 + i if i % 2 else 200 + i % 300
        limit = mebibytes * MIB + i * 4096
        connection.request("POST", "/v1/slices/mine/resize", json.dumps({"memory_bytes": limit}))
        answer = connection.getresponse()
        assert answer.status == 200, answer.read()
        answer.read()
        asked[limit] = time.monotonic()
        deadline = time.monotonic() + 2
        while time.monotonic() < deadline and not any(line.startswith(f"{limit} ") for line in lines[-8:]):
            time.sleep(0.0005)
    connection.close()
    process.stdin.close()
    assert process.wait(30) == 0
    reader.join(10)
    process.stdout.close()
    assert not [line for line in lines if line.startswith("above")]
    looks = {int(limit): (float(still), float(first)) for limit, still, first in map(str.split, lines)}
    assert asked.keys() <= looks.keys(), "every limit was in force"
    old_for = max(looks[limit][0] - at for limit, at in asked.items())
    seen_after = sorted(looks[limit][1] - at for limit, at in asked.items())
    print(f"{RESIZES} resizes: the limit before was in force for at most {max(0, old_for) * 1e3:.2f} ms; the new one was seen "
          f"after {seen_after[len(seen_after) // 2] * 1e3:.2f} ms (median), {seen_after[-1] * 1e3:.1f} ms (longest)")
    assert old_for <= EFFECTIVE_S


def test_an_idle_device_is_borrowed_and_its_owner_gets_it_back(deck):
    borrower = Guest(deck, "borrower", "--compute", "30", "--compute-max", "100")
    owner = Guest(deck, "owner", "--compute", "70")
    seconds = 4
    alone = borrower("spin", [1_000_000], seconds, 20, 1) / 1000 / seconds
    assert alone > 0.7, "far more than its own 30 % while nobody else works"
    assert slice_named(deck, "borrower")["use"]["borrowed_ns"] > 0

    borrower.send("spin", [1_000_000], seconds, 20, 1)
    owned = owner("spin", [1_000_000], seconds, 20, 1) / 1000 / seconds
    lent = borrower.answer() / 1000 / seconds
    assert owned > 0.55, f"the owner has its share: {owned:.2f}, the borrower {lent:.2f}"
    assert lent < 0.5
    assert borrower.end() == 0 and owner.end() == 0
