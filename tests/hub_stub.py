"""A server on this machine that speaks what huggingface_hub asks of the hub, for tests."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import unquote, urlsplit


class Hub(ThreadingHTTPServer):
    """Repositories in memory: commits by hash, and branches."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.commits: dict[str, dict[str, bytes]] = {}  # by their hash
        self.branches: dict[str, dict[str, str]] = {}  # by repository: hashes by name
        self.gated: set[str] = set()
        self.private: dict[str, bool] = {}
        self.requests: list[str] = []
        self.accepts_tokens, self.is_broken = True, False
        self.web_page: bytes | None = None  # what is answered whatever is asked
        self.meanwhile: Callable[[], object] | None = None  # called once, before a commit

    def commit(self, repo_id: str, files: dict[str, bytes], branch: str = "main") -> str:
        """Make a branch hold these files; the commit's hash."""
        oid = hashlib.sha1(repr((len(self.commits), sorted(files))).encode()).hexdigest()
        self.commits[oid] = files
        self.branches.setdefault(repo_id, {})[branch] = oid
        return oid

    def files(self, repo_id: str, revision: str = "main") -> dict[str, bytes]:
        """What a branch holds."""
        return self.commits[self.branches[repo_id][revision]]


class RefusedError(Exception):
    """A status, and the hub's name of the error."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Hub

    def log_message(self, *args: object) -> None:
        """Nothing."""

    def _answer(self) -> None:
        path = urlsplit(self.path).path
        self.server.requests.append(f"{self.command} {path}")
        content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        headers = {}
        try:
            if self.server.web_page is not None:
                body = self.server.web_page
            elif path.startswith("/api/"):
                body = json.dumps(self._api(path, content)).encode()
            else:
                body, headers = self._file(path)
            status = 200
        except RefusedError as refused:
            status, code = refused.args
            body = json.dumps({"url": f"{self.server.url}/owner/any"}).encode()
            headers = {"X-Error-Code": code, "X-Error-Message": code}
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_GET = do_POST = do_HEAD = _answer  # noqa: N815  # the standard library's names

    def _api(self, path: str, content: bytes) -> object:
        if self.command == "POST" and not self.server.accepts_tokens:
            raise RefusedError(401, "")
        if self.server.is_broken:
            raise RefusedError(500, "")
        if path == "/api/validate-yaml":
            return {"errors": [], "warnings": []}
        if path == "/api/repos/create":
            asked = json.loads(content)
            repo_id = f"{asked.get('organization') or 'owner'}/{asked['name']}"
            if repo_id in self.server.branches:
                raise RefusedError(409, "")
            self.server.commit(repo_id, {".gitattributes": b""})
            self.server.private[repo_id] = asked.get("visibility", "") == "private" or asked.get(
                "private", False
            )
            return {"url": f"{self.server.url}/{repo_id}"}
        found = re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/(\w+)(?:/(.+))?)?", path)
        if found is None:
            raise RefusedError(404, "")
        repo_id, action, revision = (part and unquote(part) for part in found.groups())
        branches = self._branches(repo_id)
        if action == "branch":
            if revision in branches:
                raise RefusedError(409, "")
            branches[revision] = (json.loads(content) if content else {}).get(
                "startingPoint", branches["main"]
            )
            return {}
        oid = self._oid(repo_id, revision or "main")
        files = self.server.commits[oid]
        if action == "preupload":
            asked = json.loads(content)["files"]
            told = [{"path": file["path"], "uploadMode": "regular", "shouldIgnore": False,
                     "oid": None} for file in asked]  # fmt: skip
            return {"files": told}
        if action == "commit":
            return self._commit(repo_id, revision, content, dict(files))
        siblings = [{"rfilename": name} for name in files]
        tree = [{"type": "file", "path": name, "size": len(content), "oid": _etag(content)}
                for name, content in files.items()]  # fmt: skip
        told = {"id": repo_id, "modelId": repo_id, "sha": oid, "siblings": siblings, "tags": []}
        return tree if action == "tree" else told | {"private": False, "downloads": 0, "likes": 0}

    def _commit(
        self, repo_id: str, branch: str, content: bytes, files: dict[str, bytes]
    ) -> dict[str, object]:
        if self.server.meanwhile is not None:
            self.server.meanwhile()
        for line in content.decode().splitlines():
            entry = json.loads(line)
            value = entry["value"]
            if entry["key"] == "header" and value["parentCommit"] != self._oid(repo_id, branch):
                raise RefusedError(412, "")
            elif entry["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif entry["key"] == "deletedFile":
                del files[value["path"]]
        oid = self.server.commit(repo_id, files, branch)
        url = f"{self.server.url}/{repo_id}/commit/{oid}"
        return {"success": True, "commitOid": oid, "commitUrl": url, "hookOutput": ""}

    def _file(self, path: str) -> tuple[bytes, dict[str, str]]:
        found = re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path)
        if found is None:
            raise RefusedError(404, "RepoNotFound")
        repo_id, revision, name = map(unquote, found.groups())
        if not self.server.accepts_tokens:
            raise RefusedError(401, "")
        if self.server.is_broken:
            raise RefusedError(500, "")
        self._branches(repo_id)
        if repo_id in self.server.gated:
            raise RefusedError(403, "GatedRepo")
        oid = self._oid(repo_id, revision)
        files = self.server.commits[oid]
        if name not in files:
            raise RefusedError(404, "EntryNotFound")
        return files[name], {"ETag": f'"{_etag(files[name])}"', "X-Repo-Commit": oid}

    def _branches(self, repo_id: str) -> dict[str, str]:
        if repo_id not in self.server.branches:
            raise RefusedError(404, "RepoNotFound")
        return self.server.branches[repo_id]

    def _oid(self, repo_id: str, revision: str) -> str:
        oid = self._branches(repo_id).get(revision, revision)
        if oid not in self.server.commits:
            raise RefusedError(404, "RevisionNotFound")
        return oid


def _etag(content: bytes) -> str:
    return hashlib.sha1(content).hexdigest()


@contextmanager
def serving() -> Iterator[Hub]:
    """A hub that is served."""
    hub = Hub()
    thread = Thread(target=hub.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield hub
    finally:
        hub.shutdown()
        thread.join()
        hub.server_close()
