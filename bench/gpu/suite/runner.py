"""Runs the parts: each in a process of its own with a time limit, its findings written down the moment they come.

Whatever a part does - fails, hangs, leaves processes behind - the next one runs, and the record holds what was known
until then. Processes that a part leaves behind become children of this one (it is their subreaper) and are ended.
"""
import ctypes
import os
import pathlib
import queue
import signal
import subprocess
import sys
import threading
import time

from suite import lines

PR_SET_CHILD_SUBREAPER = 36
STOP_GRACE_S = 6  # for a part to end what it started
SWEEPS = 20
LEAST_S = 5  # a part that would have less is not begun


class Record:
    """Printed, and written to the file so that a killed run leaves all that it had found."""

    def __init__(self, path):
        self.file = None
        if path:
            path.parent.mkdir(parents=True, exist_ok=True)
            self.file = path.open("a", encoding="utf-8")
        self.counts = {}

    def text(self, text):
        print(text, flush=True)
        if self.file:
            self.file.write(text + "\n")
            self.file.flush()
            os.fsync(self.file.fileno())

    def finding(self, finding):
        self.counts[finding["verdict"]] = self.counts.get(finding["verdict"], 0) + 1
        self.text(lines.row(finding))

    def close(self):
        count = self.counts.get
        self.text(f"\n{count(lines.PASS, 0)} passed, {count(lines.FAIL, 0)} failed, {count(lines.SKIP, 0)} skipped")
        if self.file:
            self.file.close()
        return count(lines.FAIL, 0) == 0


def become_reaper():
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _children():
    found = []
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1]) == os.getpid():
                    found.append(int(entry.name))
            except (OSError, IndexError):
                pass
    return found


def end_leftovers(keep):
    """Ends the processes that parts left behind; those of these become children themselves, hence the rounds."""
    ended = 0
    for _ in range(SWEEPS):
        left = [pid for pid in _children() if pid not in keep]
        if not left:
            break
        for pid in left:
            try:
                os.kill(pid, signal.SIGKILL)
            except OSError:
                pass
        time.sleep(0.02)
        for pid in left:
            try:
                ended += os.waitpid(pid, os.WNOHANG)[0] == pid
            except ChildProcessError:
                pass
    return ended


def _signal_group(process, number):
    try:
        os.killpg(process.pid, number)
    except OSError:
        pass


def _stop(process):
    _signal_group(process, signal.SIGTERM)
    try:
        process.wait(STOP_GRACE_S)
    except subprocess.TimeoutExpired:
        _signal_group(process, signal.SIGKILL)
        try:
            process.wait(STOP_GRACE_S)
        except subprocess.TimeoutExpired:
            pass  # stuck in the kernel: nothing more can be done, and the others still run


def run_part(name, limit_s, setting, record, keep=()):
    """True when the part came to its own end."""
    setting.deadline = time.time() + limit_s
    setting.save()
    log = setting.path("logs", name + ".log")
    with log.open("w") as stderr:
        process = subprocess.Popen([sys.executable, sys.argv[0], "--part", name, "--work", setting.work], stdout=subprocess.PIPE,
                                   stderr=stderr, text=True, start_new_session=True, errors="replace", env=setting.env())
    arrived = queue.Queue()

    def read():
        for line in process.stdout:
            arrived.put(line)
        arrived.put(None)

    threading.Thread(target=read, daemon=True).start()
    timed_out = False
    try:
        while True:
            try:
                line = arrived.get(timeout=0.2)
            except queue.Empty:
                if process.poll() is not None:
                    break  # a process that it left behind holds its output open
                timed_out = time.time() > setting.deadline
                if timed_out:
                    break
                continue
            if line is None:
                break
            if finding := lines.parse(line):
                record.finding(finding)
    finally:
        if timed_out or process.poll() is None:
            if not timed_out:
                try:
                    process.wait(STOP_GRACE_S)
                except subprocess.TimeoutExpired:
                    pass
            _stop(process)
        end_leftovers({process.pid, *keep})
    if timed_out:
        record.finding({"verdict": lines.FAIL, "what": name, "got": f"not done within its {limit_s:.0f} s, ended",
                        "bound": ""})
    elif process.returncode != 0:
        said = (log.read_text(errors="replace").strip().splitlines() or ["nothing"])[-1]
        record.finding({"verdict": lines.FAIL, "what": name, "got": f"ended with {process.returncode}: {said[:300]}", "bound": ""})
    return not timed_out and process.returncode == 0
