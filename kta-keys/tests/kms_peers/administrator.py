"""What an administrator does to a key behind the adapter's back, through boto3."""

import sys

import boto3

url, act, prefix, kek = sys.argv[1:]
reach = dict(
    endpoint_url=url,
    region_name="us-east-1",
    aws_access_key_id="AKIAMOTO",
    aws_secret_access_key="any",
)
key = boto3.client("ssm", **reach).get_parameter(Name=f"/{prefix}/{kek}/key")["Parameter"]["Value"]
kms = boto3.client("kms", **reach)
if act == "disable":
    kms.disable_key(KeyId=key)
    assert kms.describe_key(KeyId=key)["KeyMetadata"]["KeyState"] == "Disabled"
elif act == "delete":
    kms.schedule_key_deletion(KeyId=key, PendingWindowInDays=7)
    assert kms.describe_key(KeyId=key)["KeyMetadata"]["KeyState"] == "PendingDeletion"
else:
    sys.exit(f"no such act: {act}")
