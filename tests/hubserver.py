"""A stand-in for the hub on this machine: the few answers that huggingface_hub's client asks for."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

COMMITS = {"main": "a" * 40, "v1": "b" * 40}


@dataclass
class FakeHub:
    """Data sets by name, each with its files; ``asked`` keeps every request."""

    data: dict[str, dict[str, bytes]]
    endpoint: str = ""
    asked: list[str] = field(default_factory=list)


@contextmanager
def fake_hub(data: dict[str, dict[str, bytes]]) -> Iterator[FakeHub]:
    """Serve the data sets until the block ends; revisions are main and v1."""
    hub = FakeHub(data)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def reply(self, status: int, body: bytes, headers: dict[str, str]) -> None:
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def send_json(self, value: object, status: int = 200, **headers: str) -> None:
            self.reply(status, json.dumps(value).encode(), {"Content-Type": "application/json", **headers})

        def missing(self, code: str) -> None:
            self.send_json({"error": code}, 404, **{"X-Error-Code": code, "X-Error-Message": code})

        def handle_any(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            posted = self.rfile.read(length)
            path = unquote(urlsplit(self.path).path)
            hub.asked.append(f"{self.command} {path}")
            found = re.fullmatch(
                r"/(api/)?datasets/([^/]+/[^/]+?)(?:/(revision|tree|paths-info|resolve)/([^/]+)(?:/(.*))?)?", path
            )
            if found is None or found[2] not in hub.data:
                return self.missing("RepoNotFound")
            files, verb, revision = hub.data[found[2]], found[3] or "revision", found[4] or "main"
            commit = COMMITS.get(revision, revision)
            if commit not in COMMITS.values():
                return self.missing("RevisionNotFound")
            entries = [
                {"type": "file", "path": name, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}
                for name, data in files.items()
            ]
            if verb == "revision":
                siblings = [{"rfilename": name} for name in files]
                return self.send_json(
                    {"id": found[2], "sha": commit, "siblings": siblings, "tags": [], "private": False}
                )
            if verb == "tree":
                return self.send_json(entries)
            if verb == "paths-info":
                paths = re.findall(r"paths=([^&]*)", posted.decode()) or json.loads(posted or b"{}").get("paths", [])
                return self.send_json(
                    [entry for entry in entries if entry["path"] in [unquote(path) for path in paths]]
                )
            if found[5] not in files:
                return self.missing("EntryNotFound")
            body = files[found[5]]
            headers = {"X-Repo-Commit": commit, "ETag": f'"{hashlib.sha1(body).hexdigest()}"', "Accept-Ranges": "bytes"}
            asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
            if asked is None:
                return self.reply(200, body, headers)
            start, stop = int(asked[1]), int(asked[2]) + 1 if asked[2] else len(body)
            headers["Content-Range"] = f"bytes {start}-{min(stop, len(body)) - 1}/{len(body)}"
            return self.reply(206, body[start:stop], headers)

        do_GET = do_HEAD = do_POST = handle_any

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    hub.endpoint = f"http://127.0.0.1:{server.server_port}"
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
