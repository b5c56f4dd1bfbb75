"""The placement engine decides the same whatever compiled it."""
import pathlib
import subprocess

import pytest

from conftest import SOAK

SCRIPT = pathlib.Path(__file__).parents[1] / "bench" / "placement" / "same-bits"


@pytest.mark.slow
@pytest.mark.skipif(not SOAK, reason="builds the engine four times: run by make soak")
def test_a_log_has_one_hash_with_clang_and_gcc_with_and_without_optimisation():
    done = subprocess.run([SCRIPT], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
