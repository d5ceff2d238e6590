"""Drives the vendor's own Python client (zohocrmsdk8-0), unpatched, against an emulator.

Usage: drive.py '{"api_url":…,"accounts_url":…,"client_id":…,"client_secret":…,"refresh_token":…}'
It works in the current directory, prints one line for each thing that worked, and exits with
a traceback on the first that did not. The people in it are invented.
"""

import datetime
import json
import io
import os
import sys
import time
import zipfile

from zohocrmsdk.src.com.zoho.api.authenticator.oauth_token import OAuthToken
from zohocrmsdk.src.com.zoho.api.authenticator.store.file_store import FileStore
from zohocrmsdk.src.com.zoho.crm.api import HeaderMap, ParameterMap
from zohocrmsdk.src.com.zoho.crm.api import (
    attachments,
    audit_log_export,
    bulk_read,
    coql,
    notes,
    notifications,
    recycle_bin,
    record_locking,
    share_records,
    tags,
)
from zohocrmsdk.src.com.zoho.crm.api.attachments import (
    AttachmentsOperations,
    GetAttachmentsParam,
)
from zohocrmsdk.src.com.zoho.crm.api.coql import CoqlOperations
from zohocrmsdk.src.com.zoho.crm.api.dc.data_center import DataCenter
from zohocrmsdk.src.com.zoho.crm.api.initializer import Initializer
from zohocrmsdk.src.com.zoho.crm.api.modules import MinifiedModule
from zohocrmsdk.src.com.zoho.crm.api.notes import GetNotesParam, NotesOperations
from zohocrmsdk.src.com.zoho.crm.api.record import (
    ActionWrapper,
    APIException,
    BodyWrapper,
    CountWrapper,
    DeletedRecordsWrapper,
    DeleteRecordParam,
    FileBodyWrapper,
    GetDeletedRecordsParam,
    GetRecordsHeader,
    GetRecordsParam,
    Record,
    RecordOperations,
    ResponseWrapper,
    SearchRecordsParam,
    SuccessResponse,
)
from zohocrmsdk.src.com.zoho.crm.api.recycle_bin import RecycleBinOperations
from zohocrmsdk.src.com.zoho.crm.api.data_sharing import DataSharingOperations
from zohocrmsdk.src.com.zoho.crm.api.profiles import ProfilesOperations
from zohocrmsdk.src.com.zoho.crm.api.roles import RolesOperations
from zohocrmsdk.src.com.zoho.crm.api.users import GetUsersParam, UsersOperations
from zohocrmsdk.src.com.zoho.crm.api.util import Choice, StreamWrapper


def worked(what):
    print("worked:", what, flush=True)


def only_success(response, status, kind=ActionWrapper, success=SuccessResponse):
    assert response.get_status_code() == status, response.get_status_code()
    wrapper = response.get_object()
    assert isinstance(wrapper, kind), type(wrapper)
    rows = wrapper.get_data() if hasattr(wrapper, "get_data") else wrapper.get_recycle_bin()
    for row in rows:
        assert isinstance(row, success), (type(row), row.get_code(), row.get_message())
        assert row.get_status().get_value() == "success"
    return rows


def value(one):
    return one.get_value() if isinstance(one, Choice) else one


def person(last, first, key, email):
    record = Record()
    record.add_key_value("Last_Name", last)
    record.add_key_value("First_Name", first)
    record.add_key_value("Email", email)
    record.add_key_value("Date_of_Birth", datetime.date(1990, 2, 3))
    record.add_key_value("KTA_Key", key)
    record.add_key_value("Data_Processing_Basis", Choice("Contract"))
    return record


def body(records, checks=None):
    wrapper = BodyWrapper()
    wrapper.set_data(records)
    wrapper.set_trigger([])
    if checks is not None:
        wrapper.set_duplicate_check_fields(checks)
    return wrapper


def start(target):
    environment = DataCenter.Environment(
        target["api_url"], target["accounts_url"] + "/oauth/v2/token", target["api_url"]
    )
    token = OAuthToken(
        client_id=target["client_id"],
        client_secret=target["client_secret"],
        refresh_token=target["refresh_token"],
    )
    Initializer.initialize(
        environment, token, FileStore(os.path.join(os.getcwd(), "tokens.csv")), resource_path=os.getcwd()
    )
    assert token.get_access_token().startswith("1000."), token.get_access_token()
    worked("token by refresh_token")


def create_read_update():
    contacts = RecordOperations("Contacts")
    rows = only_success(contacts.create_records(body([
        person("Exemplar", "Edna", "sdk-1", "edna@example.org"),
        person("Exemplar", "Egon", "sdk-2", "egon@example.org"),
    ])), 201)
    first, second = (row.get_details()["id"] for row in rows)
    worked("create")

    params = ParameterMap()
    params.add(GetRecordsParam.fields, "id,Last_Name,First_Name,Email,Date_of_Birth,Modified_Time,Owner,Data_Processing_Basis")
    params.add(GetRecordsParam.per_page, 1)
    headers = HeaderMap()
    headers.add(GetRecordsHeader.if_modified_since,
                datetime.datetime(2020, 1, 1, tzinfo=datetime.timezone.utc))
    response = contacts.get_records(params, headers)
    assert response.get_status_code() == 200
    wrapper = response.get_object()
    assert isinstance(wrapper, ResponseWrapper), type(wrapper)
    assert wrapper.get_info().get_more_records() is True
    record = wrapper.get_data()[0]
    assert record.get_key_value("Last_Name") == "Exemplar"
    assert record.get_key_value("Date_of_Birth") == datetime.date(1990, 2, 3)
    assert record.get_key_value("Data_Processing_Basis").get_value() == "Contract"
    assert isinstance(record.get_modified_time(), datetime.datetime)
    worked("get records, in pages")

    response = contacts.get_record(int(first))
    record = response.get_object().get_data()[0]
    assert record.get_key_value("First_Name") == "Edna" and record.get_id() == int(first)
    worked("get one record")

    change = Record()
    change.add_key_value("Email", "edna.exemplar@example.org")
    only_success(contacts.update_record(int(first), body([change])), 200)
    many = Record()
    many.set_id(int(second))
    many.add_key_value("Email", "egon.exemplar@example.org")
    only_success(contacts.update_records(body([many])), 200)
    record = contacts.get_record(int(first)).get_object().get_data()[0]
    assert record.get_key_value("Email") == "edna.exemplar@example.org"
    worked("update")

    response = contacts.record_count()
    assert isinstance(response.get_object(), CountWrapper) and response.get_object().get_count() == 2
    worked("count")
    return first, second


def upsert(first):
    contacts = RecordOperations("Contacts")
    again = person("Exemplar", "Edna Maria", "sdk-1", "edna@example.org")
    rows = only_success(contacts.upsert_records(body([again], ["KTA_Key"])), 200)
    assert rows[0].get_action().get_value() == "update" and rows[0].get_details()["id"] == first
    new = person("Exemplar", "Elsa", "sdk-3", "elsa@example.org")
    rows = only_success(contacts.upsert_records(body([new], ["KTA_Key"])), 201)
    assert rows[0].get_action().get_value() == "insert"
    worked("upsert, once as update and once as insert")

    response = contacts.create_records(body([person("Exemplar", "Twin", "sdk-1", "twin@example.org")]))
    row = response.get_object().get_data()[0]
    assert isinstance(row, APIException) and row.get_code().get_value() == "DUPLICATE_DATA", row
    worked("duplicate refused")
    return rows[0].get_details()["id"]


def matter(contact):
    deal = Record()
    deal.add_key_value("Deal_Name", "Matter 0001")
    deal.add_key_value("Stage", Choice("Open"))
    client = Record()
    client.set_id(int(contact))
    deal.add_key_value("Contact_Name", client)
    deal.add_key_value("KTA_Key", "sdk-matter-1")
    rows = only_success(RecordOperations("Deals").create_records(body([deal])), 201)
    record = RecordOperations("Deals").get_record(int(rows[0].get_details()["id"])).get_object().get_data()[0]
    assert record.get_key_value("Contact_Name").get_id() == int(contact)
    worked("deal with a lookup")


def search_and_query():
    params = ParameterMap()
    params.add(SearchRecordsParam.criteria, "((Last_Name:equals:Exemplar)and(First_Name:starts_with:Eg))")
    response = RecordOperations("Contacts").search_records(params)
    assert response.get_status_code() == 200
    assert [one.get_key_value("First_Name") for one in response.get_object().get_data()] == ["Egon"]
    params = ParameterMap()
    params.add(SearchRecordsParam.email, "nobody@example.org")
    assert RecordOperations("Contacts").search_records(params).get_status_code() == 204
    worked("search")

    query = coql.BodyWrapper()
    query.set_select_query("select Last_Name, First_Name from Contacts where KTA_Key = 'sdk-2' limit 0, 10")
    response = CoqlOperations().get_records(query)
    assert response.get_status_code() == 200
    rows = response.get_object().get_data()
    assert len(rows) == 1 and rows[0].get_key_value("First_Name") == "Egon"
    query.set_select_query("select Last_Name from Contacts where")
    broken = CoqlOperations().get_records(query)
    assert isinstance(broken.get_object(), coql.APIException)
    assert broken.get_object().get_code().get_value() == "SYNTAX_ERROR"
    worked("coql")


def note(contact):
    one = notes.Note()
    one.set_note_title("Call")
    one.set_note_content("Asked for the form.")
    parent = notes.ParentId() if hasattr(notes, "ParentId") else Record()
    parent.set_id(int(contact))
    module = MinifiedModule()
    module.set_api_name("Contacts")
    parent.set_module(module)
    one.set_parent_id(parent)
    wrapper = notes.BodyWrapper()
    wrapper.set_data([one])
    wrapper.set_trigger([])
    rows = only_success(NotesOperations().create_notes(wrapper), 201, notes.ActionWrapper, notes.SuccessResponse)
    note_id = rows[0].get_details()["id"]
    params = ParameterMap()
    params.add(GetNotesParam.fields, "id,Note_Title,Note_Content,Parent_Id")
    response = NotesOperations().get_notes(params)
    found = response.get_object().get_data()
    assert [n.get_note_title() for n in found] == ["Call"]
    change = notes.Note()
    change.set_note_content("Asked again: Ελένη דוגמה.")
    wrapper = notes.BodyWrapper()
    wrapper.set_data([change])
    wrapper.set_trigger([])
    only_success(NotesOperations().update_note(int(note_id), wrapper), 200, notes.ActionWrapper, notes.SuccessResponse)
    found = NotesOperations().get_notes(params).get_object().get_data()
    assert [(n.get_note_title(), n.get_note_content()) for n in found] == [("Call", "Asked again: Ελένη דוגמה.")]
    only_success(NotesOperations().delete_note(int(note_id)), 200, notes.ActionWrapper, notes.SuccessResponse)
    params = ParameterMap()
    params.add(GetNotesParam.fields, "id,Note_Title")
    assert NotesOperations().get_notes(params).get_status_code() == 204
    worked("notes: create, list, update, delete")


def attachment(contact):
    content = b"%PDF-1.4 not really\n" * 2000
    with open("letter.pdf", "wb") as file:
        file.write(content)
    request = attachments.FileBodyWrapper()
    request.set_file(StreamWrapper(file_path=os.path.join(os.getcwd(), "letter.pdf")))
    operations = AttachmentsOperations()
    rows = only_success(operations.upload_attachments(int(contact), "Contacts", request), 200,
                        attachments.ActionWrapper, attachments.SuccessResponse)
    attachment_id = int(rows[0].get_details()["id"])
    params = ParameterMap()
    params.add(GetAttachmentsParam.fields, "id,File_Name,Size")
    listed = operations.get_attachments(int(contact), "Contacts", params).get_object().get_data()
    assert [one.get_file_name() for one in listed] == ["letter.pdf"]
    response = operations.get_attachment(attachment_id, int(contact), "Contacts")
    stream = response.get_object().get_file()
    assert b"".join(stream.get_stream()) == content and stream.get_name() == "letter.pdf"
    only_success(operations.delete_attachment(attachment_id, int(contact), "Contacts"), 200,
                 attachments.ActionWrapper, attachments.SuccessResponse)
    worked("attachments: upload, list, download, delete")


def everything_by_bulk_read(expected):
    operations = bulk_read.BulkReadOperations()
    module = MinifiedModule()
    module.set_api_name("Contacts")
    query = bulk_read.Query()
    query.set_module(module)
    query.set_fields(["KTA_Key", "Last_Name", "Modified_Time"])
    query.set_page(1)
    request = bulk_read.BodyWrapper()
    request.set_query(query)
    request.set_file_type("csv")
    response = operations.create_bulk_read_job(request)
    assert response.get_status_code() == 201, response.get_status_code()
    row = response.get_object().get_data()[0]
    assert isinstance(row, bulk_read.SuccessResponse), type(row)
    job = int(row.get_details()["id"])
    for _ in range(10):
        detail = operations.get_bulk_read_job_details(job).get_object().get_data()[0]
        if value(detail.get_state()) == "COMPLETED":
            break
        time.sleep(0.05)
    result = detail.get_result()
    assert result.get_count() == expected and result.get_more_records() is False
    stream = operations.download_result(job).get_object().get_file()
    archive = zipfile.ZipFile(io.BytesIO(b"".join(stream.get_stream())))
    assert archive.testzip() is None
    (name,) = archive.namelist()
    lines = archive.read(name).decode().splitlines()
    assert lines[0] == "Id,KTA_Key,Last_Name,Modified_Time" and len(lines) == expected + 1, lines
    worked("bulk read: job, state, result")


def channel():
    operations = notifications.NotificationsOperations()
    one = notifications.Notification()
    one.set_channel_id("1000000068001")
    one.set_events(["Contacts.all"])
    one.set_channel_expiry(datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(days=6))
    one.set_token("official-client-token")
    one.set_notify_url("https://firm.example.com/bell")
    request = notifications.BodyWrapper()
    request.set_watch([one])
    response = operations.enable_notifications(request)
    assert response.get_status_code() == 201, response.get_status_code()
    assert isinstance(response.get_object().get_watch()[0], notifications.SuccessResponse)
    params = ParameterMap()
    params.add(notifications.GetNotificationsParam.module, "Contacts")
    found = operations.get_notifications(params).get_object().get_watch()
    assert [str(line.get_channel_id()) for line in found] == ["1000000068001"]
    params = ParameterMap()
    params.add(notifications.DeleteNotificationParam.channel_ids, "1000000068001")
    gone = operations.delete_notification(params)
    assert isinstance(gone.get_object().get_watch()[0], notifications.SuccessResponse)
    worked("notifications: enable, list, delete")


def marks(contact):
    one = tags.Tag()
    one.set_name("official")
    request = tags.NewTagRequestWrapper()
    request.set_tags([one])
    operations = tags.TagsOperations()
    response = operations.add_tags("Contacts", int(contact), request)
    assert response.get_status_code() == 200
    assert isinstance(response.get_object().get_data()[0], tags.RecordSuccessResponse)
    record = RecordOperations("Contacts").get_record(int(contact)).get_object().get_data()[0]
    assert [tag.get_name() for tag in record.get_tag()] == ["official"]
    request = tags.ExistingTagRequestWrapper()
    existing = tags.ExistingTag()
    existing.set_name("official")
    request.set_tags([existing])
    response = operations.remove_tags("Contacts", int(contact), request)
    assert isinstance(response.get_object().get_data()[0], tags.RecordSuccessResponse)
    worked("tags: add, read, remove")

    operations = record_locking.RecordLockingOperations(int(contact), "Contacts")
    lock = record_locking.LockRecord()
    lock.set_locked_reason__s("legal hold")
    request = record_locking.BodyWrapper()
    request.set_data([lock])
    rows = only_success(operations.lock_records(request), 201, record_locking.ActionWrapper, record_locking.SuccessResponse)
    lock_id = int(rows[0].get_details()["id"])
    change = Record()
    change.add_key_value("Email", "locked@example.org")
    refused = RecordOperations("Contacts").update_record(int(contact), body([change])).get_object()
    assert refused.get_data()[0].get_code().get_value() == "RECORD_LOCKED"
    found = operations.get_record_locking_informations(ParameterMap()).get_object().get_data()
    assert [one.get_key_values().get("Locked_Reason__s") for one in found] == ["legal hold"], [one.get_key_values() for one in found]
    only_success(operations.unlock_record(lock_id), 200, record_locking.ActionWrapper, record_locking.SuccessResponse)
    worked("record lock: lock, refused write, read, unlock")


def choices_and_subform():
    record = person("Exemplárová-Ξένος", "Εύα דוגמה 🙂", "sdk-4", "eva@example.org")
    record.add_key_value("Languages", [Choice("Hebrew"), Choice("English")])
    child = Record()
    child.add_key_value("Child_Name", "Testa Exemplar")
    child.add_key_value("Birth", datetime.date(2020, 2, 3))
    record.add_key_value("Dependents", [child])
    rows = only_success(RecordOperations("Contacts").create_records(body([record])), 201)
    contact = int(rows[0].get_details()["id"])
    record = RecordOperations("Contacts").get_record(contact).get_object().get_data()[0]
    assert record.get_key_value("Last_Name") == "Exemplárová-Ξένος"
    assert record.get_key_value("First_Name") == "Εύα דוגמה 🙂"
    assert [one.get_value() for one in record.get_key_value("Languages")] == ["Hebrew", "English"]
    (child,) = record.get_key_value("Dependents")
    assert child.get_key_value("Child_Name") == "Testa Exemplar"
    worked("choices, a subform, and names in four scripts")

    params = ParameterMap()
    params.add(GetRecordsParam.fields, "id,KTA_Key")
    params.add(GetRecordsParam.per_page, 1)
    seen = []
    while True:
        wrapper = RecordOperations("Contacts").get_records(params, HeaderMap()).get_object()
        seen += [record.get_key_value("KTA_Key") for record in wrapper.get_data()]
        if not wrapper.get_info().get_more_records():
            break
        params = ParameterMap()
        params.add(GetRecordsParam.fields, "id,KTA_Key")
        params.add(GetRecordsParam.per_page, 1)
        params.add(GetRecordsParam.page_token, wrapper.get_info().get_next_page_token())
    assert sorted(seen) == ["sdk-2", "sdk-3", "sdk-4"] or len(seen) == len(set(seen)), seen
    worked("pages by token")


def access():
    params = ParameterMap()
    params.add(GetUsersParam.type, "ActiveUsers")
    users = UsersOperations().get_users(params).get_object().get_users()
    assert len(users) == 3 and all(user.get_profile().get_id() for user in users)
    assert len(RolesOperations().get_roles().get_object().get_roles()) == 2
    profiles = ProfilesOperations().get_profiles(ParameterMap()).get_object().get_profiles()
    one = ProfilesOperations().get_profile(int(profiles[0].get_id())).get_object().get_profiles()[0]
    assert any(permission.get_enabled() for permission in one.get_permissions_details())
    shared = DataSharingOperations().get_data_sharing().get_object().get_data_sharing()
    assert all(value(one.get_share_type()) == "private" for one in shared)
    worked("users, roles, profiles, sharing")


def shared(contact):
    operations = share_records.ShareRecordsOperations(int(contact), "Contacts")
    assert operations.get_shared_record_details(ParameterMap()).get_status_code() == 204
    worked("shares of a record")


def audit_log():
    operations = audit_log_export.AuditLogExportOperations()
    response = operations.get_exported_auditlogs()
    assert response.get_status_code() in (200, 204)
    worked("audit log exports")


def delete_for_good(first, third):
    contacts = RecordOperations("Contacts")
    params = ParameterMap()
    params.add(DeleteRecordParam.wf_trigger, False)
    only_success(contacts.delete_record(int(first), params), 200)
    assert contacts.get_record(int(first)).get_status_code() == 204
    worked("delete")

    response = RecycleBinOperations().get_recyclebin_records()
    binned = {str(one.get_id()) for one in response.get_object().get_recycle_bin()}
    assert str(first) in binned, binned
    only_success(RecycleBinOperations().delete_recyclebin_record(int(first)), 200,
                 recycle_bin.ActionWrapper, recycle_bin.SuccessResponse)
    worked("recycle bin: list, delete for good")

    params = ParameterMap()
    params.add(GetDeletedRecordsParam.type, "permanent")
    response = contacts.get_deleted_records(params, HeaderMap())
    wrapper = response.get_object()
    assert isinstance(wrapper, DeletedRecordsWrapper), type(wrapper)
    assert int(first) in [one.get_id() for one in wrapper.get_data()]
    worked("deleted list")
    assert contacts.get_record(int(third)).get_status_code() == 200


def main():
    start(json.loads(sys.argv[1]))
    first, second = create_read_update()
    third = upsert(first)
    matter(second)
    search_and_query()
    note(second)
    attachment(second)
    everything_by_bulk_read(3)
    channel()
    marks(second)
    choices_and_subform()
    access()
    shared(second)
    audit_log()
    delete_for_good(first, third)
    print("all worked")


if __name__ == "__main__":
    main()
