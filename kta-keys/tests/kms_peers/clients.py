"""boto3 and hvac, as they come from their registry, against the emulators."""

import base64
import json
import sys

import boto3
import hvac
from botocore.config import Config
from botocore.exceptions import ClientError

place = json.loads(sys.argv[1])


def refused(code, call, **arguments):
    try:
        call(**arguments)
    except ClientError as error:
        assert error.response["Error"]["Code"] == code, error
    else:
        raise AssertionError(f"{code} expected")


def aws():
    at = place["aws"]
    reach = dict(
        endpoint_url=at["url"],
        region_name=at["region"],
        aws_access_key_id=at["id"],
        config=Config(retries={"max_attempts": 1}),
    )
    stranger = boto3.client("kms", aws_secret_access_key="another", **reach)
    refused("InvalidSignatureException", stranger.create_key)
    kms = boto3.client("kms", aws_secret_access_key=at["secret"], **reach)
    key = kms.create_key(Tags=[{"TagKey": "kta-kek", "TagValue": "boto"}])["KeyMetadata"]
    assert key["KeyState"] == "Enabled" and key["Origin"] == "AWS_KMS"
    other = kms.create_key()["KeyMetadata"]["KeyId"]
    key, arn = key["KeyId"], key["Arn"]
    context = {"kta": "one"}
    sealed = kms.encrypt(KeyId=arn, Plaintext=b"secret", EncryptionContext=context)
    sealed = sealed["CiphertextBlob"]
    opened = kms.decrypt(KeyId=key, CiphertextBlob=sealed, EncryptionContext=context)
    assert opened["Plaintext"] == b"secret" and opened["KeyId"] == arn
    blob = dict(CiphertextBlob=sealed)
    refused("InvalidCiphertextException", kms.decrypt, **blob, EncryptionContext={"kta": "two"})
    refused("IncorrectKeyException", kms.decrypt, KeyId=other, **blob, EncryptionContext=context)
    refused("NotFoundException", kms.describe_key, KeyId="0" * 36)
    kms.disable_key(KeyId=key)
    refused("DisabledException", kms.decrypt, **blob, EncryptionContext=context)
    kms.enable_key(KeyId=key)
    until = kms.schedule_key_deletion(KeyId=key, PendingWindowInDays=7)["DeletionDate"]
    assert kms.describe_key(KeyId=key)["KeyMetadata"]["DeletionDate"] == until
    refused("KMSInvalidStateException", kms.decrypt, **blob, EncryptionContext=context)
    refused("KMSInvalidStateException", kms.schedule_key_deletion, KeyId=key)
    ssm = boto3.client("ssm", aws_secret_access_key=at["secret"], **reach)
    ssm.put_parameter(Name="/kta/x", Value="y", Type="String")
    refused("ParameterAlreadyExists", ssm.put_parameter, Name="/kta/x", Value="z", Type="String")
    both = ssm.get_parameters(Names=["/kta/x", "/kta/none"])
    assert both["Parameters"][0]["Value"] == "y" and both["InvalidParameters"] == ["/kta/none"]


def vault():
    at = place["vault"]
    client = hvac.Client(url=at["url"])
    client.auth.approle.login(role_id=at["role"], secret_id=at["secret"])
    assert client.is_authenticated()
    transit = client.secrets.transit
    transit.create_key(name="one", exportable=False, allow_plaintext_backup=False)
    about = transit.read_key(name="one")["data"]
    assert about["type"] == "aes256-gcm96" and not about["exportable"]
    text = base64.b64encode(b"secret").decode()
    bound, unbound = (base64.b64encode(each).decode() for each in (b"one", b"two"))
    sealed = transit.encrypt_data(name="one", plaintext=text, associated_data=bound)
    sealed = sealed["data"]["ciphertext"]
    opened = transit.decrypt_data(name="one", ciphertext=sealed, associated_data=bound)
    assert opened["data"]["plaintext"] == text
    for call, arguments in [
        (transit.decrypt_data, dict(name="one", ciphertext=sealed, associated_data=unbound)),
        (transit.decrypt_data, dict(name="two", ciphertext=sealed, associated_data=bound)),
        (transit.delete_key, dict(name="one")),
    ]:
        try:
            call(**arguments)
        except hvac.exceptions.InvalidRequest:
            pass
        else:
            raise AssertionError(f"{arguments} should be refused")
    transit.update_key_configuration(name="one", deletion_allowed=True)
    transit.delete_key(name="one")
    try:
        transit.read_key(name="one")
    except hvac.exceptions.InvalidPath:
        pass
    else:
        raise AssertionError("the key is still there")
    kv = client.secrets.kv.v2
    kv.create_or_update_secret(path="one", secret={"kek": "made"}, cas=0)
    try:
        kv.create_or_update_secret(path="one", secret={"kek": "other"}, cas=0)
    except hvac.exceptions.InvalidRequest:
        pass
    else:
        raise AssertionError("check-and-set did not check")
    read = kv.read_secret_version(path="one", raise_on_deleted_version=True)["data"]
    assert read["data"] == {"kek": "made"} and read["metadata"]["version"] == 1


aws()
vault()
print("every step passed")
