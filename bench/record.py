"""What every benchmark's record starts with: when, on what, of which version, by which command."""
import datetime
import os
import pathlib
import platform
import re
import shutil
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[1]


def heading(command):
    commit = ""
    if shutil.which("git"):
        commit = subprocess.run(["git", "-C", ROOT, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False).stdout.strip()
    stamp = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
    cpu = re.search(r"model name\s*: (.*)", pathlib.Path("/proc/cpuinfo").read_text())
    kernel = re.match(r"[\d.]+", platform.release()).group(0)
    load = os.getloadavg()[0]
    return (f"## {stamp}, {os.cpu_count()} CPUs, {cpu.group(1) if cpu else platform.machine()}, Linux {kernel}, load "
            f"{load:.1f}\ntweendeck {commit or '-'}; `{command}`\n")


def emit(text, path):
    print(text)
    if path:
        with path.open("a", encoding="utf-8") as file:
            file.write("\n" + text + "\n")
