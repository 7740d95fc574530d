"""Fixtures: a local AWS for the test run, and stacks of this project's template in it."""

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import boto3
import pytest
from stack import Stack

ROOT = Path(__file__).resolve().parents[2]
# Each worker of pytest-xdist has its own local AWS.
STATE = ROOT / "target/ci/cloud/state" / os.environ.get("PYTEST_XDIST_WORKER", "main")


def free_port():
    """Returns a port that is free now. LocalStack cannot choose one itself."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


@pytest.fixture(scope="session")
def aws():
    """Runs a local AWS, and points the AWS SDKs and tools at it."""
    shutil.rmtree(STATE, ignore_errors=True)
    STATE.mkdir(parents=True)
    address = f"localhost:{free_port()}"
    settings = {
        "CLOUD_DIR": STATE,
        "LOCALSTACK_VOLUME_DIR": STATE,
        "GATEWAY_LISTEN": address.replace("localhost", "127.0.0.1"),
        "LOCALSTACK_HOST": address,
        "SKIP_SSL_CERT_DOWNLOAD": 1,
        "DISABLE_EVENTS": 1,
        "EAGER_SERVICE_LOADING": 0,
        "LAMBDA_KEEPALIVE_MS": 600_000,
    }
    command = [sys.executable, Path(__file__).with_name("local_aws.py")]
    environment = {**os.environ, **{name: str(value) for name, value in settings.items()}}
    log = open(STATE / "localstack.log", "w+")
    process = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True)
    try:
        # LocalStack prints this line once it is ready.
        assert any(line.startswith("Ready.") for line in process.stdout), (STATE / "localstack.log").read_text()
        os.environ.update(
            AWS_ACCESS_KEY_ID="test",
            AWS_SECRET_ACCESS_KEY="test",
            AWS_REGION="us-east-1",
            AWS_DEFAULT_REGION="us-east-1",
            AWS_ENDPOINT_URL=f"http://{address}",
            SAM_CLI_TELEMETRY="0",
        )
        boto3.client("s3").create_bucket(Bucket="sam-artifacts")
        yield f"http://{address}"
    finally:
        process.stdin.close()
        process.wait()


@pytest.fixture(scope="session")
def stack(aws):
    """Deploys the stack with the parameters from .env.example.json."""
    return Stack(aws, "traces").deploy()
