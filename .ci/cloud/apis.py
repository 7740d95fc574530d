"""Adds updates of an API and its stage to LocalStack, which reports success for them but changes nothing.

LocalStack also resolves both branches of conditions, for the states before and after the update. It fails if a function does not
exist in one of these states.

Sources: CloudFormation Template Reference, "AWS::ApiGateway::RestApi Body" and "AWS::ApiGateway::Stage DeploymentId": an update
requires no interruption. A stage serves the API as it was when the stage's deployment was created (API Gateway Developer Guide,
"Deploy REST APIs in API Gateway").
"""

import json

import gateway
from localstack.services.apigateway.resource_providers.aws_apigateway_deployment import ApiGatewayDeploymentProvider
from localstack.services.apigateway.resource_providers.aws_apigateway_restapi import ApiGatewayRestApiProvider
from localstack.services.apigateway.resource_providers.aws_apigateway_stage import ApiGatewayStageProvider
from localstack.services.cloudformation.engine.v2.change_set_model import is_nothing
from localstack.services.cloudformation.engine.v2.change_set_model_executor import ChangeSetModelExecutor
from localstack.services.cloudformation.engine.v2.change_set_model_preproc import ChangeSetModelPreproc
from localstack.services.cloudformation.resource_provider import OperationStatus, ProgressEvent, ResourceProviderExecutor


def value_before(self, resource_logical_id, property_name):
    """Returns an attribute's value before the update, or "absent" if the resource did not exist."""
    if resource_logical_id not in self._before_resolved_resources:
        return "absent"
    return value_before.original(self, resource_logical_id, property_name)


def value_after(self, resource_logical_id, property_name):
    """Returns an attribute's value after the update, or "absent" if the update removes the resource."""
    try:
        return value_after.original(self, resource_logical_id, property_name)
    except RuntimeError:
        if resource_logical_id in self._before_resolved_resources:
            return "absent"
        raise


def change(self, name, before, after):
    """Changes a resource. Replaces it only if the value of an immutable property differs, such as the API's id.

    LocalStack alone would also replace a resource if such a property refers to a resource that is updated in place.
    """
    if not is_nothing(before) and not is_nothing(after) and after.requires_replacement:
        provider = ResourceProviderExecutor.try_load_resource_provider(after.resource_type)
        names = [of.removeprefix("/properties/") for of in provider.SCHEMA.get("createOnlyProperties", [])]
        old, new = before.properties.properties, after.properties.properties
        after.requires_replacement = any(old.get(of) != new.get(of) for of in names)
    change.original(self, name, before, after)


def update_api(self, request):
    created = {name: request.previous_state[name] for name in ("RestApiId", "RootResourceId")}
    model = {**request.desired_state, **created}
    gateway.SIGNED_APIS.discard(model["RestApiId"])  # the import adds it again
    request.aws_client_factory.apigateway.put_rest_api(
        restApiId=model["RestApiId"], mode="overwrite", body=json.dumps(model["Body"]).encode(), parameters={"basepath": "ignore"}
    )
    return ProgressEvent(OperationStatus.SUCCESS, resource_model=model)


def update_stage(self, request):
    """Makes the stage serve its new deployment."""
    model = {**request.previous_state, **request.desired_state}
    deployment = {"op": "replace", "path": "/deploymentId", "value": model["DeploymentId"]}
    request.aws_client_factory.apigateway.update_stage(
        restApiId=model["RestApiId"], stageName=model["StageName"], patchOperations=[deployment]
    )
    return ProgressEvent(OperationStatus.SUCCESS, resource_model=model)


def keep_deployment(self, request):
    """Keeps a deployment until its API is deleted. LocalStack would also delete the stage, which by then serves another deployment."""
    return ProgressEvent(OperationStatus.SUCCESS, resource_model=request.desired_state)


def install():
    gateway.replace(ChangeSetModelPreproc, "_before_deployed_property_value_of", value_before)
    gateway.replace(ChangeSetModelExecutor, "_after_deployed_property_value_of", value_after)
    gateway.replace(ChangeSetModelExecutor, "_execute_resource_change", change)
    ApiGatewayRestApiProvider.update = update_api
    ApiGatewayStageProvider.update = update_stage
    ApiGatewayDeploymentProvider.delete = keep_deployment
