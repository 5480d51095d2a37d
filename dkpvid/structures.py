"""The values that travel between modules: small, frozen, and checked when they are made."""

from dataclasses import dataclass, fields, replace
from fractions import Fraction
from typing import Protocol, runtime_checkable

import numpy as np
from numpy import ndarray

from dkpvid.coordinates import Region
from dkpvid.shapes import Float, Int, UInt8

TIME_ESTIMATED = "time_estimated"
"""Flag of a frame to which the file gives no time, or a wrong one."""
CLOCK_JUMP = "clock_jump"
"""Flag of the first frame after the file's clock started anew: how long after the one before is unknown."""

RELOCATED = "relocated"
"""Flag of the first frame after the window that follows the subject went elsewhere, as after a cut."""

CORRUPT = "corrupt"
"""Flag of a frame in which the decoder filled in what is damaged."""


@dataclass(frozen=True)
class VideoInfo:
    """What is known about a video before its frames are decoded."""

    path: str
    """The input as the user gave it."""
    width: int
    """Columns of the upright (rotated, mirrored as displayed) frame."""
    height: int
    """Rows of the upright frame."""
    codec: str
    time_base: Fraction
    """Seconds per tick of the stream's own clock; every frame time is a multiple of it."""
    average_fps: float | None
    """Average frames per second by the header; None when it says nothing. Never used for frame times."""
    num_frames_estimate: int | None
    """Frames by the header: good for a progress bar, often wrong."""
    start_seconds: float | None = None
    """Presentation time of the stream's start by the header."""
    rotation_degrees: int = 0
    """Counter-clockwise rotation that was applied to make the frame upright: 0, 90, 180 or 270."""
    is_mirrored: bool = False
    """True when a left-right mirroring was applied (after the rotation)."""
    sample_aspect_ratio: Fraction = Fraction(1)
    """Width of a stored pixel over its height. Coordinates stay in stored pixels."""
    has_audio: bool = False
    hdr: str | None = None
    """pq or hlg: values for high dynamic range. They are taken as they are; no tone map is applied."""
    is_interlaced: bool = False
    """True when odd and even rows of the first picture were taken at different times."""
    is_deinterlaced: bool = False
    """True when interlaced pictures were made whole."""

    has_no_times: bool = False
    """True when the file tells neither times nor a rate; then 25 frames a second are assumed."""

    grey_bits: int | None = None
    """Bits that the values of 16-bit grey pictures take, where that is less than 16: they are scaled up."""

    can_reopen: bool = True
    """False for what comes once: standard input, cameras and live streams."""

    @property
    def remarks(self) -> tuple[str, ...]:
        """Sentences for the user about what may spoil the result."""
        remarks = []
        if self.hdr:
            name = self.hdr.upper()
            remarks.append(f"high dynamic range ({name}) taken without a tone map: contrast is flat")
        if self.is_interlaced and not self.is_deinterlaced:
            remarks.append("interlaced pictures, so what moves has combs; --deinterlace makes them whole")
        if self.has_no_times:
            remarks.append("no times and no frame rate in it, 25 frames a second assumed; give --fps")
        if self.grey_bits:
            remarks.append(f"16-bit pictures with values of {self.grey_bits} bits only, scaled to full range")
        return tuple(remarks)


@runtime_checkable
class Picture(Protocol):
    """A decoded picture in the codec's own format, which becomes RGB when somebody looks at it."""

    width: int
    height: int
    """Of the upright picture, in pixels."""

    def rgb(self) -> UInt8[ndarray, "height width 3"]:
        """All of it, upright, 0..255."""

    def reduced(self, side: int) -> UInt8[ndarray, "height width 3"]:
        """All of it, upright, squeezed to side x side pixels; as it is where it is not larger than that."""


@dataclass(frozen=True, eq=False)
class Frame:
    """One upright video frame."""

    picture: UInt8[ndarray, "height width 3"] | Picture
    """RGB, 0..255; or what it can be made from, which takes half the memory and is often enough."""
    index: int
    """Position among the decoded frames, from 0, without gaps."""
    time_seconds: float
    """Presentation time."""
    flags: tuple[str, ...] = ()
    """Remarks: `TIME_ESTIMATED`, `CLOCK_JUMP`, `CORRUPT`, `RELOCATED`, `resized` (to the size of the first),
    `reconnected` (the first after a live stream was lost)."""
    region: Region | None = None
    """The part to look at, which may reach beyond the frame; None = nobody chose one."""

    @property
    def image(self) -> UInt8[ndarray, "height width 3"]:
        """RGB, 0..255; made anew each time unless the frame holds it."""
        return self.picture if isinstance(self.picture, ndarray) else self.picture.rgb()

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        if isinstance(self.picture, ndarray):
            return self.picture.shape[1], self.picture.shape[0]
        return self.picture.width, self.picture.height

    def reduced(self, side: int) -> UInt8[ndarray, "height width 3"]:
        """The whole frame in RGB, squeezed to side x side pixels where that saves work; else as it is."""
        return self.picture if isinstance(self.picture, ndarray) else self.picture.reduced(side)


@dataclass(frozen=True)
class LostPacket:
    """A stretch of the file that could not be decoded."""

    packet: int
    """Position among the stream's packets, from 0."""
    time_seconds: float | None
    """Its presentation time, when the packet still told one."""
    reason: str


@dataclass(frozen=True, eq=False)
class Track:
    """Keypoints over time; the arrays share their first axes.

    Coordinates are (x, y) in pixels of the upright frame, x right, y down, the centre of the top-left
    pixel is (0, 0). NaN = not observed.
    """

    index: Int[ndarray, " frame"]
    """Positions among the video's decoded frames, from 0."""
    time_seconds: Float[ndarray, " frame"]
    """Presentation times, not necessarily evenly spaced."""
    xy: Float[ndarray, "frame keypoint 2"]
    confidence: Float[ndarray, "frame keypoint"]
    """0..1; see `dkpvid.tracking.detect.confidence_from_covariance`."""
    covariance: Float[ndarray, "frame keypoint 3"]
    """(xx, xy, yy) of the error in square pixels: the detection's, or the Kalman smoother's estimate's."""
    raw_xy: Float[ndarray, "frame keypoint 2"] | None = None
    """The detections that `xy` was smoothed from; None before smoothing."""
    flags: tuple[tuple[str, ...], ...] = ()
    """Per frame; empty when no frame has a remark."""
    joints: "Track | None" = None
    """Named joints for the same frames: computed from the keypoints, or found by a model that was taught
    them; None when there are none."""
    region: Int[ndarray, "frame 4"] | None = None
    """(x, y, width, height) of the window that was looked at, in pixels, which may reach beyond the frame;
    None when it did not move."""

    def __post_init__(self) -> None:
        frames = len(self.time_seconds)
        keypoints = self.xy.shape[1]
        expected: dict[str, tuple[int, ...]] = {
            "index": (frames,),
            "xy": (frames, keypoints, 2),
            "confidence": (frames, keypoints),
            "covariance": (frames, keypoints, 3),
        }
        if self.raw_xy is not None:
            expected["raw_xy"] = (frames, keypoints, 2)
        if self.region is not None:
            expected["region"] = (frames, 4)
        for name, shape in expected.items():
            if getattr(self, name).shape != shape:
                raise ValueError(f"{name} must be {shape}, got {getattr(self, name).shape}")
        if self.joints is not None and len(self.joints) != frames:
            raise ValueError(f"joints must have {frames} frames, got {len(self.joints)}")
        if self.flags and len(self.flags) != frames:
            raise ValueError(f"flags must be empty or one entry a frame ({frames}), got {len(self.flags)}")

    def __len__(self) -> int:
        return len(self.time_seconds)

    @property
    def num_keypoints(self) -> int:
        """Number of keypoints per frame."""
        return int(self.xy.shape[1])

    def __getitem__(self, frames: slice) -> "Track":
        """A part of the track, as views."""
        return replace(
            self,
            **{f.name: value[frames] for f in fields(self) if (value := getattr(self, f.name)) is not None},
        )

    def some(self, keypoints: slice) -> "Track":
        """All frames with some of the keypoints, as views."""
        return replace(
            self,
            xy=self.xy[:, keypoints],
            confidence=self.confidence[:, keypoints],
            covariance=self.covariance[:, keypoints],
            raw_xy=None if self.raw_xy is None else self.raw_xy[:, keypoints],
        )

    @classmethod
    def concatenate(cls, parts: "list[Track]") -> "Track":
        """Join consecutive parts in time; all must have the same keypoints.

        Raises:
            ValueError: there are no parts.
        """
        if not parts:
            raise ValueError("concatenate needs at least one part, got none")
        raw = [part.raw_xy for part in parts if part.raw_xy is not None]
        joints = [part.joints for part in parts if part.joints is not None]
        regions = [part.region for part in parts if part.region is not None]
        has_flags = any(part.flags for part in parts)
        return cls(
            index=np.concatenate([part.index for part in parts]),
            time_seconds=np.concatenate([part.time_seconds for part in parts]),
            xy=np.concatenate([part.xy for part in parts]),
            confidence=np.concatenate([part.confidence for part in parts]),
            covariance=np.concatenate([part.covariance for part in parts]),
            raw_xy=np.concatenate(raw) if len(raw) == len(parts) else None,
            joints=cls.concatenate(joints) if len(joints) == len(parts) else None,
            region=np.concatenate(regions) if len(regions) == len(parts) else None,
            flags=tuple(flag for part in parts for flag in (part.flags or ((),) * len(part)))
            if has_flags
            else (),
        )
