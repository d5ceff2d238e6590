"""A moto server on a free port of the loopback interface; prints its address.

With `conditional` it also keeps If-Match when a multipart upload is completed, as AWS does and
moto 5.2.5 does not.
"""

import sys

from moto.s3 import responses
from moto.s3.exceptions import MissingKey, PreconditionFailed
from moto.server import ThreadedMotoServer

if sys.argv[1:] == ["conditional"]:
    post = responses.S3Response._key_response_post

    def conditional(self, request, body, bucket_name, query, key_name):
        tag = self.headers.get("If-Match")
        if tag and query.get("uploadId"):
            there = self.backend.get_object(bucket_name, key_name)
            if there is None:
                raise MissingKey
            if there.etag.strip('"') != tag.strip('"'):
                raise PreconditionFailed("If-Match")
        return post(self, request, body, bucket_name, query, key_name)

    responses.S3Response._key_response_post = conditional

server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
host, port = server.get_host_and_port()
print(f"http://{host}:{port}", flush=True)
server._thread.join()
