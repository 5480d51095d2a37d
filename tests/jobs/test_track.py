"""Tracking a video in the library: outputs are fed, completed or given up, and it can be stopped."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from jsonschema import Draft202012Validator
from PIL import Image

from dkpvid.checkpoint import load_weights
from dkpvid.config import SmoothingConfig, TrackConfig
from dkpvid.coordinates import Region
from dkpvid.errors import UsageError, VideoError
from dkpvid.formats import JsonDocument
from dkpvid.formats.base import TrackSink
from dkpvid.formats.reading import read_track
from dkpvid.formats.schema import TrackHeader, json_schema
from dkpvid.jobs.track import Tracker, track_video
from dkpvid.structures import LostPacket, Track
from dkpvid.tracking.detect import confidence_from_covariance
from dkpvid.tracking.follow import follow_keypoints
from dkpvid.tracking.joints import JointMap
from dkpvid.tracking.runtimes import OnnxRuntime, TorchRuntime
from dkpvid.tracking.windows import follow
from dkpvid.video.reader import VideoReader
from tests.video.clips import HEIGHT, WIDTH, dot_frame, make_clip

RAW = TrackConfig(device="cpu", batch_size=5, smoothing=SmoothingConfig("none"))


class Sink(TrackSink):
    """Remembers what happened to it."""

    def __init__(self) -> None:
        self.pieces: list[Track] = []
        self.lost: Sequence[LostPacket] | None = None
        self.is_aborted = False

    def write(self, track: Track) -> None:
        self.pieces.append(track)

    def close(self, lost: Sequence[LostPacket]) -> None:
        self.lost = lost

    def abort(self) -> None:
        self.is_aborted = True


class FullDisk(Sink):
    """Takes one piece."""

    def write(self, track: Track) -> None:
        if self.pieces:
            raise OSError(28, "No space left on device")
        super().write(track)


def tracker(weights: Path, config: TrackConfig = RAW) -> Tracker:
    return Tracker(load_weights(weights), config)


def test_sinks_get_the_whole_track_in_pieces(tiny_weights: Path, clip: Path) -> None:
    sinks, seen, headers = [Sink(), Sink()], [], []

    def make_sinks(header: TrackHeader) -> Sequence[TrackSink]:
        headers.append(header)
        return sinks

    tracked = track_video(
        clip, tracker(tiny_weights), make_sinks, on_frame=lambda done, info: seen.append((done, info.width))
    )
    assert seen == [(done, WIDTH) for done in (5, 10, 15, 20, 24)], "once a batch"
    assert headers == [tracked.header]
    assert not tracked.is_stopped
    for sink in sinks:
        assert [len(piece) for piece in sink.pieces] == [5, 5, 5, 5, 4]
        np.testing.assert_array_equal(Track.concatenate(sink.pieces).xy, tracked.track.xy)
        assert sink.lost == ()
    np.testing.assert_array_equal(tracked.track.index, np.arange(24))
    np.testing.assert_allclose(tracked.track.time_seconds, np.arange(24) / 25, rtol=0, atol=1e-9)


def test_of_a_camera_that_runs_for_days_only_the_end_is_kept(tiny_weights: Path, clip: Path) -> None:
    sink = Sink()
    tracked = track_video(clip, tracker(tiny_weights), lambda header: [sink], keep_all=False)
    assert (tracked.num_frames, len(tracked.track)) == (24, 4)
    assert len(Track.concatenate(sink.pieces)) == 24


def test_the_header_tells_model_and_settings(tiny_weights: Path, clip: Path) -> None:
    config = replace(RAW, region=Region(80, -5, 100, 30))
    header = track_video(clip, tracker(tiny_weights, config), lambda header: []).header
    assert header.model_name == "tiny"
    assert header.model_sha256 == load_weights(tiny_weights).sha256
    assert header.model_config["num_keypoints"] == 6
    assert header.keypoints == ("kp0", "kp1", "kp2", "kp3", "kp4", "kp5")
    assert [edge[:2] for edge in header.skeleton] == [(i, j) for i in range(6) for j in range(i + 1, 6)]
    weights = load_weights(tiny_weights).edge_map.weights.tolist()
    assert [edge[2] for edge in header.skeleton] == weights
    assert header.smoothing == SmoothingConfig("none")
    assert header.region == Region(80, 0, 16, 25), "clipped to the frame"


@pytest.mark.parametrize("has_bfloat16", [False, True])
def test_half_is_bfloat16_where_that_is_there(
    tiny_weights: Path, monkeypatch: pytest.MonkeyPatch, has_bfloat16: bool
) -> None:
    monkeypatch.setattr("dkpvid.devices.computes_bfloat16", lambda device: has_bfloat16)
    runtime = tracker(tiny_weights, TrackConfig(device="cpu", half=True)).detector.runtime
    assert isinstance(runtime, TorchRuntime if has_bfloat16 else OnnxRuntime)


def test_a_region_outside_the_frame_is_refused(tiny_weights: Path, clip: Path) -> None:
    config = replace(RAW, region=Region(500, 0, 10, 10))
    sink = Sink()
    with pytest.raises(UsageError, match=r"region 500,0,10,10 lies outside the 96x64 frame"):
        track_video(clip, tracker(tiny_weights, config), lambda header: [sink])
    assert sink.pieces == []


def test_what_is_missing_is_filled_and_rated_by_its_covariance(tiny_weights: Path, clip: Path) -> None:
    strided = replace(RAW, stride=4, smoothing=SmoothingConfig("kalman"))
    filled = track_video(clip, tracker(tiny_weights, strided), lambda header: []).track
    raw = track_video(clip, tracker(tiny_weights), lambda header: []).track
    is_looked_at = filled.index % 4 == 0
    assert np.isfinite(filled.xy).all()
    assert filled.raw_xy is not None
    np.testing.assert_array_equal(np.isnan(filled.raw_xy).any(axis=(1, 2)), ~is_looked_at)
    np.testing.assert_allclose(filled.confidence[is_looked_at], raw.confidence[is_looked_at], atol=1e-5)
    of_estimate = confidence_from_covariance(filled.covariance, Region(0, 0, WIDTH, HEIGHT))
    np.testing.assert_allclose(filled.confidence[~is_looked_at], of_estimate[~is_looked_at])
    assert filled.confidence.min() > 0


@pytest.mark.parametrize("num_frames", [1, 5, 12])
def test_stopped_outputs_are_complete_up_to_there(tiny_weights: Path, clip: Path, num_frames: int) -> None:
    sink, asked = Sink(), iter(range(1000))
    tracked = track_video(
        clip, tracker(tiny_weights), lambda header: [sink], should_stop=lambda: next(asked) >= num_frames
    )
    assert tracked.is_stopped
    assert sink.lost == ()
    assert len(tracked.track) == sum(len(piece) for piece in sink.pieces) == num_frames


def test_stopped_before_the_first_frame(tiny_weights: Path, clip: Path) -> None:
    sink = Sink()
    with pytest.raises(VideoError, match="stopped before its first frame"):
        track_video(clip, tracker(tiny_weights), lambda header: [sink], should_stop=lambda: True)
    assert sink.is_aborted
    assert sink.lost is None


def test_no_frames_in_the_time_that_was_asked_for(tiny_weights: Path, clip: Path) -> None:
    sink = Sink()
    with pytest.raises(VideoError, match=r"no frame between --start and --end"):
        track_video(clip, tracker(tiny_weights, replace(RAW, start_seconds=9.0)), lambda header: [sink])
    assert sink.is_aborted
    assert sink.lost is None


def test_an_error_gives_all_outputs_up(tiny_weights: Path, clip: Path) -> None:
    sinks = [Sink(), FullDisk()]
    with pytest.raises(OSError, match="No space left"):
        track_video(clip, tracker(tiny_weights), lambda header: sinks)
    assert [(sink.is_aborted, sink.lost) for sink in sinks] == [(True, None)] * 2


def test_damage_is_told_to_the_outputs(tiny_weights: Path, tmp_path: Path) -> None:
    for index in range(4):
        Image.fromarray(dot_frame(index)).save(tmp_path / f"{index}.png")
    (tmp_path / "2.png").write_text("no picture")
    sink = Sink()
    tracked = track_video(tmp_path, tracker(tiny_weights), lambda header: [sink])
    assert [part.packet for part in tracked.lost] == [2]
    assert sink.lost == tracked.lost
    np.testing.assert_array_equal(tracked.track.index, [0, 1, 2])
    np.testing.assert_allclose(tracked.track.time_seconds, [0, 0.04, 0.12])


def test_joints_come_next_to_the_keypoints(tmp_path: Path, tiny_weights: Path) -> None:
    """A map that copies two keypoints, with an offset, under names of their own."""
    weights = load_weights(tiny_weights)
    count = weights.config.num_keypoints
    copies = np.zeros((2, 2, count, 2))
    copies[0, 0, 3, 0] = copies[0, 1, 3, 1] = copies[1, 0, 5, 0] = copies[1, 1, 5, 1] = 1
    offset = np.array([[0.0, 0.0], [0.25, 0.0]])
    joints = JointMap(("nose", "tail"), weights.sha256, copies, offset, np.zeros((2, 3)), 0.1)
    clip = tmp_path / "clip.mp4"
    clip.write_bytes(make_clip())
    config = TrackConfig(device="cpu", region=Region(10, 8, 80, 40))
    path = tmp_path / "clip.dkp.json"
    tracked = track_video(clip, Tracker(weights, config, joints), lambda header: [JsonDocument(path, header)])
    track = tracked.track
    assert track.joints is not None and len(track.joints) == len(track)
    np.testing.assert_allclose(track.joints.xy[:, 0], track.xy[:, 3], atol=1e-9)
    np.testing.assert_allclose(track.joints.xy[:, 1], track.xy[:, 5] + [20, 0], atol=1e-9)
    np.testing.assert_allclose(track.joints.covariance[:, 1], track.covariance[:, 5], rtol=1e-9)
    document = json.loads(path.read_text())
    Draft202012Validator(json_schema()).validate(document)
    assert document["joints"] == ["nose", "tail"]
    frame = document["frames"][4]
    assert [joint["name"] for joint in frame["joints"]] == ["nose", "tail"]
    assert frame["joints"][0]["x"] == frame["keypoints"][3]["x"]
    assert frame["joints_covariance"][0] == frame["covariance"][3]


@pytest.mark.parametrize("batch_size", [1, 7, 32])
@pytest.mark.parametrize("region", ["auto", "follow"])
def test_a_window_that_follows_the_dot(
    tmp_path: Path, tiny_weights: Path, clip: Path, batch_size: int, region: Literal["auto", "follow"]
) -> None:
    config = TrackConfig(device="cpu", region=region, batch_size=batch_size)
    path = tmp_path / "clip.dkp.json"
    made = tracker(tiny_weights, config)
    tracked = track_video(clip, made, lambda header: [JsonDocument(path, header)])
    with VideoReader(clip) as reader:
        if region == "auto":
            placed = follow(reader)
        else:
            placed = follow_keypoints(reader, made.detector, made.detector.image_size)
        expected = [frame.region for frame in placed]
    document = json.loads(path.read_text())
    Draft202012Validator(json_schema()).validate(document)
    assert (document["region"], document["region_moves"]) == (None, True)
    found = [Region(*frame["region"]) for frame in document["frames"]]
    assert found == expected
    np.testing.assert_array_equal(read_track(path).track.region, tracked.track.region)
