"""Tests stacks with several non-default parameters at once."""

import functools
import json
import re
import subprocess

import boto3
from check import check, failures, with_aws_cli
from lake import keys, post, run, run_until
from stack import ROOT, Stack
from variants import EVENTS, VARIANTS, alarms_and_access_logs, iam, kms_key, lake_statements, queries, reported_events, reserved_concurrency, works


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


# The counts that a lake run reports for the objects from `add_foreign_objects`.
FOREIGN = {"too_large": 1, "archived": 1, "customer_key": 1, "invalid": 1}


def add_foreign_objects(stack, folder):
    """Adds what others may store in a bucket: an object that is too large, archived, encrypted with a customer's key, or not a trace."""
    put = functools.partial(stack.s3.put_object, Bucket=stack.bucket, Body=b"{}")
    put(Key=f"{folder}/large", Body=bytes(11 << 20))
    put(Key=f"{folder}/archived", StorageClass="GLACIER")
    put(Key=f"{folder}/customer", SSECustomerAlgorithm="AES256", SSECustomerKey="k" * 32)
    put(Key=f"{folder}/no-trace")


def left_out(report):
    return {name: report[name] for name in FOREIGN}


def test_an_existing_bucket_reports_to_the_lake_after_the_command_of_the_output(aws, tmp_path):
    boto3.client("s3").create_bucket(Bucket="existing-lake")
    stack = Stack(aws, "existing-lake").deploy(BucketName="existing-lake", Queries="on")
    traces = post(stack, 3)
    add_foreign_objects(stack, "before")
    environment = with_aws_cli()
    subprocess.run(["bash", "-c", stack.outputs["NotificationsCommand"]], env=environment, check=True)
    assert reported_events(stack) == EVENTS
    report = run(stack, "sync")
    assert report["rows"] == 3 and left_out(report) == FOREIGN, report
    add_foreign_objects(stack, "after")
    traces += post(stack, 2)
    run_until(stack, "ingest", 5)
    assert keys(stack) == sorted(traces)
    lines, _ = check(stack)
    assert not failures(lines)
    assert lines["the lake has no dead letters"]["verdict"] == "holds"

    # After `off`, the bucket still refers to the deleted queues, beside a notification of the operator's own.
    own = boto3.client("sqs").create_queue(QueueName="own")["QueueUrl"]
    own = boto3.client("sqs").get_queue_attributes(QueueUrl=own, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    found = stack.s3.get_bucket_notification_configuration(Bucket="existing-lake")["QueueConfigurations"]
    found.append({"QueueArn": own, "Events": ["s3:ObjectTagging:*"]})
    stack.s3.put_bucket_notification_configuration(Bucket="existing-lake", NotificationConfiguration={"QueueConfigurations": found})
    stack.deploy(BucketName="existing-lake", Queries="off")
    page = (ROOT / "docs/operating.md").read_text()
    [commands] = re.findall(r"```bash\n(.*?NonExistentQueue.*?)```", page, re.DOTALL)
    subprocess.run(["bash", "-euc", commands.replace("my-traces", "existing-lake")], cwd=tmp_path, env=environment, check=True)
    [left] = stack.s3.get_bucket_notification_configuration(Bucket="existing-lake")["QueueConfigurations"]
    assert left["QueueArn"] == own


def test_the_lake_stays_readable_after_the_key_changes(aws):
    stack = Stack(aws, "changed-key").deploy(**kms_key(), Queries="on")
    first = post(stack, 2)
    run_until(stack, "ingest", 2)
    stack.deploy(**kms_key(), Queries="on")
    second = post(stack, 2)
    run_until(stack, "ingest", 4)
    assert keys(stack) == sorted([*first, *second])
    # LocalStack does not enforce policies, so this reads the deployed statement.
    [decrypt] = [of for of in lake_statements(stack) if of.get("Sid") == "DecryptTracesAndLake"]
    [resource] = [decrypt["Resource"]]
    assert resource["Fn::Join"][1][-1] == "key/*"
