"""Adds deletion policies. LocalStack ignores them, and deletes a retained bucket with its contents.

Source: CloudFormation Template Reference, "DeletionPolicy attribute" and "UpdateReplacePolicy attribute".
"""

from gateway import replace
from localstack.services.cloudformation.engine.v2 import change_set_model_executor
from localstack.services.cloudformation.resource_provider import OperationStatus, ProgressEvent

Executor = change_set_model_executor.ChangeSetModelExecutor


class Retained:
    """Replaces the provider of a retained resource. Deletion succeeds and does nothing."""

    def try_load_resource_provider(self, _):
        return self

    def deploy_loop(self, *_):
        return ProgressEvent(OperationStatus.SUCCESS, resource_model={})


def execute(self, action, logical_resource_id, *arguments, part_of_replacement=False, **named):
    named["part_of_replacement"] = part_of_replacement
    before = (self._change_set.stack.processed_template or {}).get("Resources", {}).get(logical_resource_id, {})
    policy = before.get("UpdateReplacePolicy" if part_of_replacement else "DeletionPolicy", "Delete")
    provider = self.resource_provider_executor
    if action.value == "Remove" and policy.startswith("Retain"):
        self.resource_provider_executor = Retained()
    try:
        return execute.original(self, action, logical_resource_id, *arguments, **named)
    finally:
        self.resource_provider_executor = provider


def install():
    replace(Executor, "_execute_resource_action", execute)
