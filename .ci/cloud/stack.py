"""Deploys a stack with the real `sam deploy`, and sends requests to its endpoint."""

import json
import subprocess
from pathlib import Path

import boto3
import requests
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest

ROOT = Path(__file__).resolve().parents[2]
TEMPLATE = ROOT / ".aws-sam/build/template.yaml"


class Stack:
    """A stack of the built template."""

    def __init__(self, aws, name):
        self.aws, self.name = aws, name
        self.cloudformation, self.s3 = boto3.client("cloudformation"), boto3.client("s3")

    def deploy(self, **parameters):
        """Creates or updates the stack with the parameters from .env.example.json, overridden by `parameters`."""
        values = {**json.loads((ROOT / ".env.example.json").read_text()), **parameters}
        command = ["sam", "deploy", "--template-file", TEMPLATE, "--stack-name", self.name, "--s3-bucket", "sam-artifacts"]
        command += ["--capabilities", "CAPABILITY_IAM", "--no-confirm-changeset", "--no-progressbar"]
        command += ["--parameter-overrides", *(f"{name}={value}" for name, value in values.items())]
        # SAM waits forever for a stack that LocalStack rolled back.
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stdout + done.stderr
        self.outputs = {output["OutputKey"]: output["OutputValue"] for output in self.describe()["Outputs"]}
        gateway = boto3.client("apigateway")
        self.api = self.resource("AWS::ApiGateway::RestApi")
        # LocalStack serves the API here; the output contains the host name that AWS would use.
        self.url = f"{self.aws}/_aws/execute-api/{self.api}/{self.resource('AWS::ApiGateway::Stage')}"
        self.key = gateway.get_api_key(apiKey=self.resource("AWS::ApiGateway::ApiKey"), includeValue=True)["value"]
        self.bucket = self.outputs["Bucket"]
        self.is_signed = values["Authorization"] == "AWS_IAM"
        return self

    def delete(self):
        self.cloudformation.delete_stack(StackName=self.name)
        self.cloudformation.get_waiter("stack_delete_complete").wait(StackName=self.name, WaiterConfig={"Delay": 1})

    def describe(self):
        return self.cloudformation.describe_stacks(StackName=self.name)["Stacks"][0]

    def resources(self):
        """Returns the resource summaries by logical id."""
        pages = self.cloudformation.get_paginator("list_stack_resources").paginate(StackName=self.name)
        found = [resource for page in pages for resource in page["StackResourceSummaries"]]
        return {resource["LogicalResourceId"]: resource for resource in found}

    def named(self, logical_id):
        """Returns the physical id of the resource with this logical id."""
        return self.resources()[logical_id]["PhysicalResourceId"]

    @property
    def function(self):
        """The name of the function that stores traces."""
        return self.named("OlmoeAttestS3LoggingFunction")

    def resource(self, kind):
        """Returns the physical id of the only resource of this type."""
        [found] = [of["PhysicalResourceId"] for of in self.resources().values() if of["ResourceType"] == kind]
        return found

    def post(self, body, path="", key=None, **headers):
        """Posts bytes, or a value as JSON."""
        body = body if isinstance(body, (bytes, str)) else json.dumps(body)
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        request = AWSRequest("POST", self.url + path, {"x-api-key": key or self.key, **headers}, body)
        if self.is_signed:
            session = boto3.Session()
            SigV4Auth(session.get_credentials(), "execute-api", session.region_name).add_auth(request)
        return requests.post(request.url, body, headers=dict(request.headers), timeout=60)

    def object(self, key):
        return self.s3.get_object(Bucket=self.bucket, Key=key)["Body"].read()

    def keys(self):
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket=self.bucket)
        return [of["Key"] for page in pages for of in page.get("Contents", [])]


def trace(**members):
    return {"model": "gpt-4o", "created": 1795305600, "messages": [{"role": "user", "content": "Hello!"}], **members}
