"""The vgpu library without a node: limits from the environment variables of HAMi."""
import json
import os
import pathlib
import subprocess
import sys

import pytest

from misbehaving import small_disk
from vgpu_harness import LIBRARY, MIB, OUT_OF_MEMORY, OWN, SOFTGPU, SYSTEM_NOT_READY, TENANT, Gpu, Tenant


class Container:
    """What HAMi's device plugin gives to a container: variables, and a place where its processes meet."""

    def __init__(self, directory, gpu, **variables):
        self.gpu, self.cache = gpu, directory / "cudevshr.cache"
        self.variables = dict(variables)
        self.variables.setdefault("CUDA_DEVICE_MEMORY_SHARED_CACHE", str(self.cache))

    def environment(self, **more):
        plain = {k: v for k, v in os.environ.items() if not k.startswith(("CUDA_", "TWEENDECK_", "GPU_CORE", "LIBCUDA_"))}
        return plain | {"LD_PRELOAD": str(LIBRARY), "LD_LIBRARY_PATH": str(SOFTGPU),
                        "TWEENDECK_SOFTGPU_STATE": str(self.gpu.path)} | self.variables | more

    def run(self, *command, text=""):
        return subprocess.run([sys.executable, *command], env=self.environment(), input=text, capture_output=True, text=True, timeout=60)


@pytest.fixture
def container(tmp_path):
    """container(cards=..., VARIABLE=...); container.tenant(c) -> process that ends with the test."""
    tenants, gpus = [], []

    def make(cards="1:H100-80G", **variables):
        if not gpus:
            gpus.append(Gpu(tmp_path, cards))
        return Container(tmp_path, gpus[0], **variables)

    def tenant(of):
        tenants.append(Tenant(of))
        return tenants[-1]

    make.tenant = tenant
    yield make
    for one in tenants:
        one.kill()


def mib(size):
    return f"{size // MIB}m"


def test_processes_of_a_container_share_the_limit(container, tmp_path):
    of = container(CUDA_DEVICE_MEMORY_LIMIT_0=mib(100 * MIB + 2 * OWN), CUDA_DEVICE_MEMORY_LIMIT="1k")
    one, two = container.tenant(of), container.tenant(of)
    assert one.do("fill", 40 * MIB) == [2, OUT_OF_MEMORY]
    assert two.do("fill", MIB) == [20, OUT_OF_MEMORY]
    assert two.do("info")[:2] == [0, 100 * MIB + 2 * OWN]
    one.kill()
    assert two.do("fill", MIB)[0] == 80 + OWN // MIB
    assert [p.name.partition(".tweendeck.")[0] for p in tmp_path.iterdir() if "tweendeck" in p.name] == ["cudevshr.cache"]


def test_each_device_has_its_own_limit_by_number(container):
    of = container("2:A10", CUDA_DEVICE_MEMORY_LIMIT="1g", CUDA_DEVICE_MEMORY_LIMIT_1=mib(50 * MIB + OWN))
    of.variables["CUDA_VISIBLE_DEVICES"] = "1,0"
    assert container.tenant(of).do("info")[1] == 1 << 30
    code = ("import sys; sys.path.insert(0, sys.argv[1]); import vgpu_tenant as t, pynvml as n; n.nvmlInit()\n"
            "print([n.nvmlDeviceGetMemoryInfo(n.nvmlDeviceGetHandleByIndex(i)).total >> 20 for i in (0, 1)])")
    pytest.importorskip("pynvml")
    # CUDA's device 1 is NVML's device 0, by CUDA_VISIBLE_DEVICES.
    assert json.loads(of.run("-c", code, str(TENANT.parent)).stdout) == [50 + OWN // MIB, 1024]


def test_share_of_time(container):
    of = container(CUDA_DEVICE_SM_LIMIT="20")
    tenant = container.tenant(of)
    before = of.gpu.busy_ns(tenant.pid)
    tenant.do("spin", [1_000_000], 2.0, 1, 1)
    assert of.gpu.busy_ns(tenant.pid) - before < 0.3 * 2e9


def test_without_a_limit_there_is_none(container):
    for variables in ({}, {"CUDA_DEVICE_MEMORY_LIMIT": "0"}, {"CUDA_TASK_PRIORITY": "1", "CUDA_OVERSUBSCRIBE": "true"}):
        assert container(**variables).run(TENANT, text='["alloc", 1073741824]\n').stdout.splitlines()[1].startswith("[0,")


def test_a_limit_that_cannot_be_read_is_an_error(container):
    run = container(CUDA_DEVICE_MEMORY_LIMIT="4 GiB").run(TENANT)
    assert json.loads(run.stdout)["init"] == SYSTEM_NOT_READY
    assert run.stderr == ("tweendeck-vgpu: CUDA_DEVICE_MEMORY_LIMIT is no limit (write bytes, or a number with k, m or g); "
                          "the GPU is not available to this process\n")
    run = container(CUDA_DEVICE_SM_LIMIT_0="50%").run(TENANT)
    assert run.stderr == ("tweendeck-vgpu: CUDA_DEVICE_SM_LIMIT_0 is no limit (write percent as a whole number); "
                          "the GPU is not available to this process\n")


@pytest.mark.parametrize("left", [0, 64 << 10])
def test_a_meeting_place_on_a_full_disk_is_an_error(container, tmp_path, left):
    with small_disk(tmp_path / "small", "1m") as folder:
        (folder / "ballast").write_bytes(bytes((1 << 20) - left))
        run = container(CUDA_DEVICE_MEMORY_LIMIT="1g", CUDA_DEVICE_MEMORY_SHARED_CACHE=str(folder / "cache")).run(TENANT)
        assert json.loads(run.stdout)["init"] == SYSTEM_NOT_READY
        assert run.stderr.startswith("tweendeck-vgpu: cannot make or share the usage page")
        assert [path.name for path in folder.iterdir()] == ["ballast"], "nothing half made stays"


def test_oversubscription_is_reported_as_without_effect(container):
    quiet = container(CUDA_DEVICE_MEMORY_LIMIT="1g", CUDA_OVERSUBSCRIBE="true", LIBCUDA_LOG_LEVEL="0")
    assert quiet.run(TENANT).stderr == ""
    loud = container(CUDA_DEVICE_MEMORY_LIMIT="1g", CUDA_OVERSUBSCRIBE="true")
    assert loud.run(TENANT).stderr == "tweendeck-vgpu: CUDA_OVERSUBSCRIBE has no effect: memory above the limit is refused\n"


def test_the_default_meeting_place_is_the_users_own(container):
    of = container(CUDA_DEVICE_MEMORY_LIMIT="1g", CUDA_DEVICE_MEMORY_SHARED_CACHE="", LIBCUDA_LOG_LEVEL="3")
    line = of.run(TENANT).stderr
    path = pathlib.Path(line.strip().rpartition(" ")[2])
    try:
        assert path.parent == pathlib.Path("/dev/shm") and path.stat().st_mode & 0o777 == 0o600
        path.chmod(0o666)
        assert path.name in of.run(TENANT).stderr and "/tmp/" in of.run(TENANT).stderr
    finally:
        for folder in ("/dev/shm", "/tmp"):
            (pathlib.Path(folder) / path.name).unlink(missing_ok=True)
