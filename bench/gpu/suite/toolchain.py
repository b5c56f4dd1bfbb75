"""Builds the vgpu library, its unit tests and the suite's programs with a machine's own g++ and nvcc, without CMake."""
import concurrent.futures
import os
import pathlib
import re
import shutil
import subprocess
import sys

from suite.setting import ROOT, Missing

SOURCE = ROOT / "src" / "vgpu"
SUITE = ROOT / "bench" / "gpu"
STANDARDS = ("c++23", "c++2b", "c++20")
OLDEST_GCC = 11
BUILD_FLAGS = ("-O2", "-fPIC", "-fvisibility=hidden")
STEP_S = 150
NVCC_PLACES = ("/usr/local/cuda/bin/nvcc", "/opt/cuda/bin/nvcc")


class BuildError(Exception):
    pass


def cmake_flags(kind):
    """Words of the library's target_<kind>_options and the like in its CMakeLists.txt: its flags have one home."""
    text = re.sub(r"#.*", "", (SOURCE / "preload" / "CMakeLists.txt").read_text(encoding="utf-8"))
    found = re.search(rf"target_{kind}\(tweendeck-vgpu PRIVATE ([^)]*)\)", text)
    return found.group(1).split() if found else []


def compile_step(*words):
    try:
        done = subprocess.run([str(word) for word in words], capture_output=True, text=True, timeout=STEP_S, check=False)
    except subprocess.TimeoutExpired:
        raise BuildError(f"{pathlib.Path(str(words[0])).name} took more than {STEP_S} s") from None
    except OSError as error:
        raise BuildError(str(error)) from None
    if done.returncode != 0:
        print(" ".join(map(str, words)), done.stderr, sep="\n", file=sys.stderr, flush=True)
        told = [line for line in done.stderr.splitlines() if "error" in line] or done.stderr.splitlines() or ["no message"]
        raise BuildError(told[0][:300])
    return done.stdout


class Gcc:
    def __init__(self, scratch):
        self.command = os.environ.get("CXX") or shutil.which("g++")
        if not self.command:
            raise Missing("no g++ on this machine")
        self.scratch = pathlib.Path(scratch)
        self.scratch.mkdir(parents=True, exist_ok=True)
        self.version = compile_step(self.command, "-dumpfullversion", "-dumpversion").strip()
        if int(self.version.split(".")[0]) < OLDEST_GCC:
            raise Missing(f"g++ {self.version} is older than {OLDEST_GCC}")
        empty = self.scratch / "empty.cc"
        empty.write_text("int main() {}\n")
        for self.standard in STANDARDS:
            try:
                compile_step(self.command, f"-std={self.standard}", "-fsyntax-only", empty)
                break
            except BuildError:
                pass
        else:
            raise Missing(f"g++ {self.version} knows none of {', '.join(STANDARDS)}")

    def objects(self, folder, sources, *flags):
        """Object files of the sources, compiled side by side."""
        folder = self.scratch / "objects" / folder
        folder.mkdir(parents=True, exist_ok=True)

        def one(source):
            target = folder / (source.parent.name + "-" + source.stem + ".o")
            compile_step(self.command, f"-std={self.standard}", "-c", source, "-o", target, f"-I{ROOT / 'src'}", *flags)
            return target

        with concurrent.futures.ThreadPoolExecutor(os.cpu_count() or 2) as pool:
            return list(pool.map(one, sources))

    def library(self):
        made = self.scratch / "made"
        made.mkdir(exist_ok=True)
        preload = SOURCE / "preload"
        compile_step(sys.executable, preload / "calls_table.py", preload / "driver.calls", made)
        sources = sorted(preload.glob("*.cc")) + [path for path in sorted(SOURCE.glob("*.cc")) if not path.stem.endswith("_test")]
        target = self.scratch / "libtweendeck-vgpu.so"
        # The C linker: the library needs nothing of C++'s runtime.
        compile_step(self.command.replace("g++", "gcc"), "-o", target, "-shared",
                     *self.objects("library", sources, f"-I{made}", *BUILD_FLAGS, *cmake_flags("compile_options")),
                     *cmake_flags("link_options"), *cmake_flags("link_libraries"))
        return target

    def program(self, name, folder):
        target = self.scratch / name
        compile_step(self.command, "-o", target, *self.objects(name, sorted(folder.glob("*.cc")), "-O2"), "-ldl", "-pthread")
        return target

    def unit_tests(self):
        target = self.scratch / "vgpu_unit_tests"
        compile_step(self.command, "-o", target,
                     *self.objects("unit", [*sorted(SOURCE.glob("*.cc")), SUITE / "unit" / "main.cc"], "-O1", f"-I{SUITE / 'unit'}"),
                     "-pthread")
        return target


class Nvcc:
    def __init__(self, scratch, capability):
        places = [os.environ.get("NVCC", ""), shutil.which("nvcc") or "", *NVCC_PLACES]
        self.command = next((place for place in places if place and os.access(place, os.X_OK)), None)
        if not self.command:
            raise Missing("no nvcc on this machine; the driver compiles the kernel's text instead")
        self.scratch, self.arch = pathlib.Path(scratch), f"-arch=sm_{capability}"
        self.version = compile_step(self.command, "--version").strip().splitlines()[-1]

    def image(self):
        target = self.scratch / "kernels.cubin"
        compile_step(self.command, "-cubin", self.arch, "-o", target, SUITE / "kernels.cu")
        return target

    def runtime_program(self):
        target = self.scratch / "gpu_runtime"
        compile_step(self.command, self.arch, "-O2", "-cudart", "static", "-o", target, SUITE / "runtime.cu")
        return target
