"""Engines that hang, disks that are full, devices that go away: told, and nothing else is disturbed."""
import pathlib
import subprocess
import time

import pytest
import requests

from conftest import TWEENDECK, wait_for
from misbehaving import MIB, completes, engines, fill, serve, small_disk
from slices_test import OUT_OF_MEMORY, Guest


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


def test_a_full_disk_disturbs_no_slice_of_a_gpu(make_deck):
    deck = make_deck("--soft-gpus", "1:H100-80G")
    with small_disk(deck.state, "48m"):
        deck.start()
        guest = Guest(deck, "mine", "--memory", "2Gi")
        ballast = fill(deck.state / "ballast")
        assert guest.alloc(256 * MIB) > OUT_OF_MEMORY
        assert guest("spin", [1_000_000], 1.5, 1, 1) > 0, "and the daemon measures it meanwhile"
        refused = deck.run("exec", "--", "true", check=False)
        assert refused.returncode == 1 and "DiskFull" in refused.stderr and "free some space" in refused.stderr, refused.stderr
        assert [one["id"] for one in deck.json("slices")["slices"]] == ["mine"]
        assert guest.end() == 0
        ballast.unlink()
        wait_for(lambda: deck.json("slices")["slices"] == [], 10, "the slice is given back")
        deck.run("exec", "--", "true")
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
