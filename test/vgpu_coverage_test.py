"""Every way to get device memory stays within the slice, and every view shows it: the table of driver calls at work."""
import json
import os
import subprocess
import sys
import textwrap

import pytest

from conftest import BUILD, ROOT
from vgpu_harness import LIBRARY, MIB, OUT_OF_MEMORY, OWN, TENANT, gpu, make, script  # noqa: F401
from vgpu_paths import PATHS, UNIT

UNCLASSIFIED_OFFSET = 40  # of the counter in the usage page
CHECK = ROOT / "scripts" / "check-libcuda"


@pytest.mark.parametrize("flags", [0, 2])
@pytest.mark.parametrize("path", PATHS)
def test_the_limit_is_exact_on_every_path(make, path, flags):
    slice_of = make(16 * UNIT)
    tenant = make.tenant(slice_of, flags)
    assert tenant.do("path", path) == [16, OUT_OF_MEMORY, 1, 16]
    assert slice_of.used() == 0


def test_one_byte_less_is_one_unit_less(make):
    tenant = make.tenant(make(16 * UNIT - 1))
    assert tenant.do("path", "linear") == [15, OUT_OF_MEMORY, 1, 15]


def test_a_small_allocation_counts_as_what_the_driver_takes(make):
    slice_of = make(1 * MIB)
    tenant = make.tenant(slice_of)
    assert tenant.do("alloc", 1)[0] == 0
    assert slice_of.used() == 512
    assert tenant.do("fill", 1) == [MIB // 512 - 1, OUT_OF_MEMORY]


def test_a_context_that_does_not_fit_is_refused(make):
    slice_of = make(1, processes=0)
    run = subprocess.run([sys.executable, TENANT], env=slice_of.environment(), input="", capture_output=True, text=True)
    assert f"CUDA error {OUT_OF_MEMORY}" in run.stderr


def test_the_exporter_pays_once(make):
    slice_of = make(100 * MIB, processes=2)
    exporter, importer = make.tenant(slice_of), make.tenant(slice_of)
    _, address = exporter.do("alloc", 60 * MIB)
    handle = exporter.do("ipc_export", address)
    opened = importer.do("ipc_open", handle)
    assert slice_of.used() == 60 * MIB
    assert importer.do("fill", 10 * MIB) == [4, OUT_OF_MEMORY]
    assert importer.do("ipc_close", opened) == 0
    assert slice_of.used() == 100 * MIB
    importer.kill()
    assert exporter.do("free", address) == 0
    assert exporter.do("alloc", 100 * MIB + OWN)[0] == 0


def test_a_handle_imported_from_oneself_does_not_count_twice(make):
    slice_of = make(100 * MIB)
    code = """
        import ctypes, os, sys; sys.path.insert(0, sys.argv[1])
        import vgpu_tenant as t, vgpu_paths as p
        c = t.Cuda(); path = p.Virtual(c)
        handle, properties, fd, twin = t.U64(), p.Properties(), ctypes.c_int(), t.U64()
        properties.handle_types = 1
        path.check("cuMemCreate", 10020, ctypes.byref(handle), t.SIZE(p.UNIT), ctypes.byref(properties), t.U64(0))
        path.check("cuMemExportToShareableHandle", 10020, ctypes.byref(fd), handle, 1, t.U64(0))
        path.check("cuMemImportFromShareableHandle", 10020, ctypes.byref(twin), t.P(fd.value), 1)
        def used(): return sum(os.pread(os.open(os.environ["TWEENDECK_VGPU_USAGE"], os.O_RDONLY), 8, 24704 + 40)[i] << 8 * i for i in range(8))
        counts = [used()]
        for one in (handle, twin):
            path.check("cuMemRelease", 10020, one)
            counts.append(used())
        print(counts, handle.value == twin.value)"""
    counts, same = script(slice_of, "-c", textwrap.dedent(code), str(TENANT.parent)).strip().rsplit(" ", 1)
    assert json.loads(counts) == ([UNIT, UNIT, 0] if same == "True" else [UNIT, 0, 0])


def test_the_software_gpus_driver_is_fully_classified():
    run = subprocess.run([CHECK, BUILD / "lib" / "softgpu" / "libcuda.so.1"], capture_output=True, text=True)
    assert run.returncode == 0 and " 0 unclassified" in run.stdout, run.stdout + run.stderr


def test_the_check_finds_a_function_that_the_table_does_not_know(tmp_path):
    source, library = tmp_path / "driver.c", tmp_path / "libcuda.so.1"
    source.write_text("int cuInit(void) { return 0; }\nint cuMemAllocQuantum_v9(void) { return 0; }\nint other(void) { return 0; }\n")
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", library, source], check=True)
    run = subprocess.run([CHECK, library], capture_output=True, text=True)
    assert run.returncode == 1
    assert "unclassified cuMemAllocQuantum_v9" in run.stdout and "other" not in run.stdout


def test_unknown_functions_pass_and_are_counted(make):
    slice_of = make(16 * UNIT)
    code = ("import ctypes; cuda = ctypes.CDLL('libcuda.so.1'); cuda.cuInit(0)\n"
            "print(hasattr(cuda, 'cuDeviceGetCount'), hasattr(cuda, 'cuMemAllocQuantum_v9'))")
    assert script(slice_of, "-c", code).split() == ["True", "False"]
    with slice_of.usage.open("rb") as page:
        page.seek(UNCLASSIFIED_OFFSET)
        assert int.from_bytes(page.read(8), "little") == 1


def test_a_program_of_musl_is_refused_with_a_reason(tmp_path):
    source, program = tmp_path / "program.c", tmp_path / "program"
    source.write_text("int main(void) { return 0; }\n")
    subprocess.run(["musl-gcc", "-o", program, source], check=True)
    assert subprocess.run([program]).returncode == 0
    run = subprocess.run([program], env={"LD_PRELOAD": str(LIBRARY)}, capture_output=True, text=True)
    assert run.returncode == 127
    assert run.stderr.startswith("tweendeck-vgpu: this program uses the C library musl") and run.stderr.count("\n") == 1
