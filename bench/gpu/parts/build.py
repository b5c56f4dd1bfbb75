"""The library, its unit tests and the probe, built on this machine; what cannot be built is taken from a build."""
import hashlib
import os
import pathlib
import subprocess

from suite import lines, packed, slices
from suite.setting import Missing
from suite.toolchain import SOURCE, SUITE, BuildError, Gcc, Nvcc

UNIT_TESTS_S = 60


def _try(what, make):
    try:
        made = make()
    except BuildError as error:
        lines.check(False, what, error, "builds")
    except Missing as missing:
        lines.skip(what, missing)
    else:
        lines.check(True, what, "built", "builds")
        return str(made)
    return None


def _keep(setting, tools):
    """At once: what there is serves the other parts, whatever happens next."""
    setting.tools.update({name: path for name, path in tools.items() if path})
    setting.save()


def _unit_tests(program):
    try:
        done = subprocess.run([program], capture_output=True, text=True, timeout=UNIT_TESTS_S, check=False)
    except subprocess.TimeoutExpired:
        lines.check(False, "unit tests", f"not done within {UNIT_TESTS_S} s", "pass")
        return
    lines.say(done.stderr)
    lines.check(done.returncode == 0, "unit tests", slices.last(done.stdout if done.stdout.strip() else done.stderr), "pass")


def _with_gcc(setting):
    try:
        gcc = Gcc(setting.path("built"))
    except (Missing, BuildError) as reason:
        lines.skip("g++", reason)
        return
    lines.note("g++", f"{gcc.version}, -std={gcc.standard}")
    made = {"library": _try("vgpu library", gcc.library)}
    if not setting.quick:
        made |= {"probe": _try("probe", lambda: gcc.program("gpu_probe", SUITE / "probe")),
                 "pages": _try("pages", lambda: gcc.program("gpu_pages", SUITE / "pages"))}
    _keep(setting, made)
    if setting.quick:
        return
    tests = _try("unit tests", gcc.unit_tests)
    if tests:
        _unit_tests(tests)


def _with_nvcc(setting):
    try:
        nvcc = Nvcc(setting.path("built"), setting.capability)
    except (Missing, BuildError) as reason:
        lines.skip("nvcc", reason)
        return
    lines.note("nvcc", nvcc.version)
    made = {"image": _try("kernels by nvcc", nvcc.image), "runtime": _try("runtime-API program", nvcc.runtime_program)}
    _keep(setting, made)


def _source_hash():
    """Names the library's source where no version control is at hand."""
    whole = hashlib.sha256()
    for path in sorted(SOURCE.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            whole.update(path.read_bytes())
    return whole.hexdigest()[:16]


def run(setting):
    lines.note("source of src/vgpu", _source_hash())
    found = packed.find(setting)
    _keep(setting, found)
    for name, path in sorted(found.items()):
        lines.note(f"{name}, brought along", os.path.relpath(path, setting.work if path.startswith(setting.work) else pathlib.Path.cwd()))
    _with_gcc(setting)
    device = slices.ask(setting, None, "info")
    setting.name, setting.sms, setting.capability = device["name"], device["sms"], device["capability"]
    lines.note("as CUDA shows it", f"{device['name']}, {device['sms']} SMs, sm_{device['capability']}, CUDA {device['driver']}")
    if not setting.soft:
        _with_nvcc(setting)
    setting.save()
