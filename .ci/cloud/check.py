"""Runs `attest check` against a deployed stack. ATTEST is the path of the command."""

import json
import os
import subprocess
import sys
from pathlib import Path

from stack import ROOT


def with_aws_cli():
    """Returns the environment for commands that run `aws`. LocalStack supports the version in its own environment."""
    return {**os.environ, "PATH": f"{ROOT}/.ci/cloud/bin:{Path(sys.executable).parent}:{os.environ['PATH']}"}


def check(stack):
    """Returns the verdicts by promise, and the keys of the remaining traces."""
    command = [os.environ["ATTEST"], "check", "--json", "--url", stack.url, "--api-key", stack.key, "--stack", stack.name]
    done = subprocess.run(command, env=with_aws_cli(), capture_output=True, text=True, timeout=300)
    assert done.returncode in (0, 1), done.stderr
    report = json.loads(done.stdout)
    lines = {line.pop("promise"): line for line in report["promises"]}
    assert done.returncode == any(line["verdict"] == "fails" for line in lines.values())
    return lines, report["left"]


def failures(lines):
    return {promise: line for promise, line in lines.items() if line["verdict"] == "fails"}


def unchecked(lines):
    return {promise: line["reason"] for promise, line in lines.items() if line["verdict"] == "not_checked"}
