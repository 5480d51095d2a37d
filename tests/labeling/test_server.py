"""The server takes labels from its page on this machine, and nothing from anybody else."""

import json
import threading
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path

import pytest

from dkpvid.labeling.folder import read_labeling
from dkpvid.labeling.page import write_label_page
from dkpvid.labeling.server import MOST_BYTES, LabelServer
from tests.labeling.making import make_labeling

TABLE = "labeled-data/dots/CollectedData_dkpvid.csv"
CSV = "scorer,dkpvid,dkpvid\nbodyparts,nose,nose\ncoords,x,y\n" + "".join(
    f"labeled-data/dots/img{index:05d}.png,{index}.5,7\n" for index in (0, 10, 20)
)
COCO = json.dumps({"images": [], "annotations": []})
LABELS = {TABLE: CSV, "labels.coco.json": COCO}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[LabelServer]:
    folder = tmp_path / "labels"
    labeling = make_labeling(folder, names=("nose",))
    with LabelServer(folder, labeling, lambda: write_label_page(folder, read_labeling(folder))) as server:
        stop: list[int] = []
        thread = threading.Thread(target=server.serve_until, args=[lambda: bool(stop)])
        thread.start()
        yield server
        stop.append(1)
        thread.join()


def ask(
    server: LabelServer, method: str, path: str, body: object = None, **headers: str
) -> tuple[int, str, dict[str, str]]:
    connection = HTTPConnection("127.0.0.1", server.server_port, timeout=10)
    content = body if isinstance(body, bytes | None) else json.dumps(body).encode()
    connection.request(
        method, path, content, {name.replace("_", "-"): text for name, text in headers.items()}
    )
    answer = connection.getresponse()
    result = answer.status, answer.read().decode(), dict(answer.headers)
    connection.close()
    return result


def save(server: LabelServer, body: object, **changes: str) -> tuple[int, str]:
    headers = {"Content_Type": "application/json", "Origin": server.origin} | changes
    headers = {name: text for name, text in headers.items() if text}
    return ask(server, "POST", f"/{server.token}/save", body, **headers)[:2]


def test_the_page_is_at_the_address_with_the_token(server: LabelServer) -> None:
    assert server.address == f"http://127.0.0.1:{server.server_port}/{server.token}/"
    assert server.server_address[0] == "127.0.0.1" and len(server.token) == 32
    status, page, headers = ask(server, "GET", f"/{server.token}/")
    assert status == 200 and 'id="stage"' in page
    assert headers["Cache-Control"] == "no-store" and headers["X-Content-Type-Options"] == "nosniff"
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "//",
        "/save",
        "/labels.html",
        "/{token}",
        "/{token}/?",
        "/x{token}/",
        "/{token}/frames.json",
        "/{token}/../labels.html",
        "/{token}/%2e%2e/%2e%2e/etc/passwd",
    ],
)
def test_there_is_nothing_else(server: LabelServer, path: str) -> None:
    status, text, _ = ask(server, "GET", path.format(token=server.token))
    assert (status, text) == (404, "not here")


def test_labels_are_written_where_eval_finds_them(server: LabelServer, tmp_path: Path) -> None:
    assert save(server, LABELS) == (200, '{"saved": true}')
    assert (tmp_path / "labels" / TABLE).read_text() == CSV
    assert read_labeling(tmp_path / "labels").joints == (((0.5, 7),), ((10.5, 7),), ((20.5, 7),))
    # Who loads the page again must not go on from labels that are out of date.
    assert "[[10.5, 7.0]]" in ask(server, "GET", f"/{server.token}/")[1]


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"Origin": "https://elsewhere.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": ""}, 403),
        ({"Host": "elsewhere.example"}, 403),
        ({"Host": "localhost"}, 403),
        # What a form of another page can send without being asked.
        ({"Content_Type": "text/plain"}, 403),
        ({"Content_Type": "application/x-www-form-urlencoded"}, 403),
        ({"Content_Length": str(MOST_BYTES + 1)}, 413),
        ({"Content_Length": "-1"}, 413),
    ],
)
def test_requests_from_elsewhere_change_nothing(
    server: LabelServer, tmp_path: Path, changes: dict[str, str], status: int
) -> None:
    assert save(server, LABELS, **changes)[0] == status
    assert not (tmp_path / "labels" / TABLE).exists()


@pytest.mark.parametrize(
    "body",
    [
        {},
        [],
        {**LABELS, "../outside.csv": "x"},
        {**LABELS, "/etc/passwd": "x"},
        {TABLE: CSV},
        {**LABELS, TABLE: ["x"]},
        b"{",
        b"\xff",
        b"[" * 100_000,
    ],
)
def test_only_the_files_of_the_labelling_are_taken(server: LabelServer, tmp_path: Path, body: object) -> None:
    before = sorted(tmp_path.rglob("*"))
    assert save(server, body)[0] == 400
    assert sorted(tmp_path.rglob("*")) == before


def test_without_the_token_nothing_is_written(server: LabelServer, tmp_path: Path) -> None:
    headers = {"Content_Type": "application/json", "Origin": server.origin}
    assert ask(server, "POST", "/save", LABELS, **headers)[0] == 404
    assert ask(server, "POST", f"/{'x' * 32}/save", LABELS, **headers)[0] == 404
    assert ask(server, "PUT", f"/{server.token}/save", LABELS, **headers)[0] == 501
    assert not (tmp_path / "labels" / TABLE).exists()


def test_a_full_or_forbidden_disk_is_told_to_the_page(server: LabelServer, tmp_path: Path) -> None:
    (tmp_path / "labels/labels.coco.json").mkdir()
    status, text = save(server, LABELS)
    assert status == 500 and "cannot be written" in text
