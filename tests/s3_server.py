"""A small object store with the part of S3's HTTP interface that a client for reading needs, and PUT.

It stands for somebody else's service: HEAD, GET with Range, PUT, and ListObjectsV2 with a delimiter. Signatures are not
checked.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

Objects = dict[str, bytes]  # by bucket/key
DATE = "Sun, 29 Nov 2026 00:00:00 GMT"


def _handler(objects: Objects, requests: list[tuple[str, str]]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_PUT(self) -> None:
            objects[self._key()] = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self._answer(200, b"")

        def do_HEAD(self) -> None:
            self._get()

        def do_GET(self) -> None:
            given = parse_qs(urlsplit(self.path).query)
            if "/" in self._key().strip("/") or "list-type" not in given:
                self._get()
            else:
                self._list(self._key().strip("/"), given)

        def _get(self) -> None:
            requests.append((self.command, self._key()))
            data = objects.get(self._key())
            if data is None:
                code = "NoSuchKey"
                self._answer(404, f"<Error><Code>{code}</Code><Message>no {self._key()}</Message></Error>".encode())
                return
            match = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
            if match:
                first, last = int(match[1]), min(int(match[2] or len(data)), len(data) - 1)
                of = {"Content-Range": f"bytes {first}-{last}/{len(data)}"}
                self._answer(206, data[first : last + 1], of)
            else:
                self._answer(200, data)

        def _list(self, bucket: str, given: dict[str, list[str]]) -> None:
            prefix, delimiter = given.get("prefix", [""])[0], given.get("delimiter", [""])[0]
            keys = sorted(key.removeprefix(f"{bucket}/") for key in objects if key.startswith(f"{bucket}/{prefix}"))
            folders, files = set(), []
            for key in keys:
                head, found, _ = key[len(prefix) :].partition(delimiter) if delimiter else ("", "", "")
                if found:
                    folders.add(prefix + head + delimiter)
                else:
                    files.append(key)
            entries = "".join(
                f"<Contents><Key>{escape(key)}</Key><Size>{len(objects[f'{bucket}/{key}'])}</Size>"
                "<LastModified>2026-11-29T00:00:00.000Z</LastModified></Contents>"
                for key in files
            ) + "".join(f"<CommonPrefixes><Prefix>{escape(of)}</Prefix></CommonPrefixes>" for of in sorted(folders))
            text = (
                '<?xml version="1.0" encoding="UTF-8"?>'
                '<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
                f"<Name>{bucket}</Name><Prefix>{escape(prefix)}</Prefix>"
                f"<KeyCount>{len(files) + len(folders)}</KeyCount><MaxKeys>1000</MaxKeys>"
                f"<IsTruncated>false</IsTruncated>{entries}</ListBucketResult>"
            )
            self._answer(200, text.encode(), {"Content-Type": "application/xml"})

        def _key(self) -> str:
            return unquote(urlsplit(self.path).path).lstrip("/")

        def _answer(self, code: int, data: bytes, headers: dict[str, str] | None = None) -> None:
            self.send_response(code)
            headers = {"Last-Modified": DATE, "ETag": '"0"', "Accept-Ranges": "bytes", **(headers or {})}
            for name, value in {**headers, "Content-Length": str(len(data))}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data)

        def log_message(self, *_: Any) -> None:
            pass

    return Handler


@contextmanager
def s3_server(objects: Objects) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """Serve `objects`. Gives the address, and the requests for objects as they come: method, bucket/key."""
    requests: list[tuple[str, str]] = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(objects, requests))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", requests
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
