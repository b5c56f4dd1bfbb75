"""Slices without a node: pages of their own, tenants inside them, and what tenants print."""
import json
import pathlib
import subprocess
import tempfile

from suite import lines
from suite.setting import Missing

NOT_THERE = 3  # the probe's exit code for what a driver or device lacks
PERMILLE = 10  # per percent


class Failed(Exception):
    """A tenant ended badly; says how."""


class Slice:
    """compute in percent, ceiling above it when idle compute may be borrowed; 0 = not limited."""

    def __init__(self, setting, memory_bytes=0, compute=0, ceiling=0):
        self.setting = setting
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="slice-", dir=setting.work))
        uuid = setting.uuid.removeprefix("GPU-").replace("-", "")
        self._pages("make", self.folder, uuid, *self._shares(memory_bytes, compute, ceiling))
        self.limits, self.usage_file = self.folder / "limits", self.folder / "usage"

    @staticmethod
    def _shares(memory_bytes, compute, ceiling):
        return memory_bytes, compute * PERMILLE, (ceiling or compute) * PERMILLE

    def _pages(self, *words):
        done = subprocess.run([self.setting.tool("pages"), *map(str, words)], capture_output=True, text=True, timeout=60, check=False)
        if done.returncode != 0:
            raise Failed(done.stderr.strip())
        return [json.loads(line) for line in done.stdout.splitlines()]

    def env(self):
        return {"TWEENDECK_VGPU_LIMITS": str(self.limits), "TWEENDECK_VGPU_USAGE": str(self.usage_file),
                "LD_PRELOAD": str(self.setting.tool("library"))}

    def set(self, memory_bytes=0, compute=0, ceiling=0):
        return self._pages("set", self.limits, *self._shares(memory_bytes, compute, ceiling))[0]["at_ns"]

    def usage(self):
        return self._pages("usage", self.usage_file)[0]

    def command(self, mode, *words):
        """For what runs beside tenants: pauses, resizes."""
        return start(self.setting, None, mode, self.limits, *words, program="pages")


def start(setting, inside, *command, program="probe", **more):
    """A tenant; inside None: without the library."""
    environment = setting.env(**(inside.env() if inside else {}), **more)
    if "image" in setting.tools and program == "probe":
        environment.setdefault("TW_GPU_IMAGE", setting.tools["image"])
    words = [setting.tool(program), *map(str, command)] if isinstance(program, str) else [*program, *map(str, command)]
    errors = tempfile.TemporaryFile("w+", errors="replace")  # a pipe that nobody reads yet would stop a talkative tenant
    process = subprocess.Popen(words, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True)
    process.errors = errors
    return process


def complaints(process):
    """What a tenant said on stderr."""
    process.errors.seek(0)
    return process.errors.read()


def finish(process, timeout_s=60):
    """The JSON objects that a process printed. Missing for what the device lacks, Failed for everything else."""
    try:
        out, _ = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise Failed(f"not done within {timeout_s:.0f} s: {' '.join(map(str, process.args[1:4]))}; {last(complaints(process))}") from None
    err = complaints(process)
    if err.strip():
        lines.say(f"{' '.join(map(str, process.args))}\n{err.strip()}")
    if process.returncode == NOT_THERE:
        raise Missing(last(err))
    if process.returncode != 0:
        raise Failed(f"{' '.join(map(str, process.args[1:4]))} ended with {process.returncode}: {last(err)}")
    return [json.loads(line) for line in out.splitlines() if line.startswith("{")]


def last(text):
    return (text.strip().splitlines() or ["it said nothing"])[-1][:300]


def ask(setting, inside, *command, timeout_s=60, **more):
    """What a tenant that prints one object printed."""
    return finish(start(setting, inside, *command, **more), timeout_s)[-1]


def read_line(process):
    """The next object of a tenant that goes on; its time is bounded by the part's."""
    line = process.stdout.readline()
    if not line:
        finish(process, 5)
        raise Failed("the tenant ended early")
    return json.loads(line)
