"""Helpers for the lake of a stack with Queries=on."""

import json
import os
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor

import boto3
from botocore.config import Config
from stack import ROOT, trace

# Includes names that S3 encodes in its notifications.
MODELS = ["gpt-4o", "my model+1", "Grüße/ß", "a%2Fb"]


def post(stack, count):
    """Stores traces and returns their keys."""
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda n: stack.post(trace(model=MODELS[n % len(MODELS)])), range(count)))
    assert {answer.status_code for answer in answers} == {201}
    return [answer.json()["key"] for answer in answers]


def schedules(stack):
    """Returns the schedules' targets by task."""
    events = boto3.client("events")
    rules = [of["PhysicalResourceId"] for of in stack.resources().values() if of["ResourceType"] == "AWS::Events::Rule"]
    targets = [target for rule in rules for target in events.list_targets_by_rule(Rule=rule)["Targets"]]
    return {json.loads(target["Input"])["task"]: target for target in targets}


def run(stack, task):
    """Invokes the function as this task's schedule does, and returns its report."""
    target = schedules(stack)[task]
    client = boto3.client("lambda", config=Config(read_timeout=900, retries={"max_attempts": 0}))
    answer = client.invoke(FunctionName=target["Arn"], Payload=target["Input"])
    report = json.load(answer["Payload"])
    assert "FunctionError" not in answer, report
    return report


def run_until(stack, task, rows, seconds=120):
    """Repeats a run until the lake has this number of rows, because notifications arrive later than the objects.

    The schedule may run the task at the same time.
    """
    deadline = time.monotonic() + seconds
    while (report := run(stack, task))["rows"] != rows:
        assert time.monotonic() < deadline, report


def keys(stack):
    """Returns the keys in the lake, as two independent Delta readers find them."""
    command = [os.environ["LAKE_READERS"], ROOT / ".ci/lake_readers.py", stack.outputs["LakeUrl"], stack.aws.removeprefix("http://")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
