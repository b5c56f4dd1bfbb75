"""`tweendeck simulate placement` as its users call it: traces in, tables, JSON, pictures and errors out."""
import json
import pathlib
import subprocess
import xml.etree.ElementTree

import pytest

TWEENDECK = pathlib.Path(__file__).resolve().parent.parent / "build" / "release" / "tweendeck"
NODES = "sn,cpu_milli,memory_mib,gpu,model\na,8000,1000,2,X\nb,8000,1000,2,X\n"
PODS = ("name,cpu_milli,memory_mib,num_gpu,gpu_milli,qos,scheduled_time,deletion_time\n"
        "half,1000,10,1,500,LS,0,100\nwhole,1000,10,1,1000,BE,0,200\n")
ORDER = "seed 42 nodes 2 arrivals 5\n0 1\n0 1 1 0 1\nseed 43 nodes 2 arrivals 3\n1 0\n1 1 0\n"


def simulate(*args, cwd):
    return subprocess.run([TWEENDECK, "simulate", "placement", *args], cwd=cwd, capture_output=True, text=True, timeout=60,
                          check=False)


@pytest.fixture
def trace(tmp_path):
    for name, text in (("nodes.csv", NODES), ("pods.csv", PODS), ("order.txt", ORDER)):
        (tmp_path / name).write_text(text)
    return tmp_path


FILES = ("--nodes", "nodes.csv", "--pods", "pods.csv", "--order", "order.txt")


def test_a_trace_of_ones_own_is_replayed(trace):
    done = simulate(*FILES, "--policy", "bestfit", "--compare", "binpack", "-o", "json", cwd=trace)
    assert done.returncode == 0, done.stderr
    workload = json.loads(done.stdout)["workloads"][0]
    assert [policy["policy"] for policy in workload["policies"]] == ["bestfit", "binpack"]
    run = workload["policies"][0]["runs"][0]
    assert run["seed"] == 42
    assert run["allocation_percent"][100] == 100
    assert sum(run["refused"].values()) == 0
    assert {queue["queue"]: queue["arrived"] for queue in run["queues"]} == {"LS": 2, "BE": 3}


def test_the_default_policy_has_a_table_and_a_picture(trace):
    done = simulate(*FILES, "--seeds", "42", "--svg", "curve.svg", cwd=trace)
    assert done.returncode == 0, done.stderr
    assert "ALLOCATED %" in done.stdout and "THOUGH ROOM" in done.stdout
    picture = xml.etree.ElementTree.parse(trace / "curve.svg").getroot()
    assert picture.tag.endswith("svg")
    assert len(picture.findall(".//{*}polyline")) == 1


def test_what_moving_pods_would_gain(trace):
    done = simulate(*FILES, "--defrag", "100", "--policy", "spread", "--svg", "moved.svg", cwd=trace)
    assert done.returncode == 0, done.stderr
    assert "dry run" in done.stdout and "MOVED" in done.stdout
    assert (trace / "moved.svg").exists()
    done = simulate(*FILES, "--defrag", "100", "--policy", "spread", "-o", "json", cwd=trace)
    workload = json.loads(done.stdout)["workloads"][0]
    assert workload["dry_run"] is True
    for run in workload["policies"][0]["runs"]:
        assert [step["allocation_percent"] for step in run["steps"]] == sorted(
            step["allocation_percent"] for step in run["steps"])
    done = simulate(*FILES, "--defrag", "0", cwd=trace)
    assert done.returncode == 2 and "--defrag" in done.stderr


LOG = ("# one node, two devices\n"
       "node name=n1 cpu=8000 device id=gpu0 model=H100 memory=85899345920 device id=gpu1 model=H100 memory=85899345920\n"
       "queue number=1 name=research rule resource=devices limit=2\n"
       "shape number=1 cpu=1000 devices=1 memory=42949672960 compute=600\n"
       "submit claim=1 shape=1 queue=1 time=1000\nsubmit claim=2 shape=1 queue=1 time=2000\n"
       "submit claim=3 shape=1 time=3000\nsubmit claim=4 shape=1 queue=1 time=4000\n"
       "withdraw claim=1 time=60000\n")


def test_a_log_of_the_engine_is_asked_why_and_what_if(trace):
    (trace / "cluster.log").write_text(LOG)
    log = ("--log", "cluster.log", "--starts-at-once")
    done = simulate(*log, cwd=trace)
    assert done.returncode == 0, done.stderr
    assert "research" in done.stdout and "waiting" in done.stdout
    done = simulate(*log, "--at", "5s", "--why", "3", "-o", "json", cwd=trace)
    assert done.returncode == 0, done.stderr
    claim = json.loads(done.stdout)["claim"]
    assert (claim["state"], claim["reason"], claim["tried_ms"]) == ("waiting", "NoRoom", 3000)
    assert claim["room"]["reasons"] == [{"reason": "InsufficientCompute", "nodes": 1, "devices": 2}]
    assert claim["room"]["nearest"]["devices"][0]["lacks_compute_permille"] == 200
    assert claim["room"]["remedies"][0]["names"] == ["claim 1"]
    done = simulate(*log, "--at", "5s", "--why", "4", cwd=trace)
    assert "queue research uses 2 of at most 2 devices" in done.stdout
    done = simulate(*log, "--at", "5s", "--what-if", "withdraw claim=2", "--why", "3", "-o", "json", cwd=trace)
    supposed = json.loads(done.stdout)
    assert supposed["claim"]["state"] == "reserved"
    assert {"claim": "claim 3", "verdict": "placed", "reason": "None", "node": "n1", "devices": ["gpu1"]} in supposed["decisions"]
    done = simulate(*log, "--what-if", "claim devices=2 compute=1000", cwd=trace)
    assert "supposed claim 1 waits" in done.stdout and "What would help" in done.stdout


def test_a_pod_of_a_trace_is_asked_why(trace):
    done = simulate(*FILES, "--seeds", "42", "--policy", "binpack", "--why", "whole#3", cwd=trace)
    assert done.returncode == 0, done.stderr
    assert "whole#3" in done.stdout
    (trace / "log.csv").write_text("time_s,event,name,lifetime_s\n0,arrive,whole,100\n0,arrive,whole,100\n0,arrive,whole,100\n"
                                   "0,arrive,whole,70\n1,arrive,whole,10\n")
    done = simulate(*FILES, "--events", "log.csv", "--policy", "binpack", "--why", "whole#5", "-o", "json", cwd=trace)
    assert done.returncode == 0, done.stderr
    leaves = [each for each in json.loads(done.stdout)["claim"]["room"]["remedies"] if each["kind"] == "leave"]
    assert leaves[0]["names"] == ["whole#4"] and leaves[0]["at_ms"] == 70_000


@pytest.mark.parametrize(("arguments", "part"), [
    (("--log", "nope.log"), "nope.log"),
    (("--log", "broken.log"), "broken.log:2"),
    (("--log", "empty.log"), "no event"),
    (("--log", "good.log", "--why", "77"), "claim 77"),
    (("--log", "good.log", "--why", "x"), "--why"),
    (("--log", "good.log", "--what-if", "claim devices=2 colour=red"), "colour"),
    (("--log", "good.log", "--what-if", "withdraw claim=77"), "claim 77"),
    (("--log", "good.log", "--policy", "bestfit"), "bestfit"),
    (("--log", "good.log", "--policy", "binpack,spread"), "one policy"),
])
def test_mistakes_in_logs_and_questions_are_named(trace, arguments, part):
    (trace / "good.log").write_text(LOG)
    (trace / "broken.log").write_text("node name=n1\nnode nam=n2\n")
    (trace / "empty.log").write_text("# nothing\n")
    done = simulate(*arguments, cwd=trace)
    assert done.returncode != 0 and part in done.stderr, done.stderr
    assert "Traceback" not in done.stderr and done.stdout == ""


def test_loads_and_event_logs(trace):
    done = simulate(*FILES, "--load", "50,150", "--arrivals", "200", "--policy", "binpack", "-o", "json", cwd=trace)
    assert done.returncode == 0, done.stderr
    low, high = json.loads(done.stdout)["workloads"][0]["results"]
    assert low["mean_wait_s"] < high["mean_wait_s"]
    (trace / "log.csv").write_text("time_s,event,name,lifetime_s\n0,arrive,whole,10\n1,arrive,whole,10\n2,node-down,a,\n"
                                   "2,node-down,b,\n5,node-up,b,\n")
    done = simulate(*FILES, "--events", "log.csv", "--policy", "binpack", "--seeds", "1", "-o", "json", cwd=trace)
    assert done.returncode == 0, done.stderr
    run = json.loads(done.stdout)["workloads"][0]["results"][0]["runs"][0]
    assert run["lost"] in (2, 4)  # both on a: they move to b, and are lost again
    assert run["mean_wait_s"] == 3


@pytest.mark.parametrize("args, code, words", [
    (("--policy", "binpak"), 4, "did you mean binpack?"),
    (("--policy", "hami:nonsense"), 2, "hami"),
    (("--seeds", "44"), 4, "no arrival order of seed 44"),
    (("--seeds", "9-1"), 2, "--seeds has the range 9-1"),
    (("--load", "0"), 2, "--load has '0'"),
    (("--events", "missing.csv"), 4, "missing.csv"),
])
def test_errors_name_what_is_wrong(trace, args, code, words):
    done = simulate(*FILES, *args, cwd=trace)
    assert done.returncode == code, done.stderr
    assert words in done.stderr


def test_a_broken_file_is_named_with_its_line(trace):
    (trace / "pods.csv").write_text(PODS.replace("1,500", "1,5000"))
    done = simulate(*FILES, cwd=trace)
    assert done.returncode == 2
    assert "pods.csv:2: gpu_milli" in done.stderr
    done = simulate("--nodes", "nodes.csv", "--pods", "pods.csv", cwd=trace)
    assert "--order is missing" in done.stderr


def test_the_gate_fails_where_rows_differ(trace):
    folder = trace / "data"
    (folder / "arrivals").mkdir(parents=True)
    (folder / "openb_node_list_gpu_node.csv").write_text(NODES)
    (folder / "openb_pod_list_own.csv").write_text(PODS)
    (folder / "arrivals" / "own.txt.gz").write_text(ORDER)
    percents = range(81)
    rows = [",".join(["workload", "policy", "seed", *map(str, percents)])]
    for policy, at_80 in (("FGD", "0"), ("BestFit", "33")):
        rows.append(",".join(["own", policy, "42", *("0" for _ in percents[:-1]), at_80]))
    (folder / "published_rows.csv").write_text("\n".join(rows) + "\n")
    done = simulate("--gate", "--data", "data", cwd=trace)
    assert done.returncode == 1
    assert "1 of 2 published rows are equal" in done.stdout
    assert "BestFit" in done.stdout
