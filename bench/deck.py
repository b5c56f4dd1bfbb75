"""A daemon of its own for a benchmark: start, command, stop."""
import json
import pathlib
import shutil
import socket
import subprocess
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[1]
TWEENDECK = ROOT / "build" / "release" / "tweendeck"


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Deck:
    def __init__(self, *up_args):
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="tw-bench-", dir="/tmp"))
        self.port = free_port()
        self.up_args = up_args

    def __enter__(self):
        self.run("up", "--detach", "--listen", f"127.0.0.1:{self.port}", *self.up_args)
        return self

    def __exit__(self, *_):
        self.run("down", "--drain", "1s")
        shutil.rmtree(self.directory, ignore_errors=True)

    def run(self, command, *args):
        done = subprocess.run([TWEENDECK, command, "--state-dir", self.directory / "state", *map(str, args)],
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False)
        if done.returncode != 0:
            raise SystemExit(f"tweendeck {command} ended with {done.returncode}: {done.stderr}")
        return done.stdout

    def json(self, command, *args):
        return json.loads(self.run(command, *args, "-o", "json"))
