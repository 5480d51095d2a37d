"""Serving the labelling page to this machine's browser, so that it saves into the folder.

Only this machine can connect, and only who knows the address: its path is a random token. A page from
elsewhere that guesses the port is told nothing: the token is missing, requests must name this host and, where
they say where they come from, come from this page. What is written are the files that are known in advance,
by name; nothing in a request becomes part of a path.
"""

import hmac
import json
import secrets
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock

from dkpvid.files import parse_json, write_then_rename
from dkpvid.labeling.folder import COCO, PAGE, Labeling

HOST = "127.0.0.1"
MOST_BYTES = 64 * 2**20
"""Of one request: the labels of some hundred thousand frames."""
_PATIENCE_SECONDS = 30.0
"""A connection that says nothing for so long is closed."""
_POLL_SECONDS = 0.2


class LabelServer(ThreadingHTTPServer):
    """Serves the page of one folder, and writes what it saves.

    Args:
        folder: Of the labelling.
        labeling: Tells which files may be written.
        write_page: Makes the page of what the folder holds; called before the page is sent, when labels were
            saved since the last time, and at the end.
        port: To listen at; 0 = one that is free.

    Raises:
        OSError: the port is taken.
    """

    daemon_threads = True

    def __init__(
        self, folder: Path, labeling: Labeling, write_page: Callable[[], object], port: int = 0
    ) -> None:
        super().__init__((HOST, port), _Handler)
        self.token = secrets.token_urlsafe(24)
        self.page = folder / PAGE
        self.outputs = {name: folder.joinpath(*name.split("/")) for name in [*labeling.tables, COCO]}
        self.timeout = _POLL_SECONDS
        self._write_page = write_page
        self._page_is_old = False
        self._lock = Lock()

    @property
    def origin(self) -> str:
        """What a browser calls the place that the page comes from."""
        return f"http://{HOST}:{self.server_port}"

    @property
    def address(self) -> str:
        """Where the page is."""
        return f"{self.origin}/{self.token}/"

    def serve_until(self, should_stop: Callable[[], bool]) -> None:
        """Answer requests until asked to stop."""
        while not should_stop():
            self.handle_request()
        self.current_page()

    def current_page(self) -> bytes:
        """The page with what is saved: one with earlier labels would overwrite them."""
        with self._lock:
            if self._page_is_old:
                self._write_page()
                self._page_is_old = False
            return self.page.read_bytes()

    def save(self, texts: object) -> None:
        """Write the files that the page made.

        Args:
            texts: What each file holds, by its name relative to the folder.

        Raises:
            ValueError: it is something else, or the files are not those of this labelling.
        """
        if not isinstance(texts, dict) or set(texts) != set(self.outputs):
            raise ValueError("these are not the files of this labelling; reload the page")
        if not all(isinstance(text, str) for text in texts.values()):
            raise ValueError("a file is no text")
        with self._lock:
            self._page_is_old = True
            for name, path in self.outputs.items():
                with write_then_rename(path) as temporary:
                    temporary.write_text(texts[name], encoding="utf-8", newline="")


class _Handler(BaseHTTPRequestHandler):
    server: LabelServer
    server_version, sys_version = "dkpvid", ""
    timeout = _PATIENCE_SECONDS

    def do_GET(self) -> None:
        """The page, and nothing else."""
        if self._is_welcome(""):
            self._answer(HTTPStatus.OK, self.server.current_page(), "text/html; charset=utf-8")

    def do_POST(self) -> None:
        """The labels, from the page."""
        if not self._is_welcome("save"):
            return None
        if self.headers.get("Content-Type") != "application/json" or not self._is_from_page():
            return self._refuse(HTTPStatus.FORBIDDEN, "labels are taken from the labelling page only")
        length = self.headers.get("Content-Length", "")
        if not length.isascii() or not length.isdigit() or int(length) > MOST_BYTES:
            return self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"at most {MOST_BYTES} bytes are taken")
        try:
            self.server.save(parse_json(self.rfile.read(int(length)).decode("utf-8")))
        except ValueError as error:
            return self._refuse(HTTPStatus.BAD_REQUEST, str(error))
        except OSError as error:
            return self._refuse(HTTPStatus.INTERNAL_SERVER_ERROR, f"cannot be written: {error.strerror}")
        return self._answer(HTTPStatus.OK, json.dumps({"saved": True}).encode(), "application/json")

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: lines of a server are no progress, and the token stays out of logs."""

    def _is_welcome(self, name: str) -> bool:
        """Whether a request names this host, knows the token and asks for `name`; if not, it is answered."""
        # A name from outside may be made to lead here (DNS rebinding); then the host is that name.
        if self.headers.get("Host") != f"{HOST}:{self.server.server_port}":
            self._refuse(HTTPStatus.FORBIDDEN, "unknown host")
            return False
        wanted = f"/{self.server.token}/{name}"
        if not hmac.compare_digest(self.path.encode(), wanted.encode()):
            self._refuse(HTTPStatus.NOT_FOUND, "not here")
            return False
        return True

    def _is_from_page(self) -> bool:
        return self.headers.get("Origin") == self.server.origin

    def _refuse(self, status: HTTPStatus, why: str) -> None:
        # What was not read must not be taken for the next request.
        self.close_connection = True
        self._answer(status, why.encode(), "text/plain; charset=utf-8")

    def _answer(self, status: HTTPStatus, content: bytes, kind: str) -> None:
        self.send_response(status)
        for name, value in (
            ("Content-Type", kind),
            ("Content-Length", str(len(content))),
            ("Cache-Control", "no-store"),
            ("Content-Security-Policy", "frame-ancestors 'none'"),
            ("Cross-Origin-Resource-Policy", "same-origin"),
            ("Referrer-Policy", "same-origin"),
            ("X-Content-Type-Options", "nosniff"),
        ):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)
