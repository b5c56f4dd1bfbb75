"""The node itself beside tenants: a daemon of the brought-along `tweendeck`, and programs in slices that it makes."""
import json
import pathlib
import socket
import subprocess
import tempfile

from suite import slices

UP_S, DOWN_S, ASK_S = 40, 20, 20
SOFT_GPUS = "1:H100-80G"


def _free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Node:
    def __init__(self, setting):
        self.setting, self.tweendeck = setting, setting.tool("tweendeck")
        self.state = pathlib.Path(tempfile.mkdtemp(prefix="node-", dir=setting.work))
        self.device = "soft0" if setting.soft else "gpu0"

    def __enter__(self):
        soft = ["--soft-gpus", SOFT_GPUS] if self.setting.soft else []
        try:
            self.must("up", "--detach", "--listen", f"127.0.0.1:{_free_port()}", *soft, timeout_s=UP_S)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        try:
            self.ask("down", "--drain", "1s", timeout_s=DOWN_S)
        except (OSError, subprocess.TimeoutExpired):
            pass  # the runner ends what is left

    def words(self, command, *rest):
        return [self.tweendeck, command, "--state-dir", str(self.state), *map(str, rest)]

    def ask(self, command, *rest, timeout_s=ASK_S):
        """stdin and a pipe that the daemon inherits would keep this waiting, hence the files."""
        with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
            code = subprocess.run(self.words(command, *rest), stdin=subprocess.DEVNULL, stdout=out, stderr=err, timeout=timeout_s,
                                  check=False).returncode
            out.seek(0)
            err.seek(0)
            return code, out.read(), err.read()

    def must(self, command, *rest, timeout_s=ASK_S):
        code, out, err = self.ask(command, *rest, timeout_s=timeout_s)
        if code != 0:
            raise slices.Failed(f"tweendeck {command} ended with {code}: {slices.last(err or out)}")
        return out

    def json(self, command, *rest):
        return json.loads(self.must(command, *rest, "-o", "json"))

    def inside(self, memory="4Gi", compute=30, most=0, name=""):
        """Words before a program that put it into a slice."""
        words = self.words("exec", "--quiet", "--device", self.device, "--memory", memory, "--compute", compute)
        words += ["--compute-max", str(most)] if most else []
        return [*words, *(["--name", name] if name else []), "--"]
