"""Runs Lambda functions as plain processes. LocalStack starts a container per environment; this starts the function's `bootstrap`.

Serves the Lambda Runtime API (AWS Lambda Developer Guide, "Using the Lambda runtime API for custom runtimes"): GET next,
POST response, POST error, POST init/error.
"""

import json
import os
import queue
import subprocess
import threading
import time

from localstack.services.lambda_ import provider
from localstack.services.lambda_.invocation import execution_environment, runtime_executor, version_manager
from localstack.services.lambda_.invocation.lambda_models import InvocationResult
from werkzeug.serving import WSGIRequestHandler, make_server
from werkzeug.wrappers import Request, Response

API = "/2018-06-01/runtime"


class Handler(WSGIRequestHandler):
    """Keeps connections open, as Lambda does, and logs nothing."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log(self, *_):
        pass


class Process(runtime_executor.RuntimeExecutor):
    """An execution environment: one `bootstrap` process, which serves one invocation at a time."""

    def __init__(self, id, function_version):
        super().__init__(id, function_version)
        self.events, self.results = queue.Queue(), queue.Queue()
        self.process = self.log = self.server = None

    def start(self, env_vars):
        # One thread per connection, because a process keeps its connection open from an invocation until the next
        # event.
        self.server = make_server("127.0.0.1", 0, self.serve, threaded=True, request_handler=Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        code = self.function_version.config.code.get_unzipped_code_location()
        bootstrap = os.path.join(code, "bootstrap")
        os.chmod(bootstrap, 0o755)
        environment = {name: str(value) for name, value in env_vars.items() if value is not None}
        environment["AWS_LAMBDA_RUNTIME_API"] = f"127.0.0.1:{self.server.server_port}"
        environment.setdefault("AWS_ENDPOINT_URL_S3", f"http://{os.environ['GATEWAY_LISTEN']}")
        self.log = open(os.path.join(os.environ["CLOUD_DIR"], f"lambda-{self.id}.log"), "wb+")
        self.command = {"args": [bootstrap], "cwd": code, "env": environment, "stdout": self.log, "stderr": subprocess.STDOUT}
        self.process = subprocess.Popen(**self.command)

    @Request.application
    def serve(self, request):
        if request.method == "GET" and request.path == f"{API}/invocation/next":
            request_id, arn, payload, timeout = self.events.get()
            headers = {
                "Content-Type": "application/json",
                "Lambda-Runtime-Aws-Request-Id": request_id,
                "Lambda-Runtime-Invoked-Function-Arn": arn,
                "Lambda-Runtime-Deadline-Ms": str(int((time.time() + timeout) * 1000)),
            }
            return Response(payload, 200, headers)
        body = request.get_data()
        *_, request_id, kind = ["", *request.path.split("/")]  # "init" is the id of a failed initialisation
        if request.method != "POST" or kind not in ("response", "error"):
            return Response(status=404)
        self.results.put((request_id, kind == "error", body))
        return Response(status=202)

    def restart(self):
        """Replaces the process, as Lambda does after a timeout or a crash."""
        self.process.kill()
        self.process.wait()
        # Requests of the old process still wait on the old queue.
        self.events = queue.Queue()
        self.process = subprocess.Popen(**self.command)

    def invoke(self, payload):
        timeout, event = self.function_version.config.timeout, payload["payload"]
        if self.process.poll() is not None:
            self.restart()
        event = event.encode() if isinstance(event, str) else bytes(event)
        self.events.put((payload["invoke-id"], payload["invoked-function-arn"], event, timeout))
        try:
            is_error, body = self.wait(payload["invoke-id"], timeout)
        except TimeoutError as failure:
            is_error, body = True, json.dumps({"errorMessage": str(failure)}).encode()
            self.restart()
        return InvocationResult(payload["invoke-id"], body, is_error=is_error, logs=self.get_logs())

    def wait(self, invoke_id, timeout):
        deadline = time.time() + timeout
        while True:
            try:
                request_id, is_error, body = self.results.get(timeout=0.2)
                if request_id in (invoke_id, "init"):
                    return is_error, body
            except queue.Empty:
                if self.process.poll() is not None:
                    raise TimeoutError(f"Runtime exited with status {self.process.returncode}") from None
                if time.time() > deadline:
                    raise TimeoutError(f"Task timed out after {timeout}.00 seconds") from None

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        if self.server:
            # A shutdown takes half a second, and dozens of environments stop one after another.
            threading.Thread(target=self.server.shutdown, daemon=True).start()

    def get_logs(self):
        """Returns the lines since the last call."""
        self.log.flush()
        with open(self.log.name, "rb") as log:
            log.seek(getattr(self, "read", 0))
            lines = log.read()
            self.read = log.tell()
        return lines.decode(errors="replace")

    def get_address(self):
        return "127.0.0.1"

    def get_endpoint_from_executor(self):
        return "127.0.0.1"

    def get_runtime_endpoint(self):
        return f"http://127.0.0.1:{self.server.server_port if self.server else 0}"

    @classmethod
    def prepare_version(cls, function_version):
        if function_version.config.code:
            function_version.config.code.prepare_for_execution()

    @classmethod
    def cleanup_version(cls, function_version):
        pass


def log_group(environment):
    """Returns the log group from the function's LoggingConfig, which LocalStack ignores."""
    function = environment.function_version
    configured = (function.config.logging_config or {}).get("LogGroup")
    return configured or f"/aws/lambda/{function.id.function_name}"


def install():
    """Makes LocalStack use Process wherever it requests an executor."""
    for module in (runtime_executor, execution_environment, version_manager, provider):
        module.get_runtime_executor = lambda: Process
    execution_environment.ExecutionEnvironment.get_log_group_name = log_group
