"""Fixtures of the end-to-end tests: real daemons on state directories and ports of their own, on loopback only."""
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile
import time

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
BUILD = ROOT / "build" / "release"
TWEENDECK = BUILD / "tweendeck"
SOAK = bool(os.environ.get("TWEENDECK_SOAK"))


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(condition, timeout_s, what):
    """Polls until the condition is true and returns its value; a bounded wait, never a plain sleep."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        time.sleep(0.05)
    raise AssertionError(f"not within {timeout_s} s: {what}")


def processes_mentioning(text):
    """Pids of live processes whose command line or environment names the text."""
    found = []
    for entry in pathlib.Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            if (entry / "stat").read_text().rsplit(")", 1)[1].split()[0] == "Z":
                continue
            blob = (entry / "cmdline").read_bytes() + (entry / "environ").read_bytes()
        except OSError:
            continue
        if text.encode() in blob:
            found.append(int(entry.name))
    return found


class Deck:
    """One daemon with its state directory. Commands run as a user would run them."""

    def __init__(self, directory, *up_args):
        self.directory = pathlib.Path(directory)
        self.state = self.directory / "state"
        self.port = free_port()
        self.up_args = list(up_args)
        self.process = None

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def start(self, *more, wait=True):
        log = (self.directory / "daemon.log").open("ab")
        self.process = subprocess.Popen(
            [TWEENDECK, "up", "--state-dir", self.state, "--listen", f"127.0.0.1:{self.port}", *self.up_args, *more],
            stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True)
        if wait:
            wait_for(self.answers, 20, f"daemon answers; its log: {self.log()[-2000:]}")
        return self

    def answers(self):
        if self.process.poll() is not None:
            raise AssertionError(f"daemon ended with {self.process.returncode}: {self.log()[-2000:]}")
        return self.run("version", "-o", "json", check=False).returncode == 0 and self.is_listening()

    def is_listening(self):
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def log(self):
        path = self.directory / "daemon.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def kill(self, number=signal.SIGKILL):
        self.process.send_signal(number)
        self.process.wait(30)

    def run(self, *args, check=True, timeout=120, **options):
        done = subprocess.run([TWEENDECK, args[0], "--state-dir", self.state, *map(str, args[1:])],
                              capture_output=True, text=True, timeout=timeout, stdin=subprocess.DEVNULL, **options)
        if check and done.returncode != 0:
            raise AssertionError(f"tweendeck {' '.join(map(str, args))} -> {done.returncode}\n{done.stdout}{done.stderr}"
                                 f"\ndaemon: {self.log()[-3000:]}")
        return done

    def json(self, *args, **options):
        return json.loads(self.run(*args, "-o", "json", **options).stdout)

    def deployment(self, name):
        for found in self.json("ps")["deployments"]:
            if found["name"] == name:
                return found
        return None

    def ready(self, name):
        found = self.deployment(name)
        return found["replicas"] if found and all(r["phase"] == "ready" for r in found["replicas"]) else None

    def events(self):
        return self.json("events")["events"]

    def down(self):
        if self.process and self.process.poll() is None:
            self.run("down", "--drain", "1s", check=False)
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.kill()
        elif self.process:
            # Left by a crash test: a fresh daemon stops what survived.
            self.start()
            self.run("down", "--drain", "1s", check=False)
            self.process.wait(30)


def short_directory():
    # Unix socket paths are short; pytest's own directories are not.
    return tempfile.mkdtemp(prefix="tw-", dir="/tmp")


@pytest.fixture
def make_deck():
    decks = []

    def make(*up_args):
        deck = Deck(short_directory(), *up_args)
        decks.append(deck)
        return deck

    yield make
    for deck in decks:
        deck.down()
        shutil.rmtree(deck.directory, ignore_errors=True)


@pytest.fixture(scope="session")
def smollm2_deck():
    """One replica of the real model, shared by the tests that only ask questions."""
    deck = Deck(short_directory())
    deck.start()
    deck.run("serve", "smollm2", "--memory", "1Gi", "--compute", "50")
    yield deck
    deck.down()
    shutil.rmtree(deck.directory, ignore_errors=True)


@pytest.fixture(scope="session")
def sim_deck():
    """Two software H100 with two replicas of the simulated model, shared by the tests of the request path."""
    deck = Deck(short_directory(), "--soft-gpus", "2:H100-80G")
    deck.start()
    deck.run("serve", "sim-8b", "--replicas", "2", "--memory", "40Gi", "--compute", "50", "--device", "soft")
    yield deck
    deck.down()
    shutil.rmtree(deck.directory, ignore_errors=True)
