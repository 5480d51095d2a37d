"""The published schema and the records."""

import copy
import json
import math
from dataclasses import replace
from fractions import Fraction
from typing import Any

import jsonschema
import numpy as np
import pytest

from dkpvid.config import ModelConfig, SmoothingConfig
from dkpvid.config_json import to_dict
from dkpvid.coordinates import Region
from dkpvid.formats.schema import (
    TrackHeader,
    end_record,
    frame_records,
    header_record,
    json_schema,
    to_json,
)
from dkpvid.structures import LostPacket, Track, VideoInfo

LOST = (LostPacket(packet=12, time_seconds=0.4, reason="invalid data"), LostPacket(13, None, "cut"))


def make_header(num_keypoints: int = 3, smoothing: str = "kalman") -> TrackHeader:
    return TrackHeader(
        source=VideoInfo(
            path="clips/tai chi 太極.mp4",
            width=1280,
            height=720,
            codec="h264",
            time_base=Fraction(1, 90000),
            average_fps=30000 / 1001,
            num_frames_estimate=None,
            rotation_degrees=90,
            is_mirrored=True,
            sample_aspect_ratio=Fraction(4, 3),
        ),
        model_name="taichi-rgb",
        model_sha256="0123456789abcdef" * 4,
        model_config=to_dict(ModelConfig(num_keypoints=num_keypoints)),
        keypoints=tuple(f"k{i:02d}" for i in range(num_keypoints)),
        skeleton=((0, 1, 0.75), (1, 2, 0.125)),
        smoothing=SmoothingConfig(method=smoothing),
        region=Region(280, 0, 720, 720),
    )


def make_track(rng: np.random.Generator, num_frames: int = 5, num_keypoints: int = 3) -> Track:
    """A track with a missing keypoint, a missing frame and a remark, where it is long enough."""
    xy = rng.uniform(0, 700, (num_frames, num_keypoints, 2))
    raw = xy + rng.normal(0, 1, xy.shape)
    covariance = rng.uniform(0, 20, (num_frames, num_keypoints, 3))
    confidence = rng.uniform(0, 1, (num_frames, num_keypoints))
    xy[1:2, 1] = np.nan
    xy[3:4] = raw[3:4] = covariance[3:4] = np.nan
    confidence[3:4] = 0
    return Track(
        index=np.arange(num_frames),
        time_seconds=0.5 + np.arange(num_frames) * 1001 / 30000,
        xy=xy,
        confidence=confidence,
        covariance=covariance,
        raw_xy=raw,
        flags=tuple(("time_estimated",) if i == 2 else () for i in range(num_frames)),
    )


def make_document(track: Track, header: TrackHeader) -> dict[str, Any]:
    document = header_record(header) | {
        "frames": list(frame_records(track, header)),
        "lost": end_record(len(track), LOST)["lost"],
    }
    del document["type"]
    return document


def validator(definition: str | None = None) -> jsonschema.Draft202012Validator:
    schema = json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    if definition:
        schema = {"$ref": f"#/$defs/{definition}", "$defs": schema["$defs"]}
    return jsonschema.Draft202012Validator(schema)


def assert_same_track(actual: Track, expected: Track) -> None:
    """Equal up to the rounding in the file."""
    np.testing.assert_array_equal(actual.index, expected.index)
    np.testing.assert_allclose(actual.time_seconds, expected.time_seconds, rtol=0, atol=0.5001e-6)
    np.testing.assert_allclose(actual.xy, expected.xy, rtol=0, atol=0.005001)
    np.testing.assert_allclose(actual.confidence, expected.confidence, rtol=0, atol=0.5001e-4)
    np.testing.assert_allclose(actual.covariance, expected.covariance, rtol=0, atol=0.5001e-3)
    assert (actual.raw_xy is None) == (expected.raw_xy is None)
    if actual.raw_xy is not None and expected.raw_xy is not None:
        np.testing.assert_allclose(actual.raw_xy, expected.raw_xy, rtol=0, atol=0.005001)
    assert actual.flags == expected.flags


def test_header_record_is_what_is_documented() -> None:
    record = header_record(make_header())
    assert list(record) == [
        "type", "schema", "created_by", "source", "region", "model", "keypoints", "skeleton", "smoothing",
    ]  # fmt: skip
    assert record["type"] == "header"
    assert record["schema"] == "dkpvid/1"
    assert record["source"] == {
        "path": "clips/tai chi 太極.mp4",
        "width": 1280,
        "height": 720,
        "rotation": 90,
        "mirrored": True,
        "sar": "4:3",
        "codec": "h264",
        "average_fps": 30000 / 1001,
        "time_base": "1/90000",
        "coordinates": "pixels of the upright frame, x right, y down, centre of the top-left pixel = (0, 0)",
    }
    assert record["region"] == {"x": 280, "y": 0, "width": 720, "height": 720}
    assert record["model"]["name"] == "taichi-rgb"
    assert record["model"]["config"]["num_keypoints"] == 3
    assert record["keypoints"] == ["k00", "k01", "k02"]
    assert record["skeleton"] == [[0, 1, 0.75], [1, 2, 0.125]]
    assert record["smoothing"] == {"method": "kalman", "strength": 1.0}


def test_frame_record_values_and_rounding() -> None:
    track = Track(
        index=np.array([7]),
        time_seconds=np.array([7 * 1001 / 30000]),
        xy=np.array([[[1.23456, -0.001], [np.nan, 5.0], [0.1, 99.999]]], dtype=np.float32),
        confidence=np.array([[0.123456, 0.5, np.nan]]),
        covariance=np.array([[[1.23456, -0.2, 3], [np.nan] * 3, [4, 5, np.inf]]]),
        raw_xy=np.array([[[1.5, 2.5], [np.nan] * 2, [3, 4]]]),
        flags=(("corrupt",),),
    )
    [record] = frame_records(track, make_header())
    assert record == {
        "type": "frame",
        "frame": 7,
        "time": 0.233567,
        "keypoints": [
            {"name": "k00", "x": 1.23, "y": 0.0, "confidence": 0.1235},
            {"name": "k01", "x": None, "y": None, "confidence": 0.5},
            {"name": "k02", "x": 0.1, "y": 100.0, "confidence": 0.0},
        ],
        "raw": [[1.5, 2.5], None, [3.0, 4.0]],
        "covariance": [[1.235, -0.2, 3.0], None, None],
        "flags": ["corrupt"],
    }
    assert math.copysign(1, record["keypoints"][0]["y"]) == 1, "-0.0 must not be written"
    assert '"x":0.1,' in to_json(record)


def test_a_frame_without_keypoints_is_null(rng: np.random.Generator) -> None:
    records = list(frame_records(make_track(rng), make_header()))
    assert records[3]["keypoints"] is None
    assert records[3]["raw"] is None
    assert records[3]["covariance"] is None
    assert all(record["keypoints"] is not None for record in records[:3])
    assert [("flags" in record) for record in records] == [False, False, True, False, False]


@pytest.mark.parametrize("smoothing", ["none", "kalman"])
def test_raw_is_written_only_when_it_differs(rng: np.random.Generator, smoothing: str) -> None:
    [record, *_] = frame_records(make_track(rng), make_header(smoothing=smoothing))
    assert ("raw" in record) == (smoothing == "kalman")


def test_a_moving_region_is_in_every_frame(rng: np.random.Generator) -> None:
    header = replace(make_header(), region=None, region_moves=True)
    regions = np.array([[3 * t, -t, 90, 90] for t in range(5)])
    document = make_document(replace(make_track(rng), region=regions), header)
    validator().validate(document)
    assert (document["region"], document["region_moves"]) == (None, True)
    assert [frame["region"] for frame in document["frames"]] == regions.tolist()
    fixed = make_document(make_track(rng), make_header())
    assert "region_moves" not in fixed
    assert all("region" not in frame for frame in fixed["frames"])


def test_long_tracks_keep_every_frame_in_order(rng: np.random.Generator) -> None:
    track = make_track(rng, num_frames=1000)
    assert [record["frame"] for record in frame_records(track, make_header())] == list(range(1000))


@pytest.mark.parametrize("num_frames", [0, 1, 5])
@pytest.mark.parametrize("smoothing", ["none", "kalman"])
def test_everything_written_is_valid(rng: np.random.Generator, num_frames: int, smoothing: str) -> None:
    track, header = make_track(rng, num_frames), make_header(smoothing=smoothing)
    validator().validate(make_document(track, header))
    for definition in ("header", "line"):
        validator(definition).validate(header_record(header))
    for record in frame_records(track, header):
        validator("frame").validate(record)
        validator("line").validate(record)
    for definition in ("end", "line"):
        validator(definition).validate(end_record(num_frames, LOST))


def test_all_missing_and_no_remarks_is_valid() -> None:
    nothing = np.full((4, 3, 3), np.nan)
    track = Track(np.arange(4), np.arange(4) / 25, nothing[..., :2], nothing[..., 0], nothing)
    document = make_document(track, make_header())
    validator().validate(document)
    assert {json.dumps(frame["keypoints"]) for frame in document["frames"]} == {"null"}


@pytest.mark.parametrize(
    ("where", "value"),
    [
        (("schema",), "dkpvid/2"),
        (("source", "width"), 0),
        (("source", "rotation"), 45),
        (("source", "time_base"), 1 / 90000),
        (("source", "sar"), "4/3"),
        (("model", "sha256"), "abc"),
        (("keypoints",), ["a", "a", "b"]),
        (("skeleton", 0), [0, 1]),
        (("skeleton", 0), [0, 1, 0.5, 2]),
        (("smoothing", "method"), "gauss"),
        (("frames",), None),
        (("frames", 0, "type"), "end"),
        (("frames", 0, "frame"), -1),
        (("frames", 0, "time"), "0:00"),
        (("frames", 0, "keypoints", 0, "confidence"), 1.5),
        (("frames", 0, "keypoints", 0, "x"), None),
        (("frames", 0, "keypoints", 0), [1, 2, 0.5]),
        (("frames", 0, "raw", 0), [1]),
        (("frames", 0, "covariance", 0), [1, 2]),
        (("frames", 0, "flags"), []),
        (("lost", 0, "reason"), None),
    ],
)
def test_wrong_documents_are_refused(
    rng: np.random.Generator, where: tuple[str | int, ...], value: object
) -> None:
    document: Any = copy.deepcopy(make_document(make_track(rng), make_header()))
    *parents, last = where
    part = document
    for name in parents:
        part = part[name]
    part[last] = value
    assert not validator().is_valid(document)


@pytest.mark.parametrize("name", ["schema", "source", "model", "keypoints", "skeleton", "frames", "lost"])
def test_missing_members_are_refused(rng: np.random.Generator, name: str) -> None:
    document = make_document(make_track(rng), make_header())
    del document[name]
    assert not validator().is_valid(document)


def test_a_skeleton_must_name_keypoints() -> None:
    header = make_header()
    with pytest.raises(ValueError, match=r"skeleton edge \(0, 3\) needs keypoints 0 to 2"):
        TrackHeader(
            header.source, "m", header.model_sha256, {}, header.keypoints, ((0, 3, 1.0),), header.smoothing
        )
