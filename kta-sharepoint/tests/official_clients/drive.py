"""Drives Microsoft's own clients, unpatched, against the emulator.

Reads one JSON object (the emulator's addresses) from standard input, prints one line per step
and exits 0 when every step did what it does against the real service.
"""

import asyncio
import io
import json
import sys
import threading
from datetime import datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlparse

import msal
from azure.core.credentials import AccessToken
from kiota_abstractions.base_request_configuration import RequestConfiguration
from kiota_authentication_azure.azure_identity_authentication_provider import (
    AzureIdentityAuthenticationProvider,
)
from msgraph import GraphRequestAdapter, GraphServiceClient
from msgraph.generated.drives.item.items.item.checkin.checkin_post_request_body import (
    CheckinPostRequestBody,
)
from msgraph.generated.drives.item.items.item.create_link.create_link_post_request_body import (
    CreateLinkPostRequestBody,
)
from msgraph.generated.drives.item.items.item.create_upload_session import (
    create_upload_session_post_request_body as upload_body,
)
from msgraph.generated.drives.item.items.item.invite.invite_post_request_body import (
    InvitePostRequestBody,
)
from msgraph.generated.models.body_type import BodyType
from msgraph.generated.models.drive_item import DriveItem
from msgraph.generated.models.drive_item_uploadable_properties import (
    DriveItemUploadableProperties,
)
from msgraph.generated.models.drive_recipient import DriveRecipient
from msgraph.generated.models.email_address import EmailAddress
from msgraph.generated.models.folder import Folder
from msgraph.generated.models.internet_message_header import InternetMessageHeader
from msgraph.generated.models.item_body import ItemBody
from msgraph.generated.models.mail_folder import MailFolder
from msgraph.generated.models.message import Message
from msgraph.generated.models.o_data_errors.o_data_error import ODataError
from msgraph.generated.models.permission import Permission
from msgraph.generated.models.recipient import Recipient
from msgraph.generated.models.security.audit_log_query import AuditLogQuery
from msgraph.generated.models.security.audit_log_query_status import AuditLogQueryStatus
from msgraph.generated.models.subscription import Subscription
from msgraph.generated.users.item.messages.item.move.move_post_request_body import (
    MovePostRequestBody,
)
from msgraph.generated.users.item.send_mail.send_mail_post_request_body import (
    SendMailPostRequestBody,
)
from msgraph_core.tasks.large_file_upload import LargeFileUploadTask


def step(name):
    print(f"ok: {name}", flush=True)


def token_by_msal(place):
    """MSAL accepts https authorities only; the emulator's login port speaks TLS as well."""
    authority = place["login_url"].replace("http://", "https://") + "/" + place["tenant"]
    options = dict(authority=authority, instance_discovery=False, verify=place["certificate"])
    app = msal.ConfidentialClientApplication(
        place["client_id"], client_credential=place["client_secret"], **options
    )
    answer = app.acquire_token_for_client(["https://graph.microsoft.com/.default"])
    assert "access_token" in answer, answer.get("error_description")
    again = app.acquire_token_for_client(["https://graph.microsoft.com/.default"])
    assert again["access_token"] == answer["access_token"], "the token was not cached"
    step("msal token by secret")

    wrong = msal.ConfidentialClientApplication(
        place["client_id"], client_credential="not the secret", **options
    )
    refused = wrong.acquire_token_for_client(["https://graph.microsoft.com/.default"])
    assert refused["error"] == "invalid_client" and 7000215 in refused["error_codes"], refused
    step("msal refused with a wrong secret")

    by_certificate = msal.ConfidentialClientApplication(
        place["client_id"],
        client_credential=make_certificate(),
        **options,
    )
    certified = by_certificate.acquire_token_for_client(
        ["https://kta-emulator.sharepoint.com/.default"]
    )
    assert "access_token" in certified, certified.get("error_description")
    step("msal token by certificate")
    return answer


def make_certificate():
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "emulator test")])
    now = datetime.now(timezone.utc)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    return {
        "private_key": key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ).decode(),
        "public_certificate": certificate.public_bytes(serialization.Encoding.PEM).decode(),
    }


class Credential:
    """A token credential around what MSAL gave."""

    def __init__(self, answer):
        expires = int(datetime.now(timezone.utc).timestamp()) + answer["expires_in"]
        self.token = AccessToken(answer["access_token"], expires)

    def get_token(self, *scopes, **kwargs):
        return self.token


def client_for(place, answer):
    """The SDK with its token bound to the Graph host, so that upload addresses get none."""
    provider = AzureIdentityAuthenticationProvider(
        Credential(answer),
        scopes=["https://graph.microsoft.com/.default"],
        allowed_hosts=["127.0.0.1"],
    )
    client = GraphServiceClient(request_adapter=GraphRequestAdapter(provider))
    client.request_adapter.base_url = place["graph_url"] + "/v1.0"
    return client


async def refused(awaitable, status):
    try:
        await awaitable
    except ODataError as error:
        assert error.response_status_code == status, error.response_status_code
        return error.error.code
    raise AssertionError(f"expected status {status}")


async def run(place):
    client = client_for(place, token_by_msal(place))
    drive = client.drives.by_drive_id(place["drive"])

    site = await client.sites.by_site_id(place["site"]).get()
    assert site.id == place["site"]
    drives = await client.sites.by_site_id(place["site"]).drives.get()
    assert place["drive"] in [each.id for each in drives.value]
    step("site and drives")

    ready = await drive.items.by_drive_item_id(place["item"]).get()
    assert ready.name == "ready.txt" and ready.file.hashes.quick_xor_hash
    assert await drive.items.by_drive_item_id(place["item"]).content.get()
    step("ready item and its content")

    folder = DriveItem(name="M-1", folder=Folder())
    folder.additional_data = {"@microsoft.graph.conflictBehavior": "fail"}
    made = await drive.items.by_drive_item_id("root").children.post(folder)
    assert made.folder is not None
    assert await refused(drive.items.by_drive_item_id("root").children.post(folder), 409) == (
        "nameAlreadyExists"
    )
    step("folder, and its name conflict")

    by_path = drive.items.by_drive_item_id("root:/M-1/d #1 50%.bin:")
    first = await by_path.content.put(b"first content")
    second = await by_path.content.put(b"second, longer content")
    assert first.id == second.id and first.e_tag != second.e_tag
    item = drive.items.by_drive_item_id(first.id)
    assert await item.content.get() == b"second, longer content"
    step("put by path, get by id through a pre-signed address")

    stale = RequestConfiguration()
    stale.headers.add("If-Match", first.e_tag)
    patch = DriveItem(name="renamed.bin")
    assert await refused(item.patch(patch, request_configuration=stale), 412) == "resourceModified"
    step("412 for a stale eTag")

    versions = (await item.versions.get()).value
    assert [each.id for each in versions] == ["2.0", "1.0"]
    old = item.versions.by_drive_item_version_id("1.0")
    assert await old.content.get() == b"first content"
    await old.restore_version.post()
    assert await item.content.get() == b"first content"
    assert len((await item.versions.get()).value) == 3
    step("versions: list, read, restore")

    big = bytes(range(256)) * 4096 + b"tail"
    body = upload_body.CreateUploadSessionPostRequestBody(item=DriveItemUploadableProperties())
    body.item.additional_data = {"@microsoft.graph.conflictBehavior": "fail"}
    session = await drive.items.by_drive_item_id(
        "root:/M-1/big.bin:"
    ).create_upload_session.post(body)
    # Two fragments: from the third on, msgraph-core 1.5.2 sends one byte more than its own size.
    task = LargeFileUploadTask(
        session, client.request_adapter, io.BytesIO(big), DriveItem, max_chunk_size=655360
    )
    await task.upload()
    stored = await drive.items.by_drive_item_id("root:/M-1/big.bin:").get()
    assert stored.size == len(big), stored.size
    assert await drive.items.by_drive_item_id(stored.id).content.get() == big
    step("upload session in fragments")

    children = await drive.items.by_drive_item_id(made.id).children.get()
    assert sorted(each.name for each in children.value) == ["big.bin", "d #1 50%.bin"]
    step("children")

    ends = datetime.now(timezone.utc) + timedelta(days=3)
    link_body = CreateLinkPostRequestBody(
        type="view",
        scope="users",
        expiration_date_time=ends,
        retain_inherited_permissions=True,
    )
    link = await item.create_link.post(link_body)
    again = await item.create_link.post(link_body)
    assert link.id == again.id and link.expiration_date_time is not None
    invited = await item.invite.post(
        InvitePostRequestBody(
            recipients=[DriveRecipient(email="invented.reader@example.test")],
            roles=["read"],
            require_sign_in=True,
            send_invitation=False,
            expiration_date_time=ends,
            retain_inherited_permissions=True,
        )
    )
    grant = invited.value[0]
    listed = {each.id: each for each in (await item.permissions.get()).value}
    assert link.id in listed and grant.id in listed
    inherited = [each for each in listed.values() if each.inherited_from]
    assert inherited
    one = item.permissions.by_permission_id
    assert (await one(grant.id).patch(Permission(roles=["write"]))).roles == ["write"]
    await refused(one(inherited[0].id).delete(), 403)
    await one(grant.id).delete()
    await one(link.id).delete()
    assert {each.id for each in (await item.permissions.get()).value} == {
        each.id for each in inherited
    }
    step("createLink, invite, permissions: patch, delete, inheritance")

    page = await drive.items.by_drive_item_id("root").delta.get()
    assert first.id in [each.id for each in page.value]
    token = page.odata_delta_link
    await item.delete()
    await drive.items.by_drive_item_id(stored.id).permanent_delete.post()
    await refused(item.get(), 404)
    await refused(drive.items.by_drive_item_id(stored.id).get(), 404)
    page = await drive.items.by_drive_item_id("root").delta.with_url(token).get()
    gone = {each.id: each.deleted.state for each in page.value if each.deleted}
    assert gone == {first.id: "softdeleted", stored.id: "deleted"}, gone
    step("delete, permanentDelete, delta with a token")


async def mail_log_and_directory(place):
    client = client_for(place, token_by_msal(place))
    user = client.users.by_user_id(place["mailbox"])
    inbox = user.mail_folders.by_mail_folder_id("inbox")
    stable = RequestConfiguration()
    stable.headers.add("Prefer", 'IdType="ImmutableId"')
    waiting = (await inbox.messages.get()).value
    assert [each.id for each in waiting] == [place["message"]]
    message = user.messages.by_message_id(place["message"])
    assert (await message.content.get()).startswith(b"From: ")
    page = await inbox.messages.delta.get()
    assert [each.id for each in page.value] == [place["message"]]
    folder = await user.mail_folders.post(MailFolder(display_name="processed by the SDK"))
    moved = await message.move.post(
        MovePostRequestBody(destination_id=folder.id), request_configuration=stable
    )
    assert moved.id == place["message"] and moved.parent_folder_id == folder.id
    assert (await inbox.messages.get()).value == []
    link = page.odata_delta_link
    page = await inbox.messages.delta.with_url(link).get()
    assert "@removed" in page.value[0].additional_data
    await message.permanent_delete.post()
    assert await refused(message.get(), 404) == "ErrorItemNotFound"
    step("mail: list, MIME, delta, move with immutable ids, permanentDelete")

    notice = Message(
        subject="News",
        body=ItemBody(content_type=BodyType.Text, content="Look into the portal."),
        to_recipients=[Recipient(email_address=EmailAddress(address="a@client.example"))],
        internet_message_headers=[InternetMessageHeader(name="x-kta-protect", value="encrypt")],
    )
    await user.send_mail.post(SendMailPostRequestBody(message=notice, save_to_sent_items=True))
    notice.internet_message_headers[0].name = "Received"
    await refused(user.send_mail.post(SendMailPostRequestBody(message=notice)), 400)
    step("sendMail, and its rule for headers")

    server = listening()
    ends = datetime.now(timezone.utc) + timedelta(minutes=30)
    wanted = Subscription(
        change_type="created",
        notification_url=f"http://127.0.0.1:{server.server_port}/notify",
        resource=f"users/{place['mailbox']}/mailFolders('inbox')/messages",
        expiration_date_time=ends,
        client_state="invented",
    )
    made = await client.subscriptions.post(wanted)
    one = client.subscriptions.by_subscription_id(made.id)
    later = ends + timedelta(minutes=30)
    renewed = await one.patch(Subscription(expiration_date_time=later))
    assert renewed.expiration_date_time > made.expiration_date_time
    await one.reauthorize.post()
    assert made.id in [each.id for each in (await client.subscriptions.get()).value]
    await one.delete()
    server.shutdown()
    step("subscription: validate, renew, reauthorize, delete")

    now = datetime.now(timezone.utc)
    query = await client.security.audit_log.queries.post(
        AuditLogQuery(
            display_name="by the SDK",
            filter_start_date_time=now - timedelta(hours=1),
            filter_end_date_time=now + timedelta(hours=1),
            service_filters=["SharePoint"],
        )
    )
    one = client.security.audit_log.queries.by_audit_log_query_id(query.id)
    for _ in range(5):
        if (await one.get()).status == AuditLogQueryStatus.Succeeded:
            break
    records = (await one.records.get()).value
    assert records and all(each.operation and each.created_date_time for each in records)
    step("audit log query and its records")

    members = await client.groups.by_group_id(place["group"]).members.get()
    assert [each.id for each in members.value] == [place["inner"]]
    deep = await client.groups.by_group_id(place["group"]).transitive_members.get()
    assert place["person"] in [each.id for each in deep.value]
    step("groups within groups")

    item = client.drives.by_drive_id(place["drive"]).items.by_drive_item_id(place["item"])
    await item.checkout.post()
    await item.checkin.post(CheckinPostRequestBody(comment="done"))
    step("check-out and check-in")


def listening():
    """A notification address that echoes its validation."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            self.rfile.read(int(self.headers.get("content-length") or 0))
            token = parse_qs(urlparse(self.path).query).get("validationToken")
            self.send_response(200 if token else 202)
            self.send_header("content-type", "text/plain")
            self.end_headers()
            if token:
                self.wfile.write(token[0].encode())

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


if __name__ == "__main__":
    told = json.load(sys.stdin)
    asyncio.run(run(told))
    asyncio.run(mail_log_and_directory(told))
    print("every step passed")
