"""Stacks with several parameters at once."""

import json
import os
import subprocess
import sys
from pathlib import Path

import boto3
from check import check, failures
from lake import keys, post, run, run_until
from stack import Stack
from variants import EVENTS, VARIANTS, alarms_and_access_logs, iam, kms_key, queries, reported_events, reserved_concurrency, works


def test_a_stack_with_everything_and_capitals_in_its_name_keeps_its_traces_when_it_is_deleted(aws):
    parameters = [kms_key, queries, alarms_and_access_logs, reserved_concurrency, iam]
    stack = Stack(aws, "All-Of-It").deploy(**{name: value for of in parameters for name, value in of().items()})
    stored = works(stack)
    for variant in parameters:
        VARIANTS[variant](stack, stored)
    lines, left = check(stack)
    assert not failures(lines)
    assert not left
    stored_keys = stack.keys()
    stack.delete()
    assert stack.keys() == stored_keys
    assert all(json.loads(stack.object(key))["messages"] for key in stored_keys)


def test_an_existing_bucket_reports_to_the_lake_after_the_command_of_the_output(aws):
    boto3.client("s3").create_bucket(Bucket="existing-lake")
    stack = Stack(aws, "existing-lake").deploy(BucketName="existing-lake", Queries="on")
    post(stack, 3)
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    subprocess.run(["bash", "-c", stack.outputs["NotificationsCommand"]], env=environment, check=True)
    assert reported_events(stack) == EVENTS
    assert run(stack, "sync")["rows"] == 3
    post(stack, 2)
    run_until(stack, "ingest", 5)
    assert keys(stack) == sorted(stack.keys())
