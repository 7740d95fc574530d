"""Tests that the default stack can be updated to every variant and back, and keeps its traces."""

import pytest
from stack import Stack
from variants import VARIANTS, processed, reported_events, works


@pytest.fixture(scope="module")
def updated(aws):
    """A stack that starts with the default parameters and is updated by each test."""
    return Stack(aws, "updated").deploy()


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: variant.__name__)
def test_the_default_stack_can_be_updated_to_a_variant_and_back(updated, variant):
    before = works(updated)
    assert before["ServerSideEncryption"] == "AES256"
    old_bucket, old_keys = updated.bucket, updated.keys()
    updated.deploy(**variant())
    VARIANTS[variant](updated, works(updated))
    assert set(old_keys) <= {of["Key"] for of in updated.s3.list_objects_v2(Bucket=old_bucket)["Contents"]}
    updated.deploy()
    works(updated)
    assert reported_events(updated) == set()


def test_the_api_refuses_tls_below_1_2(updated):
    # LocalStack does not negotiate TLS versions, so this reads the deployed setting. The default of Regional APIs is
    # TLS_1_0.
    assert processed(updated)["TraceApi"]["Properties"]["SecurityPolicy"] == "TLS_1_2"


def test_the_functions_may_only_write_with_if_none_match(updated):
    statements = processed(updated)["StorePolicy"]["Properties"]["PolicyDocument"]["Statement"]
    puts = [of for of in statements if "s3:PutObject" in str(of.get("Action"))]
    assert [of["Condition"] for of in puts] == [{"Null": {"s3:if-none-match": "false"}}]
