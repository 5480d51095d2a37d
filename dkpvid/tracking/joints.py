"""Named joints from keypoints: a linear map, fitted on annotated frames, kept in a small JSON file."""

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy import ndarray

from dkpvid.coordinates import Regions, origin_and_size
from dkpvid.errors import DataError, UsageError
from dkpvid.files import parse_json, write_then_rename
from dkpvid.shapes import Float, Int
from dkpvid.structures import Track

FORMAT = "dkpvid-joints/1"
PENALTIES = tuple(10.0**power for power in range(-6, 2))
"""Ridge penalties to choose from, as multiples of the keypoints' mean variance."""
INNER_FOLDS = 4


LIMBS = (
    *(("nose", "left_eye"), ("nose", "right_eye"), ("left_eye", "right_eye")),
    *(("left_eye", "left_ear"), ("right_eye", "right_ear")),
    *(("left_ear", "left_shoulder"), ("right_ear", "right_shoulder"), ("left_shoulder", "right_shoulder")),
    *(("left_shoulder", "left_elbow"), ("left_elbow", "left_wrist")),
    *(("right_shoulder", "right_elbow"), ("right_elbow", "right_wrist")),
    *(("left_shoulder", "left_hip"), ("right_shoulder", "right_hip"), ("left_hip", "right_hip")),
    *(("left_hip", "left_knee"), ("left_knee", "left_ankle")),
    *(("right_hip", "right_knee"), ("right_knee", "right_ankle")),
)
"""What is joined in a person, by the names of COCO's joints; https://cocodataset.org/#keypoints-2017"""


def plain_name(name: str) -> str:
    """The same for all ways of writing a joint's name: left_wrist, Left Wrist, left-wrist."""
    return re.sub(r"[ -]", "_", name.lower())


def limbs(names: Sequence[str]) -> tuple[tuple[int, int], ...]:
    """The pairs of joints that `LIMBS` joins, however their names are written.

    >>> limbs(["Left Wrist", "nose", "left-elbow"])
    ((2, 0),)
    """
    position = {plain_name(name): number for number, name in enumerate(names)}
    return tuple((position[a], position[b]) for a, b in LIMBS if a in position and b in position)


@dataclass(frozen=True, eq=False)
class JointMap:
    """Each joint's place as a weighted sum of all keypoints' places, plus a constant.

    Both are in shares of the tracked region: 0 at its left and top edge, 1 at its right and bottom edge.
    """

    names: tuple[str, ...]
    """One per joint."""
    model_sha256: str
    """Of the weights that found the keypoints: those of another model mean something else."""
    weights: Float[ndarray, "joint 2 keypoint 2"]
    """`weights[j, c, k, d]`: of keypoint k's coordinate d in joint j's coordinate c."""
    offset: Float[ndarray, "joint 2"]
    residual: Float[ndarray, "joint 3"]
    """(xx, xy, yy) mean squared error on frames that were not fitted, in squared shares of the region; NaN
    where there were none."""
    penalty: float
    """The ridge penalty that was chosen, as a multiple of the keypoints' mean variance."""

    def predict(self, keypoints: Float[ndarray, "frame keypoint 2"]) -> Float[ndarray, "frame joint 2"]:
        """The joints, in shares of the region like the keypoints. A frame that lacks a keypoint gives NaN."""
        joints: ndarray = np.einsum("jckd,tkd->tjc", self.weights, keypoints) + self.offset
        return joints

    def apply(
        self, track: Track, region: Regions
    ) -> tuple[Float[ndarray, "frame joint 2"], Float[ndarray, "frame joint 3"]]:
        """The joints of a track.

        Args:
            track: Made by the model that the map was fitted for, best smoothed by kalman, which fills gaps: a
                frame that lacks a keypoint gives NaN for all joints.
            region: The part of the frame that the model looked at, or each frame's own.

        Returns:
            (x, y) in pixels of the frame, and (xx, xy, yy) covariance in square pixels: what the keypoints'
            covariance becomes under the map, plus how far the map itself was off on frames it was not fitted
            on. Errors of different keypoints are taken for independent.

        Raises:
            UsageError: the track has another number of keypoints.
        """
        if track.num_keypoints != self.weights.shape[2]:
            raise UsageError(
                f"the joints were fitted on {self.weights.shape[2]} keypoints, the track has "
                f"{track.num_keypoints}; use the model they were fitted with"
            )
        xy = from_shares(self.predict(to_shares(track.xy, region)), region)
        # In pixels, a unit of keypoint coordinate d moves joint coordinate c by weights * size[c] / size[d].
        size = np.broadcast_to(origin_and_size(region)[1], (len(track), 1, 2))[:, 0]
        slope = self.weights * (size[:, :, None] / size[:, None])[:, None, :, None]
        xx, between, yy = np.moveaxis(track.covariance, 2, 0)
        # By two small products instead of one over [frame, joint, 2, 2, keypoint, 2].
        spread = np.stack([np.stack([xx, between], axis=-1), np.stack([between, yy], axis=-1)], axis=-2)
        carried = np.einsum("tjckd,tkde,tjfke->tjcf", slope, spread, slope, optimize=True)
        own = self.residual * (size[:, [0, 0, 1]] * size[:, [0, 1, 1]])[:, None]
        covariance = np.stack([carried[..., 0, 0], carried[..., 0, 1], carried[..., 1, 1]], axis=-1) + own
        return xy, covariance

    @property
    def digest(self) -> str:
        """The same for maps that give the same."""
        numbers = np.concatenate([part.ravel() for part in (self.weights, self.offset, self.residual)])
        return hashlib.sha256(repr(self.names).encode() + numbers.tobytes()).hexdigest()

    def save(self, path: Path) -> None:
        """Write the JSON file.

        Raises:
            UsageError: it cannot be written.
        """
        content = {
            "format": FORMAT,
            "model_sha256": self.model_sha256,
            "joints": list(self.names),
            "penalty": self.penalty,
            "weights": self.weights.tolist(),
            "offset": self.offset.tolist(),
            # NaN is no JSON: a joint of one video only has no rows that it was not fitted on.
            "residual": [[None if np.isnan(v) else v for v in row] for row in self.residual.tolist()],
        }
        try:
            with write_then_rename(path) as temporary:
                temporary.write_text(json.dumps(content) + "\n", encoding="utf-8")
        except OSError as error:
            raise UsageError(f"{path}: cannot be written ({error.strerror}); give another path") from None


def load_joints(path: Path, model_sha256: str) -> JointMap:
    """Read a map that `JointMap.save` wrote.

    Args:
        path: The JSON file.
        model_sha256: Of the weights it is to be used with.

    Raises:
        DataError: the file cannot be read, or is no such map.
        UsageError: it was fitted with another model.
    """
    try:
        content = parse_json(path.read_text(encoding="utf-8"))
        if content["format"] != FORMAT:
            raise ValueError(f"its format is {content['format']!r}, not {FORMAT!r}")
        joints = JointMap(
            names=tuple(str(name) for name in content["joints"]),
            model_sha256=str(content["model_sha256"]),
            weights=np.array(content["weights"], dtype=float),
            offset=np.array(content["offset"], dtype=float),
            residual=np.array(content["residual"], dtype=float),
            penalty=float(content["penalty"]),
        )
        count = len(joints.names)
        if joints.weights.ndim != 4 or joints.weights.shape != (count, 2, joints.weights.shape[2], 2):
            raise ValueError(f"its weights are {joints.weights.shape} for {count} joints")
        if joints.offset.shape != (count, 2) or joints.residual.shape != (count, 3):
            raise ValueError("its arrays do not fit its joints")
    except OSError as error:
        raise DataError(
            f"{path}: {error.strerror or error}; give the file that `dkpvid eval --save-joints` wrote"
        ) from None
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise DataError(f"{path} is no file of joints: {error}") from None
    if joints.model_sha256 != model_sha256:
        raise UsageError(
            f"{path} was fitted with model {joints.model_sha256[:12]}, got {model_sha256[:12]}; fit it again "
            "with `dkpvid eval --save-joints`"
        )
    return joints


def fit_joints(
    keypoints: Float[ndarray, "row keypoint 2"],
    annotated: Float[ndarray, "row joint 2"],
    groups: Int[ndarray, " row"],
    *,
    names: tuple[str, ...],
    model_sha256: str,
    seed: int,
) -> JointMap:
    """Fit by ridge regression, with the penalty that predicts held-out rows best.

    Args:
        keypoints: In shares of the region, 0..1.
        annotated: The joints, likewise; NaN = not annotated. A joint without a row is predicted as NaN.
        groups: Number of each row's video; see `split_folds`.
        names: One per joint.
        model_sha256: Of the weights that found the keypoints.
        seed: Deals the videos out.

    Raises:
        DataError: fewer than two rows.
    """
    if len(keypoints) < 2:
        raise DataError(
            f"{len(keypoints)} annotated frame(s) to fit joints on, which takes 2, or better some 20; "
            "annotate more"
        )
    x, y = keypoints.reshape(len(keypoints), -1), annotated
    held_out = np.full((len(PENALTIES), *y.shape), np.nan)
    for test in split_folds(groups, INNER_FOLDS, seed):
        weights, offset = _ridge(x[~test], y[~test], PENALTIES)
        held_out[:, test] = np.einsum("pjcf,tf->ptjc", weights, x[test]) + offset[:, None]
    errors = held_out - y
    distance = np.linalg.norm(errors, axis=3).reshape(len(PENALTIES), -1)
    best = int(np.argmin(_mean(distance, axis=1)))
    weights, offset = _ridge(x, y, PENALTIES[best : best + 1])
    dx, dy = errors[best, ..., 0], errors[best, ..., 1]
    return JointMap(
        names=names,
        model_sha256=model_sha256,
        weights=weights[0].reshape(y.shape[1], 2, -1, 2),
        offset=offset[0],
        residual=np.stack([_mean(product, axis=0) for product in (dx * dx, dx * dy, dy * dy)], axis=1),
        penalty=PENALTIES[best],
    )


def split_folds(groups: Int[ndarray, " row"], folds: int, seed: int) -> list[ndarray]:
    """Deal the rows out to folds, whole groups at a time.

    Where all rows are of one group, they are cut into stretches instead: were single frames dealt out, a map
    could look the answer up in the frame before.

    Returns:
        A mask of the rows of each fold; as many folds as were asked for, or as there are groups.
    """
    labels, number = np.unique(groups, return_inverse=True)
    if len(labels) == 1:
        fold_of_row = np.arange(len(groups)) * folds // len(groups)
    else:
        fold_of_row = np.random.default_rng(seed).permutation(np.arange(len(labels)) % folds)[number]
    return [fold_of_row == fold for fold in np.unique(fold_of_row)]


def to_shares(xy: Float[ndarray, "*batch 2"], region: Regions) -> Float[ndarray, "*batch 2"]:
    """From pixels to shares of the region: 0 and 1 are its edges, half a pixel beyond its outer pixels."""
    origin, size = origin_and_size(region)
    shares: ndarray = (xy - origin + 0.5) / size
    return shares


def from_shares(shares: Float[ndarray, "*batch 2"], region: Regions) -> Float[ndarray, "*batch 2"]:
    """The inverse of `to_shares`."""
    origin, size = origin_and_size(region)
    xy: ndarray = shares * size - 0.5 + origin
    return xy


def _ridge(
    x: Float[ndarray, "row feature"], y: Float[ndarray, "row joint 2"], penalties: tuple[float, ...]
) -> tuple[Float[ndarray, "penalty joint 2 feature"], Float[ndarray, "penalty joint 2"]]:
    """Weights and offset for every penalty; each joint is fitted on the rows that have it."""
    num_features, num_joints = x.shape[1], y.shape[1]
    weights = np.full((len(penalties), num_joints, 2, num_features), np.nan)
    offset = np.full((len(penalties), num_joints, 2), np.nan)
    for joint in range(num_joints):
        known = ~np.isnan(y[:, joint]).any(axis=1)
        if not known.any():
            continue
        x_mean, y_mean = x[known].mean(axis=0), y[known, joint].mean(axis=0)
        centred = x[known] - x_mean
        normal = centred.T @ centred
        # The mean is not penalised, and the floor keeps a model whose keypoints never move solvable.
        scale = max(np.trace(normal) / num_features, 1e-12)
        damped = normal + scale * np.array(penalties)[:, None, None] * np.eye(num_features)
        solved = np.linalg.solve(damped, centred.T @ (y[known, joint] - y_mean))
        weights[:, joint] = solved.transpose(0, 2, 1)
        offset[:, joint] = y_mean - weights[:, joint] @ x_mean
    return weights, offset


def _mean(values: ndarray, axis: int) -> ndarray:
    """Mean without NaN; NaN, and no warning, where there is nothing else."""
    known = ~np.isnan(values)
    count = known.sum(axis=axis)
    total = np.where(known, values, 0.0).sum(axis=axis)
    mean: ndarray = np.where(count > 0, total / np.maximum(count, 1), np.nan)
    return mean
