"""The GPU suite (bench/gpu): its arithmetic, its guards, and all its parts on a software GPU."""
import os
import pathlib
import subprocess
import sys
import textwrap

from conftest import ROOT, wait_for

SUITE = ROOT / "bench" / "gpu"
sys.path.insert(0, str(SUITE))
from suite import cells, runner, shares  # noqa: E402
from suite.shares import Entry  # noqa: E402

MS = 1_000_000
PARTS = ("machine", "build", "calls", "memory", "cost", "runtime", "caps", "live", "node", "torch")


def test_a_share_is_the_kernels_own_time_over_the_time_that_passed():
    log = [Entry(start * 10 * MS, start * 10 * MS + 3 * MS, 3 * MS) for start in range(100)]
    assert abs(shares.percent(log, 0, 1000 * MS) - 30) < 1e-9
    assert all(abs(value - 30) < 1e-9 for value in shares.windows(log, 0, 1000 * MS))
    # Cut by both ends of what is looked at.
    assert abs(shares.busy_ns(log, MS, 12 * MS) - (2 + 2) * MS) < 1


def test_time_in_which_a_kernel_was_preempted_is_not_its_own():
    log = [Entry(0, 500 * MS, 125 * MS)]
    assert shares.windows(log, 0, 500 * MS) == [25.0, 25.0]
    assert shares.percent(log, 0, 500 * MS) == 25.0


def test_a_window_may_be_off_by_a_unit_of_work():
    log = [Entry(0, 80 * MS, 80 * MS)]
    worst, allowed = shares.worst_window(log, 0, 500 * MS, 10, 80 * MS)
    assert worst == 32.0 and allowed == 32.0
    assert shares.worst_window(log, 0, 500 * MS, 10, MS)[1] == 5.0


def test_the_cells_hold_every_pair_of_values():
    picked = cells.chosen()
    assert len(picked) == len(set(picked)) == 24
    values = (cells.CAPS, cells.KERNELS_US, cells.MODES, cells.PROCESSES)
    for i, first in enumerate(values):
        for j in range(i + 1, len(values)):
            assert {(a, b) for a in first for b in values[j]} == {(cell[i], cell[j]) for cell in picked}


BROKEN = """
    import pathlib, subprocess, sys
    sys.path.insert(0, {suite!r})
    from suite import lines, runner
    from suite.setting import Setting
    if "--part" in sys.argv:
        part = sys.argv[sys.argv.index("--part") + 1]
        lines.check(True, part, "begins", "")
        if part == "hangs":
            left = subprocess.Popen(["sleep", "600"], start_new_session=True)
            pathlib.Path({pid!r}).write_text(str(left.pid))
            left.wait()
        raise SystemExit("no luck") if part == "breaks" else SystemExit(0)
    runner.become_reaper()
    record = runner.Record(pathlib.Path({record!r}))
    for name in ("breaks", "hangs", "works"):
        runner.run_part(name, 1.0 if name == "hangs" else 20, Setting(work={work!r}, build=""), record)
    sys.exit(0 if record.close() else 1)
"""


def test_a_part_that_breaks_or_hangs_is_recorded_and_the_next_one_runs(tmp_path):
    record, pid = tmp_path / "record.md", tmp_path / "pid"
    program = tmp_path / "parts_of_a_test.py"
    program.write_text(textwrap.dedent(BROKEN.format(suite=str(SUITE), pid=str(pid), record=str(record), work=str(tmp_path))))
    done = subprocess.run([sys.executable, program], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1, done.stderr
    rows = [row for row in record.read_text().splitlines() if row.startswith("|")]
    assert [row.split(" | ")[1] for row in rows] == ["breaks", "breaks", "hangs", "hangs", "works"]
    assert "no luck" in rows[1] and "not done within its 1 s" in rows[3]
    assert record.read_text().endswith("3 passed, 2 failed, 0 skipped\n")
    left = int(pid.read_text())
    wait_for(lambda: not pathlib.Path(f"/proc/{left}").exists(), 10, "what the part left behind is ended")


FAKE_TORCH = """
    import json, os, sys
    rate = 500.0 if "CAPPED" in os.environ else 1000.0
    for step in sys.argv[1:]:
        name = step.partition(":")[0]
        told = {"held_bytes": 0, "free_bytes": 0, "total_bytes": 16 << 30} if name == "limit" else {"rate": rate}
        print(json.dumps({"step": name, **told}), flush=True)
"""


def test_pytorch_is_judged_by_its_throughput_beside_none(tmp_path, monkeypatch, capsys):
    from parts import torch as part
    from suite import setting
    program = tmp_path / "tenant.py"
    program.write_text(textwrap.dedent(FAKE_TORCH))

    class FakeSlice:
        def __init__(self, _, memory_bytes, compute=0):
            self.compute = compute

        def env(self):
            return {"CAPPED": "1"} if self.compute else {}

        def usage(self):
            return {"throttled_ns": 0, "charged_ns": 0}

    monkeypatch.setattr(part, "TENANT", [sys.executable, str(program)])
    monkeypatch.setattr(part, "Slice", FakeSlice)
    monkeypatch.setattr(part.importlib.util, "find_spec", lambda name: name)
    part.run(setting.Setting(work=str(tmp_path), build=""))
    found = [finding for line in capsys.readouterr().out.splitlines() if (finding := runner.lines.parse(line))]
    verdicts = {finding["what"]: finding["verdict"] for finding in found}
    assert verdicts["matmul, cap 50"] == verdicts["decode, cap 50"] == verdicts["memory limit"] == "pass"
    assert verdicts["matmul in a slice without a cap"] == "pass"
    assert "no tweendeck" in next(f["got"] for f in found if f["what"] == "two tenants run without a node")


def test_a_row_of_the_record_stays_one_row():
    assert runner.lines.row({"verdict": "FAIL", "what": "a|b", "got": "one\ntwo", "bound": ""}) == "| FAIL | a/b | one two |  |"


def test_every_part_runs_on_a_software_gpu(tmp_path):
    record, log = tmp_path / "record.md", tmp_path / "log"
    environment = {key: value for key, value in os.environ.items() if not key.startswith("TWEENDECK_")}
    done = subprocess.run([SUITE / "run", "--soft", "--quick", "--record", record, "--keep", log], capture_output=True, text=True,
                          timeout=200, env=environment, check=False)
    told = record.read_text()
    said = log.read_text() if log.exists() else ""
    assert done.returncode == 0, told + done.stderr + said
    assert "no statement about any GPU" in told and " 0 failed" in told
    for part in PARTS:
        assert f"== {part}\n" in said
    for what in ("linear: exact", "launch, added", "cap 70", "memory limit: effective", "two tenants, 30 + 70"):
        assert f"| {what}" in told
