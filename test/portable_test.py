"""The portable pack: it runs from anywhere with only what it brought, and stays small."""
import os
import re
import subprocess
import tarfile

import pytest

from conftest import ROOT, free_port

MAX_BYTES = 60 << 20


@pytest.fixture(scope="module")
def pack(tmp_path_factory):
    folder = tmp_path_factory.mktemp("portable")
    archive = folder / "pack.tar.gz"
    subprocess.run([ROOT / "scripts" / "portable", "--output", archive], check=True, capture_output=True)
    assert archive.stat().st_size <= MAX_BYTES
    with tarfile.open(archive) as packed:
        packed.extractall(folder)  # of our own making; Python 3.11.2 has no filter yet
    return next(path for path in folder.iterdir() if path.is_dir())


def test_every_library_of_the_programs_comes_from_the_pack(pack):
    for program in (pack / "lib" / "programs").iterdir():
        listed = subprocess.run([pack / "bin" / "loader", "--library-path", pack / "lib" / "runtime", "--list", program],
                                check=True, capture_output=True, text=True).stdout
        paths = [line.split("=>")[1].split()[0] for line in listed.splitlines() if "=>" in line]
        assert paths and all(path.startswith(str(pack)) for path in paths), listed


# What runs inside the machine's own programs, and the oldest C library that it promises to load with.
@pytest.mark.parametrize("library, newest", [("libtweendeck-vgpu.so", (2, 17)), ("softgpu/libcuda.so.1", (2, 35)),
                                             ("softgpu/libnvidia-ml.so.1", (2, 35))])
def test_libraries_for_the_machines_programs_ask_for_no_newer_c_library(pack, library, newest):
    symbols = subprocess.run(["objdump", "-T", pack / "lib" / "tweendeck" / library], check=True, capture_output=True, text=True)
    versions = {tuple(map(int, found)) for found in re.findall(r"GLIBC_(\d+)\.(\d+)", symbols.stdout)}
    assert versions and max(versions) <= newest


def test_it_serves_slices_from_where_it_was_unpacked(pack, tmp_path_factory):
    tweendeck, environment = pack / "bin" / "tweendeck", {"PATH": os.environ["PATH"]}
    state = tmp_path_factory.mktemp("s")

    def run(command, *arguments, check=True):
        return subprocess.run([tweendeck, command, "--state-dir", state, *arguments], check=check, capture_output=True,
                              text=True, env=environment, timeout=60)
    run("up", "--detach", "--listen", f"127.0.0.1:{free_port()}", "--soft-gpus", "1:H100-80G")
    try:
        done = run("exec", "--memory", "1Gi", "--", "sh", "-c", "echo $LD_PRELOAD; exit 5", check=False)
        assert done.returncode == 5 and done.stdout.startswith(str(pack / "lib" / "tweendeck" / "libtweendeck-vgpu.so"))
    finally:
        run("down")
