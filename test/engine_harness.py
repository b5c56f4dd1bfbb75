"""Starts an engine folder's server as the daemon does: with the environment of engine/README.md."""
import http.client
import json
import os
import pathlib
import socket
import subprocess
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
MIB = 1 << 20


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_until(condition, limit_s):
    """Seconds until `condition()` held, or None when the limit passed."""
    begin = time.monotonic()
    while time.monotonic() - begin < limit_s:
        if condition():
            return time.monotonic() - begin
        time.sleep(0.02)
    return None


class Engine:
    """One server process. `command` is called with the port; what the engine reported is `status`."""

    def __init__(self, folder, command, memory_mib, cpus="1.00", model_name="model", env=None):
        self.port = free_port()
        self.status_file = folder / f"status-{self.port}.json"
        self.log_path = folder / f"log-{self.port}"
        settings = os.environ | {
            "TWEENDECK_REPLICA": "test-1", "TWEENDECK_MODEL_NAME": model_name, "TWEENDECK_HOST": "127.0.0.1",
            "TWEENDECK_PORT": str(self.port), "TWEENDECK_SLICE_MEMORY_BYTES": str(memory_mib * MIB),
            "TWEENDECK_SLICE_COMPUTE_PERCENT": "50", "TWEENDECK_SLICE_CPUS": cpus, "TWEENDECK_DEVICE_ID": "test0",
            "TWEENDECK_STATUS_FILE": str(self.status_file)} | (env or {})
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen(command(self.port), env=settings, stdout=log, stderr=log)

    @property
    def status(self):
        return json.loads(self.status_file.read_text())

    @property
    def log(self):
        return self.log_path.read_text(errors="replace")

    def wait_ready(self, limit_s=60):
        def ready():
            assert self.process.poll() is None, f"ended with {self.process.returncode}:\n{self.log}"
            try:
                return self.status_file.exists() and self.get("/health")[0] == 200
            except OSError:
                return False

        assert wait_until(ready, limit_s) is not None, f"not ready in {limit_s} s:\n{self.log}"
        return self

    def wait_refused(self, limit_s=60):
        """The status of a server that gave up."""
        assert self.process.wait(limit_s) == 1, self.log
        return self.status

    def connect(self, timeout=300):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)

    def get(self, path):
        connection = self.connect(timeout=30)
        connection.request("GET", path)
        answer = connection.getresponse()
        body = answer.read()
        connection.close()
        return answer.status, body.decode()

    def post(self, path, body):
        connection = self.connect()
        connection.request("POST", path, body if isinstance(body, (str, bytes)) else json.dumps(body),
                           {"Content-Type": "application/json"})
        answer = connection.getresponse()
        parsed = json.loads(answer.read())
        connection.close()
        return answer.status, parsed

    def open_stream(self, path, body):
        """A connection whose streamed answer has begun."""
        connection = self.connect()
        connection.request("POST", path, json.dumps(body | {"stream": True}), {"Content-Type": "application/json"})
        connection.getresponse().read(1)
        return connection

    def metric(self, name):
        """The sum over all series of one metric family."""
        lines = [line for line in self.get("/metrics")[1].splitlines() if line.split("{")[0].split(" ")[0] == name]
        assert lines, f"no metric {name}"
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines)

    def memory_mib(self, field="VmRSS"):
        text = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(text.split(f"{field}:")[1].split()[0]) / 1024

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()


def hang_up(connection):
    connection.sock.shutdown(socket.SHUT_RDWR)
    connection.close()
