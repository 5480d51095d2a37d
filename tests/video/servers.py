"""Small servers on this machine, each in a thread: what cameras and downloads look like from afar."""

import functools
import http.server
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

HOST = "127.0.0.1"


@contextmanager
def listening(serve: Callable[[socket.socket], None]) -> Iterator[int]:
    """Call `serve` with a listening socket in a thread; gives its port."""
    with socket.create_server((HOST, 0)) as listener:

        def work() -> None:
            # The end of a test closes the socket, and the program may hang up at any time.
            with suppress(OSError):
                serve(listener)

        threading.Thread(target=work, daemon=True).start()
        yield listener.getsockname()[1]


@contextmanager
def tcp_stream(*parts: bytes, stalls: bool = False) -> Iterator[str]:
    """A URL that gives one part a connection; after the last it falls silent, or refuses further calls."""
    done = threading.Event()

    def serve(listener: socket.socket) -> None:
        for number, part in enumerate(parts, start=1):
            connection, _ = listener.accept()
            with connection:
                if number == len(parts):
                    listener.close()
                connection.sendall(part)
                if stalls and number == len(parts):
                    done.wait(60)

    with listening(serve) as port:
        yield f"tcp://{HOST}:{port}"
        done.set()


@contextmanager
def http_folder(folder: Path) -> Iterator[str]:
    """The URL of a folder; like many servers, this one knows no ranges of bytes."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *arguments: object) -> None:
            pass

    handler = functools.partial(Handler, directory=str(folder))
    with http.server.ThreadingHTTPServer((HOST, 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://{HOST}:{server.server_port}"
        server.shutdown()
        thread.join()


@contextmanager
def rtsp_camera(*parts: bytes) -> Iterator[str]:
    """The URL of a camera that plays a transport stream over RTSP, one part a session, then refuses calls."""

    def serve(listener: socket.socket) -> None:
        for number, part in enumerate(parts, start=1):
            connection, _ = listener.accept()
            if number == len(parts):
                listener.close()
            with connection, suppress(OSError):
                _rtsp_session(connection, part)

    with listening(serve) as port:
        yield f"rtsp://me:secret@{HOST}:{port}/door"


def _rtsp_session(connection: socket.socket, transport_stream: bytes) -> None:
    """Answer until asked to play, then send everything over the same connection (RFC 2326, RFC 2250)."""
    description = (
        "v=0\r\no=- 0 0 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\nm=video 0 RTP/AVP 33\r\na=control:track\r\n"
    )
    method = ""
    requests = connection.makefile("rb")
    while method != "PLAY":
        lines = []
        while (line := requests.readline().decode().strip()) or not lines:
            if not line and not lines:
                return
            lines.append(line)
        method = lines[0].split()[0]
        sequence = next(line for line in lines if line.startswith("CSeq"))
        answer = ["RTSP/1.0 200 OK", sequence, "Session: 1"]
        body = ""
        if method == "DESCRIBE":
            body = description
            answer += ["Content-Type: application/sdp", f"Content-Length: {len(body)}"]
        if method == "SETUP":
            answer += ["Transport: RTP/AVP/TCP;unicast;interleaved=0-1"]
        connection.sendall(("\r\n".join(answer) + "\r\n\r\n" + body).encode())
    size = 7 * 188
    for number, start in enumerate(range(0, len(transport_stream), size)):
        payload = transport_stream[start : start + size]
        packet = struct.pack(">BBHII", 0x80, 33, number & 0xFFFF, number * 90, 1) + payload
        connection.sendall(b"$\0" + struct.pack(">H", len(packet)) + packet)
