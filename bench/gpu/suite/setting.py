"""What the parts share: where things are, which device, how much time. Kept in a file, because each part is a process."""
import dataclasses
import json
import os
import pathlib
import time

ROOT = pathlib.Path(__file__).resolve().parents[3]
FILE = "setting.json"


@dataclasses.dataclass
class Setting:
    work: str  # scratch of this run
    build: str  # a build of the tree, where there is one
    soft: bool = False
    quick: bool = False
    deadline: float = 0  # of the part that runs now, as time.time() counts
    environment: dict = dataclasses.field(default_factory=dict)  # on top of the own one
    driver: str = ""  # the libcuda.so.1 that is used
    uuid: str = ""
    name: str = ""
    sms: int = 0
    capability: str = ""
    tools: dict = dataclasses.field(default_factory=dict)  # library, probe, pages, image, runtime, tweendeck: paths

    def save(self):
        path = pathlib.Path(self.work) / FILE
        path.with_suffix(".new").write_text(json.dumps(dataclasses.asdict(self)), encoding="utf-8")
        path.with_suffix(".new").rename(path)

    @staticmethod
    def load(work):
        return Setting(**json.loads((pathlib.Path(work) / FILE).read_text(encoding="utf-8")))

    def left_s(self):
        return self.deadline - time.time()

    def path(self, *names):
        path = pathlib.Path(self.work, *names)
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def env(self, **more):
        chosen = {"CUDA_VISIBLE_DEVICES": self.uuid} if self.uuid else {}
        return {**os.environ, **self.environment, **chosen, **more}

    def tool(self, name):
        """Path of a program or library: built on this machine, or else of a build that was brought along."""
        if name not in self.tools:
            raise Missing(f"no {name}: not built here, and none in {self.build}")
        return self.tools[name]


class Missing(Exception):
    """Something that this machine lacks; whoever needs it says so and is skipped."""
