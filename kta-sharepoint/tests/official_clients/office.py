"""Drives office365-rest-python-client, as it comes, against the emulator: Graph and SharePoint REST.

Reads one JSON object (the emulator's addresses) from standard input, prints one line per step and exits 0
when every step did what it does against the real service. Where the emulator is, is told to the client in
its own table of clouds.
"""

import io
import json
import sys

import requests
from office365 import azure_env
from office365.azure_env import AzureEnvironment
from office365.graph_client import GraphClient
from office365.runtime.auth.token_response import TokenResponse
from office365.runtime.client_request_exception import ClientRequestException
from office365.sharepoint.client_context import ClientContext


def step(name):
    print(f"ok: {name}", flush=True)


def token(place, scope):
    answer = requests.post(
        f"{place['login_url']}/{place['tenant']}/oauth2/v2.0/token",
        data={
            "client_id": place["client_id"],
            "client_secret": place["client_secret"],
            "grant_type": "client_credentials",
            "scope": scope,
        },
        timeout=30,
    )
    answer.raise_for_status()
    return answer.json()


def through_graph(place):
    azure_env._ENDPOINTS[AzureEnvironment.Global]["graph"] = place["graph_url"]
    client = GraphClient(lambda: token(place, "https://graph.microsoft.com/.default"))
    drive = client.drives[place["drive"]]
    root = drive.root.get().execute_query()
    assert root.name == "root", root.properties
    folder = drive.root.create_folder("by office365").execute_query()
    small = folder.upload("small.bin", b"first content").execute_query()
    assert small.size == 13
    # What comes back from an upload into a made folder has lost its drive in this client: named anew.
    small = drive.items[small.id]
    assert small.get_content().execute_query().value == b"first content"
    drive.items[folder.id].upload("small.bin", b"second").execute_query()
    assert len(small.versions.get().execute_query()) == 2
    step("graph: folder, upload, content, versions")

    big = bytes(range(256)) * 4096 + b"tail"
    with open(place["scratch"], "wb") as file:
        file.write(big)
    folder = drive.items[folder.id]
    folder.resumable_upload(place["scratch"], chunk_size=655360).execute_query()
    children = folder.children.get().execute_query()
    large = [each for each in children if each.name == "office.bin"][0]
    assert large.size == len(big), large.size
    large = drive.items[large.id]
    back = io.BytesIO()
    large.download(back).execute_query()
    assert back.getvalue() == big
    step("graph: upload session and download")

    assert sorted(each.name for each in children) == ["office.bin", "small.bin"]
    link = small.create_link("view", "organization").execute_query()
    assert link.link.scope == "organization", link.properties
    assert len(small.permissions.get().execute_query()) >= 1
    small.delete_object().execute_query()
    step("graph: children, link, permissions, delete")


def through_rest(place):
    granted = token(place, f"{place['sharepoint_url']}/.default")
    site = f"{place['sharepoint_url']}/sites/Matters"
    context = ClientContext(site).with_access_token(
        lambda: TokenResponse(granted["access_token"], "Bearer")
    )
    bin = context.web.recycle_bin.get().execute_query()
    assert "small.bin" in [each.properties.get("LeafName") for each in bin], bin
    library = context.web.lists.get_by_title("Matters")
    library.get().execute_query()
    assert library.properties["EnableVersioning"] is True
    library.set_property("MajorVersionLimit", 400).update().execute_query()
    library.get().execute_query()
    assert library.properties["MajorVersionLimit"] == 400
    step("rest: recycle bin, library settings")

    entry = [each for each in bin if each.properties.get("LeafName") == "small.bin"][0]
    entry.restore().execute_query()
    left = context.web.recycle_bin.get().execute_query()
    assert "small.bin" not in [each.properties.get("LeafName") for each in left]
    step("rest: restore")


if __name__ == "__main__":
    told = json.load(sys.stdin)
    try:
        through_graph(told)
        through_rest(told)
    except ClientRequestException as refused:
        print(f"refused: {refused.response.request.method} {refused.response.url}")
        raise
    print("every step passed")
