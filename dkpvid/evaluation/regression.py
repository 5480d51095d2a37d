"""How well annotated joints are told from keypoints: cross-validated ridge regression, and its errors."""

from dataclasses import dataclass

import numpy as np
from numpy import ndarray

from dkpvid.evaluation.annotations import Annotations
from dkpvid.evaluation.joint_metrics import bootstrap_interval, pck
from dkpvid.shapes import Bool, Float
from dkpvid.tracking.joints import JointMap, fit_joints, split_folds

PCK_THRESHOLDS = (1.0, 2.0, 5.0, 10.0, 15.0, 20.0, 30.0)
"""In per cent of the subject's size."""


@dataclass(frozen=True)
class JointScore:
    """Mean error of one joint, or of several together; None where it cannot be told."""

    name: str
    error_px: float | None
    error_percent: float | None
    """Of the subject's size, which a set with a single joint does not tell."""
    interval_percent: tuple[float, float] | None
    """95 % interval of `error_percent`, by bootstrap over videos."""
    count: int
    """Annotated places that were scored."""


@dataclass(frozen=True)
class RegressionScore:
    """What one predictor reaches on rows that it was not fitted on."""

    total: JointScore
    joints: tuple[JointScore, ...]
    groups: tuple[JointScore, ...]
    """All joints together, for each video or folder."""
    pck: tuple[float, ...]
    """Share of the errors below each of `PCK_THRESHOLDS`, 0..1."""


@dataclass(frozen=True, eq=False)
class RegressionScores:
    """One model's keypoints regressed to annotated joints, beside what needs no training."""

    model: str
    sha256: str
    keypoints: RegressionScore
    untrained: RegressionScore
    """The same detector with random weights."""
    mean_pose: RegressionScore
    """The mean of the annotations, whatever the picture."""
    by_name: RegressionScore | None
    """The joints that the model was taught by name, as they are, where the annotations call theirs the same;
    no map is fitted."""
    annotations: Annotations
    predicted: Float[ndarray, "row joint 2"]
    """In pixels, each row by a map that was not fitted on it; NaN for training rows of a given split."""
    joints: JointMap
    """Fitted on all rows, or on the training rows of a given split."""
    rounds: tuple[JointScore, ...] = ()
    """Of labels that came in several rounds of `dkpvid label`: the error on all rows when fitted on those of
    the first round, of the first two, and so on. `count` is how many rows that are."""


def regress(
    keypoints: Float[ndarray, "row keypoint 2"],
    annotations: Annotations,
    size: Float[ndarray, "row 2"],
    *,
    folds: int,
    seed: int,
    usable: Bool[ndarray, " row"] | None = None,
) -> Float[ndarray, "row joint 2"]:
    """Predict each row's joints by a map that was fitted on other videos.

    Args:
        keypoints: In shares of the frame, 0..1.
        annotations: Their own split is used where they have one; else the groups are dealt out to folds.
        size: Width and height of each row's frame in pixels: the map is fitted in shares of it, so that clips
            of different sizes go together.
        folds: How many parts to hold out in turn.
        seed: Deals them out.
        usable: Rows that may be fitted on; None = all. The others are still predicted.

    Returns:
        In pixels; NaN for the training rows of a given split, and where fewer than two rows may be fitted on.
    """
    joints = (annotations.xy + 0.5) / size[:, None]
    predicted = np.full(annotations.xy.shape, np.nan)
    given = annotations.is_test
    for test in split_folds(annotations.groups, folds, seed) if given is None else [given]:
        train = ~test if usable is None else ~test & usable
        if usable is not None and train.sum() < 2:
            continue
        fitted = fit_joints(
            keypoints[train],
            joints[train],
            annotations.groups[train],
            names=annotations.names,
            model_sha256="",
            seed=seed,
        )
        predicted[test] = fitted.predict(keypoints[test]) * size[test, None] - 0.5
    return predicted


def regress_to_mean(
    annotations: Annotations, size: Float[ndarray, "row 2"], *, folds: int, seed: int
) -> Float[ndarray, "row joint 2"]:
    """The baseline that does not look at the picture: the mean place of each joint in the other videos."""
    nothing = np.zeros((len(annotations), 1, 2))
    return regress(nothing, annotations, size, folds=folds, seed=seed)


def score_regression(
    annotations: Annotations, predicted: Float[ndarray, "row joint 2"], seed: int
) -> RegressionScore:
    """Errors of predicted joints, in pixels and in per cent of the subject's size.

    Args:
        annotations: The truth.
        predicted: In pixels; NaN does not count.
        seed: Of the bootstrap.
    """
    error_px = np.linalg.norm(predicted - annotations.xy, axis=2)
    # A single joint spans no body to measure by.
    size = np.where(annotations.body_size > 0, annotations.body_size, np.nan)
    percent = 100 * error_px / size[:, None]

    def score(name: str, rows: ndarray | slice, joints: slice) -> JointScore:
        px, share = error_px[rows, joints], percent[rows, joints]
        known, measured = ~np.isnan(px), ~np.isnan(share)
        if not known.any():
            return JointScore(name, None, None, None, 0)
        mean_px, count = float(px[known].mean()), int(known.sum())
        if not measured.any():
            return JointScore(name, mean_px, None, None, count)
        interval = bootstrap_interval(share, annotations.groups[rows], seed)
        return JointScore(name, mean_px, float(share[measured].mean()), interval, count)

    return RegressionScore(
        total=score("all", slice(None), slice(None)),
        joints=tuple(score(name, slice(None), slice(j, j + 1)) for j, name in enumerate(annotations.names)),
        groups=tuple(
            score(name, annotations.groups == group, slice(None))
            for group, name in enumerate(annotations.group_names)
        ),
        pck=tuple(pck(percent, np.array(PCK_THRESHOLDS))),
    )
