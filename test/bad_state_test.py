"""State that cannot be used, keys and certificates that are none: refused with advice."""
import contextlib
import socket
import sqlite3
import subprocess

import pytest
import requests

from conftest import free_port
from misbehaving import completes, engines, serve


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
