"""Software GPUs for --soft: the suite itself is tested on them, nothing about a real GPU is."""
import copy
import json
import pathlib
import subprocess

CARD = "1:H100-80G"


def with_card(setting, clock="real", clients=0):
    """The setting with a fresh software GPU in it. Virtual time begins when `clients` processes have attached."""
    changed = copy.deepcopy(setting)
    number = len(list(pathlib.Path(setting.work).glob("card-*")))
    model = setting.path(f"card-{number}")
    build = pathlib.Path(setting.build)
    tool = build / "bin" / "tweendeck-softgpu"
    extra = ["--start-clients", str(clients)] if clients else []
    subprocess.run([tool, "create", "--cards", CARD, "--clock", clock, *extra, model], check=True, capture_output=True, timeout=30)
    listed = subprocess.run([tool, "ls", "-o", "json", model], check=True, capture_output=True, timeout=30)
    changed.uuid = json.loads(listed.stdout)["cards"][0]["uuid"]
    changed.driver = str(build / "lib" / "softgpu" / "libcuda.so.1")
    changed.environment |= {"LD_LIBRARY_PATH": str(build / "lib" / "softgpu"), "TWEENDECK_SOFTGPU_STATE": str(model)}
    return changed
