"""serve, scale, stop, apply, why, logs: the life of deployments with the real model on slices of this machine."""
import os
import pathlib
import signal

import pytest
import requests

from conftest import processes_mentioning, wait_for


def test_serve_ask_scale_stop(make_deck):
    deck = make_deck().start()
    deck.run("serve", "smollm2", "--replicas", "2", "--memory", "1Gi", "--compute", "40")
    replicas = deck.ready("smollm2")
    assert len(replicas) == 2
    assert len({replica["pid"] for replica in replicas}) == 2

    answer = deck.run("run", "smollm2", "What is the capital of France? Answer in one word.", "--temperature", "0")
    assert "paris" in answer.stdout.lower()
    assert "ttft" in answer.stdout + answer.stderr

    deck.run("scale", "smollm2", "1")
    wait_for(lambda: len(deck.deployment("smollm2")["replicas"]) == 1, 45, "one replica is left")
    deck.run("stop", "smollm2")
    wait_for(lambda: deck.deployment("smollm2") is None, 45, "the deployment is gone")
    wait_for(lambda: not processes_mentioning(f"{deck.state}/replicas"), 10, "no process is left")


def test_replicas_run_unprivileged_in_their_cgroup(smollm2_deck):
    if os.geteuid() != 0:
        pytest.skip("only a daemon that is root can give replicas a user of their own")
    replica = smollm2_deck.ready("smollm2")[0]
    status = pathlib.Path(f"/proc/{replica['pid']}/status").read_text()
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert int(fields["Uid"].split()[0]) >= 61184
    assert fields["NoNewPrivs"] == "1"
    assert int(fields["CapEff"], 16) == 0
    assert replica["slice"]["isolation"] == "kernel"
    assert "tweendeck-" in pathlib.Path(f"/proc/{replica['pid']}/cgroup").read_text()


def test_impossible_memory_is_refused_with_the_nearest_miss(smollm2_deck):
    refused = smollm2_deck.run("serve", "smollm2", "--name", "big", "--memory", "100Ti", "--no-wait", check=False)
    assert refused.returncode != 0
    assert "MemoryExceedsDevice" in refused.stderr and "cpu0" in refused.stderr


@pytest.mark.parametrize("args, code, text", [
    (["serve", "smollm2", "--replcas", "2"], 2, "--replicas"),
    (["serv", "smollm2"], 2, "serve"),
    (["serve", "smollm2", "--memory", "lots"], 2, "lots"),
    (["serve", "smollm2", "--compute", "200"], 2, "compute"),
    (["serve", "/nonexistent/model.gguf"], 4, "model.gguf"),
    (["stop", "nobody"], 4, "nobody"),
    (["why", "nobody"], 4, "nobody"),
])
def test_bad_commands_say_what_is_wrong(smollm2_deck, args, code, text):
    done = smollm2_deck.run(*args, check=False)
    assert done.returncode == code, done.stderr
    assert text in done.stderr


def test_corrupt_gguf_is_refused_and_nothing_else_is_disturbed(smollm2_deck, tmp_path):
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"not a model at all" * 1000)
    refused = smollm2_deck.run("serve", broken, check=False)
    assert refused.returncode == 5
    assert "ModelCorrupt" in refused.stderr
    assert smollm2_deck.deployment("broken") is None
    assert smollm2_deck.ready("smollm2")


def test_no_daemon_is_exit_3(tmp_path, make_deck):
    done = make_deck().run("ps", check=False)
    assert done.returncode == 3
    assert "tweendeck up" in done.stderr


def test_second_daemon_on_the_same_state_is_refused(smollm2_deck):
    second = smollm2_deck.run("up", "--listen", "127.0.0.1:0", check=False)
    assert second.returncode == 6
    assert "StateLocked" in second.stderr
    assert smollm2_deck.ready("smollm2")


def test_killed_replica_comes_back_and_events_tell_it(make_deck):
    deck = make_deck().start()
    deck.run("serve", "smollm2", "--memory", "1Gi", "--compute", "60")
    old = deck.ready("smollm2")[0]["pid"]
    os.kill(old, signal.SIGKILL)
    wait_for(lambda: (deck.ready("smollm2") or [{"pid": old}])[0]["pid"] != old, 60, "a new process is ready")
    assert any(event["reason"] == "ReplicaKilled" for event in deck.events())
    assert "ReplicaKilled" in deck.run("why", "smollm2", check=False).stdout + deck.run("events").stdout


def test_apply_serves_several_models_or_none(make_deck, tmp_path):
    deck = make_deck("--soft-gpus", "2:H100-80G").start()
    good = tmp_path / "deck.yaml"
    good.write_text("deployments:\n"
                    "  - {name: large, model: sim-8b, replicas: 2, memory: 40Gi, compute: 50, device: soft}\n"
                    "  - {name: small, model: sim-3b, replicas: 1, memory: 20Gi, compute: 40, device: soft}\n")
    deck.run("apply", "-f", good)
    assert len(deck.ready("large")) == 2 and len(deck.ready("small")) == 1
    assert deck.json("ps")["deployments"][0]["replicas"][0]["simulated"] is True

    bad = tmp_path / "bad.yaml"
    bad.write_text("deployments:\n  - {name: third, model: sim-3b, memory: 20Gi, compute: 10}\n"
                   "  - {name: fourth, modle: sim-3b, memory: 20Gi, compute: 10}\n")
    refused = deck.run("apply", "-f", bad, check=False)
    assert refused.returncode == 2
    assert "modle" in refused.stderr and "model" in refused.stderr
    assert deck.deployment("third") is None


def test_adapters_reach_the_engine_under_their_names(make_deck):
    deck = make_deck("--soft-gpus", "1:H100-80G").start()
    deck.run("serve", "sim-3b", "--name", "base", "--memory", "20Gi", "--compute", "50", "--alias", "nick",
             "--adapter", "sql", "--adapter", "poetry")
    assert deck.deployment("base")["spec"]["adapters"] == ["sql", "poetry"]
    listed = {model["id"] for model in requests.get(f"{deck.url}/v1/models", timeout=10).json()["data"]}
    assert {"base", "nick", "sql", "poetry"} <= listed
    served = {}
    for name in ("base", "nick", "sql", "poetry"):
        answer = requests.post(f"{deck.url}/v1/completions", timeout=30,
                               json={"model": name, "prompt": "hi", "max_tokens": 2})
        assert answer.status_code == 200, answer.text
        served[name] = answer.json()["model"]
    assert served["sql"] == "sql" and served["poetry"] == "poetry"
    assert served["nick"] == served["base"] != "nick"
    refused = deck.run("serve", "smollm2", "--adapter", "sql", check=False)
    assert refused.returncode == 5 and "takes no adapters" in refused.stderr


def test_nothing_served_says_what_to_do_next(make_deck):
    deck = make_deck("--soft-gpus", "1:H100-80G").start()
    assert "tweendeck serve" in deck.run("ps").stderr and "tweendeck serve" in deck.run("devices").stderr
    created = deck.run("serve", "sim-3b", "--replicas", "0", "--memory", "20Gi", "--device", "soft").stderr
    assert "no replicas" in created and "tweendeck scale sim-3b 1" in created and "is ready" not in created
    assert "has 1 replica\n" in deck.run("scale", "sim-3b", "1").stderr
    start = [event["message"] for event in deck.events() if event["action"] == "Started"][0]
    log = deck.run("logs", "sim-3b-1").stdout
    assert start.endswith("start 1") and "start 1\n" in log, (start, log)


def test_doctor_version_devices_logs(smollm2_deck):
    devices = smollm2_deck.json("devices")["devices"]
    assert devices[0]["id"] == "cpu0" and devices[0]["memory_bytes"] > 0
    assert "version" in smollm2_deck.run("version").stdout.lower() or smollm2_deck.run("version").stdout
    assert smollm2_deck.run("logs", "smollm2-1").stdout
    assert smollm2_deck.run("doctor", check=False).returncode in (0, 1)
