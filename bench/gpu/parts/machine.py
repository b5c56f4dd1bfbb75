"""The machine: device, driver, compilers, who else is on it."""
import importlib.util
import os
import platform
import shutil
import subprocess

from suite import lines
from suite.nvml import Nvml, NvmlError


def run(setting):
    lines.note("system", f"{platform.system()} {platform.release()}, {platform.machine()}, {os.cpu_count()} CPUs, "
                         f"{platform.libc_ver()[0]} {platform.libc_ver()[1]}, user {os.getuid()}")
    for tool in ("g++", "nvcc", "cmake", "git"):
        lines.note(tool, shutil.which(tool) or "not on the PATH")
    lines.note("PyTorch", "importable" if importlib.util.find_spec("torch") else "not importable")
    lines.note("libcuda.so.1", setting.driver or "not found")
    try:
        nvml = Nvml()
    except NvmlError as error:
        lines.check(False, "NVML", error, "answers")
        return
    total, _, used = nvml.memory()
    lines.note("devices", nvml.count())
    lines.note("device 0", f"{nvml.name()}, {nvml.uuid()}, {total >> 20} MiB, {used >> 20} MiB in use")
    lines.note("driver", nvml.driver_version())
    mig = nvml.mig()
    lines.note("MIG", mig)
    if mig == "on":
        lines.skip("MIG is on", "figures are of device 0 as CUDA shows it")
    others = nvml.processes()
    lines.note("others on it", f"{len(others)} processes, utilisation {nvml.utilization()} %")
    if not setting.soft and shutil.which("nvidia-smi"):
        done = subprocess.run(["nvidia-smi", "--query-gpu=clocks.sm,clocks.max.sm,temperature.gpu,power.draw,persistence_mode,compute_mode",
                               "--format=csv,noheader"], capture_output=True, text=True, timeout=20, check=False)
        lines.note("clock, most, temperature, power, persistence, compute mode", (done.stdout or done.stderr).strip().splitlines()[0])
