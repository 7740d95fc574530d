"""Adds updates of a bucket's notifications. LocalStack sets them only when it creates the bucket.

Source: CloudFormation Template Reference, "AWS::S3::Bucket NotificationConfiguration": an update requires no interruption.
"""

from localstack.services.cloudformation.resource_provider import OperationStatus, ProgressEvent
from localstack.services.s3.resource_providers.aws_s3_bucket import S3BucketProvider


def update(self, request):
    """Applies the notifications of the updated template to the bucket."""
    bucket = request.previous_state["BucketName"]
    model = {**request.previous_state, **request.desired_state, "BucketName": bucket}
    model["NotificationConfiguration"] = request.desired_state.get("NotificationConfiguration")
    configuration = self._get_s3_bucket_notification_config(model) or {"Bucket": bucket, "NotificationConfiguration": {}}
    request.aws_client_factory.s3.put_bucket_notification_configuration(**configuration)
    return ProgressEvent(OperationStatus.SUCCESS, resource_model=model)


def install():
    S3BucketProvider.update = update
