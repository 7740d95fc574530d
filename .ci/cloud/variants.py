"""Stack variants: their parameters, and checks of their effect on the deployed stack."""

import json
import re
import uuid

import boto3
import requests
from stack import trace


def works(stack):
    """Stores a trace, repeats it, and sends a different trace under its id. Returns the metadata of the stored object."""
    sent = trace(id=str(uuid.uuid4()))
    answers = [stack.post(sent), stack.post(sent), stack.post({**sent, "created": 2})]
    assert [answer.status_code for answer in answers] == [201, 200, 409], [answer.text for answer in answers]
    key = answers[0].json()["key"]
    assert json.loads(stack.object(key))["id"] == sent["id"]
    return stack.s3.head_object(Bucket=stack.bucket, Key=key)


def existing_bucket():
    boto3.client("s3").create_bucket(Bucket="existing")
    return {"BucketName": "existing"}


def in_the_existing_bucket(stack, _):
    assert stack.bucket == "existing"
    assert "AWS::S3::Bucket" not in [of["ResourceType"] for of in stack.resources().values()]


def kms_key():
    return {"KmsKeyArn": boto3.client("kms").create_key()["KeyMetadata"]["Arn"]}


def encrypted_with_the_key(stack, stored):
    parameters = {of["ParameterKey"]: of["ParameterValue"] for of in stack.describe()["Parameters"]}
    assert (stored["ServerSideEncryption"], stored["SSEKMSKeyId"]) == ("aws:kms", parameters["KmsKeyArn"])


def lake_statements(stack):
    """Returns the policy statements of the lake's role after the SAM transform."""
    return processed(stack)["LakeRole"]["Properties"]["Policies"][0]["PolicyDocument"]["Statement"]


def queries():
    return {"Queries": "on"}


def with_a_database(stack, _):
    # Glue converts names to lower case, and Athena allows letters, digits and underscores.
    database = processed(stack)["QueriesDatabase"]["Properties"]["DatabaseInput"]["Name"]
    references = {"AWS::StackName": stack.name, "AWS::StackId": stack.describe()["StackId"]}
    assert re.fullmatch(r"[a-z0-9_]+", resolve(database, references))
    # LocalStack deploys neither Glue nor Athena and does not enforce policies, so this reads the deployed settings.
    table = processed(stack)["LakeTable"]["Properties"]
    assert table["DatabaseName"] == {"Ref": "QueriesDatabase"}
    location = resolve(table["TableInput"]["StorageDescriptor"]["Location"], {"QueriesBucket": stack.named("QueriesBucket")})
    assert location == f"{stack.outputs['LakeUrl']}/"
    # The table's log stays encrypted with the previous key after KmsKeyArn changes.
    [decrypt] = [of for of in lake_statements(stack) if of.get("Sid") == "DecryptTracesAndLake"]
    assert str(decrypt["Condition"]["StringLike"]).count("QueriesBucket") == 2
    assert stack.outputs["LakeUrl"] == f"s3://{stack.named('QueriesBucket')}/lake"
    assert reported_events(stack) == EVENTS


# The events that the bucket reports, with the logical ids of their queues.
EVENTS = {("StoredQueue", "s3:ObjectCreated:*"), ("RemovedQueue", "s3:ObjectRemoved:*"), ("RemovedQueue", "s3:LifecycleExpiration:*")}


def reported_events(stack):
    """Returns the notifications of the stack's bucket, with the logical ids of their queues."""
    queues = {of["PhysicalResourceId"].rsplit("/", 1)[-1]: name for name, of in stack.resources().items() if name.endswith("Queue")}
    found = stack.s3.get_bucket_notification_configuration(Bucket=stack.bucket).get("QueueConfigurations", [])
    return {(queues[of["QueueArn"].rsplit(":", 1)[-1]], event) for of in found for event in of["Events"]}


def alarms_and_access_logs():
    return {"AlarmEmail": "ops@example.com", "AccessLogs": "on"}


def with_alarms_and_access_logs(stack, _):
    resources = stack.resources()
    topic = resources["AlarmTopic"]["PhysicalResourceId"]
    [subscription] = boto3.client("sns").list_subscriptions_by_topic(TopicArn=topic)["Subscriptions"]
    assert subscription["Endpoint"] == "ops@example.com"
    alarms = boto3.client("cloudwatch").describe_alarms()["MetricAlarms"]
    of_stack = [alarm for alarm in alarms if alarm["AlarmActions"] == [topic]]
    found = sorted(json.dumps({of["Name"]: of["Value"] for of in alarm["Dimensions"]}) for alarm in of_stack)
    functions = [stack.function] * 5 + [stack.named("OtlpFunction")] * 5
    expected = [{"ApiName": stack.name, "Stage": "prod"}, *({"FunctionName": function} for function in functions)]
    if "LakeFunction" in resources:
        lake = stack.named("LakeFunction")
        expected += [{"FunctionName": lake}, *({"FunctionName": lake, "Task": task} for task in ("ingest", "maintain"))]
        expected += [{"QueueName": stack.named(of).rsplit("/", 1)[-1]} for of in ("StoredQueue", "DeadLetterQueue")]
    assert found == sorted(json.dumps(dimensions) for dimensions in expected)
    # LocalStack does not write access logs, so this reads the deployed setting.
    [_, setting, _] = processed(stack)["TraceApiprodStage"]["Properties"]["AccessLogSetting"]["Fn::If"]
    line = json.loads(re.sub(r"\$context\.[\w.]+", "1", setting["Format"]))
    assert {"requestId", "status", "apiKeyId", "sourceIp"} <= line.keys()


def reserved_concurrency():
    return {"ReservedConcurrency": 20}


def with_reserved_concurrency(stack, _):
    # LocalStack does not apply this setting, so this reads the deployed setting.
    reserved = processed(stack)["OlmoeAttestS3LoggingFunction"]["Properties"]["ReservedConcurrentExecutions"]
    assert reserved == {"Fn::If": ["ReservesConcurrency", {"Ref": "ReservedConcurrency"}, {"Ref": "AWS::NoValue"}]}


def iam():
    return {"Authorization": "AWS_IAM"}


def with_iam_and_api_key(stack, _):
    body = processed(stack)["TraceApi"]["Properties"]["Body"]
    assert {"AWS_IAM": []} in body["paths"]["/"]["post"]["security"]
    assert {"api_key": []} in body["paths"]["/"]["post"]["security"]
    assert body["components"]["securitySchemes"]["AWS_IAM"]["x-amazon-apigateway-authtype"] == "awsSigv4"
    unsigned = requests.post(stack.url, json=trace(), headers={"x-api-key": stack.key}, timeout=60)
    assert (unsigned.status_code, unsigned.json()["type"]) == (403, "urn:attest:problem:gateway")


def resolve(value, references):
    """Resolves the intrinsic functions in a name, because LocalStack does not deploy Glue resources."""
    if not isinstance(value, dict):
        return value
    [(function, argument)] = value.items()
    argument = [resolve(of, references) for of in argument] if isinstance(argument, list) else argument
    match function:
        case "Ref":
            return references[argument]
        case "Fn::Join":
            return argument[0].join(resolve(of, references) for of in argument[1])
        case "Fn::Split":
            return argument[1].split(argument[0])
        case "Fn::Select":
            return argument[1][int(argument[0])]
    raise AssertionError(f"the name uses {function}")


VARIANTS = {
    existing_bucket: in_the_existing_bucket,
    kms_key: encrypted_with_the_key,
    queries: with_a_database,
    alarms_and_access_logs: with_alarms_and_access_logs,
    reserved_concurrency: with_reserved_concurrency,
    iam: with_iam_and_api_key,
}


def processed(stack):
    """Returns the resources of the template after the SAM transform."""
    template = stack.cloudformation.get_template(StackName=stack.name, TemplateStage="Processed")["TemplateBody"]
    return (template if isinstance(template, dict) else json.loads(template))["Resources"]
