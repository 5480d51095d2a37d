"""`eval`: detect on an annotated set, and score what a linear map makes of the keypoints."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import numpy as np
import torch
from numpy import ndarray

from dkpvid.checkpoint import Weights, load_weights
from dkpvid.config import EvalConfig
from dkpvid.coordinates import Region, model_to_pixels
from dkpvid.devices import choose_device
from dkpvid.evaluation.annotations import Annotations
from dkpvid.evaluation.labels import read_annotations
from dkpvid.evaluation.paper_metrics import deepfashion_pck, human36m_error, taichi_error
from dkpvid.evaluation.paper_sets import read_paper_set
from dkpvid.evaluation.pictures import read_rows
from dkpvid.evaluation.regression import (
    JointScore,
    RegressionScores,
    regress,
    regress_to_mean,
    score_regression,
)
from dkpvid.labeling.folder import rounds_of
from dkpvid.models.networks import make_detector
from dkpvid.shapes import Float, Int
from dkpvid.tracking.detect import Detector
from dkpvid.tracking.joints import fit_joints, plain_name, to_shares
from dkpvid.video.resize import to_square

ON_ROW = Callable[[int, int], None]
"""Told how many images were seen, and of how many."""


@dataclass(frozen=True)
class ProtocolScores:
    """One model under one of the papers' protocols."""

    model: str
    sha256: str
    value: float
    """human36m: mean distance, per cent of the image's side. deepfashion: PCK@6px in per cent. taichi: sum of
    the mean absolute errors in pixels."""
    num_train: int
    num_test: int


@dataclass(frozen=True, eq=False)
class Found:
    """What one detector found in all rows."""

    keypoints: Float[ndarray, "row keypoint 2"]
    """In model space, [-1, 1]."""
    joints: Float[ndarray, "row joint 2"]
    """Those that the model was taught by name, likewise."""
    image_size: int
    """Side of the detector's input, in pixels."""
    size: Float[ndarray, "row 2"]
    """Width and height of the rows' own images, in pixels."""

    @property
    def shares(self) -> Float[ndarray, "row keypoint 2"]:
        """The keypoints in shares of the image's sides, whatever its size: 0 and 1 are its edges."""
        return self._shares(self.keypoints)

    @property
    def joint_shares(self) -> Float[ndarray, "row joint 2"]:
        """The joints likewise."""
        return self._shares(self.joints)

    def _shares(self, places: Float[ndarray, "row point 2"]) -> Float[ndarray, "row point 2"]:
        square = Region(0, 0, self.image_size, self.image_size)
        return to_shares(model_to_pixels(places, square, self.image_size), square)


def evaluate_protocol(
    config: EvalConfig, on_row: ON_ROW = lambda done, total: None
) -> tuple[ProtocolScores, ...]:
    """Score every model under one of the papers' protocols.

    Raises:
        DataError: the set's folders are not as its authors laid them out.
        WeightsError: a model cannot be read.
    """
    models = [load_weights(source) for source in config.weights]
    annotations = read_paper_set(config.data, config.protocol, config.with_background)
    is_test = annotations.is_test
    assert is_test is not None  # all of the papers' sets have a split
    score = {
        "human36m": human36m_error,
        "deepfashion": lambda *arrays: 100 * deepfashion_pck(*arrays),
        "taichi": taichi_error,
    }[config.protocol]
    return tuple(
        ProtocolScores(
            model=weights.name,
            sha256=weights.sha256,
            value=score(found.keypoints, annotations.xy, is_test),
            num_train=int((~is_test).sum()),
            num_test=int(is_test.sum()),
        )
        for weights, found in zip(models, detect_rows(annotations, models, config, on_row), strict=True)
    )


def evaluate_regression(
    config: EvalConfig, on_row: ON_ROW = lambda done, total: None
) -> tuple[RegressionScores, ...]:
    """Score every model by ridge regression from its keypoints to annotated joints.

    Raises:
        DataError: the annotations or their pictures cannot be read.
        WeightsError: a model cannot be read.
    """
    models = [load_weights(source) for source in config.weights]
    annotations = read_annotations(config.data, config.videos)
    rounds = rounds_of([source.path for source in annotations.sources], config.data)
    untrained = [random_weights(weights, config.seed) for weights in models]
    found = detect_rows(annotations, [*models, *untrained], config, on_row)
    size = found[0].size
    split: dict[str, Any] = {"folds": config.folds, "seed": config.seed}
    is_fitted = np.ones(len(annotations), bool) if annotations.is_test is None else ~annotations.is_test
    mean_pose = regress_to_mean(annotations, size, **split)
    results = []
    for weights, trained, random in zip(models, found, found[len(models) :], strict=False):
        predicted = regress(trained.shares, annotations, size, **split)
        named = found_by_name(weights.config.joints, trained, annotations)
        baseline = regress(random.shares, annotations, size, **split)
        joints = fit_joints(
            trained.shares[is_fitted],
            ((annotations.xy + 0.5) / size[:, None])[is_fitted],
            annotations.groups[is_fitted],
            names=annotations.names,
            model_sha256=weights.sha256,
            seed=config.seed,
        )
        results.append(
            RegressionScores(
                model=weights.name,
                sha256=weights.sha256,
                keypoints=score_regression(annotations, predicted, config.seed),
                untrained=score_regression(annotations, baseline, config.seed),
                mean_pose=score_regression(annotations, mean_pose, config.seed),
                by_name=None if named is None else score_regression(annotations, named, config.seed),
                annotations=annotations,
                predicted=predicted,
                joints=joints,
                rounds=_score_rounds(trained.shares, annotations, size, config, rounds),
            )
        )
    return tuple(results)


def _score_rounds(
    keypoints: Float[ndarray, "row keypoint 2"],
    annotations: Annotations,
    size: Float[ndarray, "row 2"],
    config: EvalConfig,
    rounds: Int[ndarray, " row"],
) -> tuple[JointScore, ...]:
    """What each round of labels gained, all measured on the same rows; nothing where there was one round."""
    scores = []
    for last in sorted(set(rounds.tolist())) if len(set(rounds.tolist())) > 1 else ():
        usable = rounds <= last
        predicted = regress(keypoints, annotations, size, folds=config.folds, seed=config.seed, usable=usable)
        total = score_regression(annotations, predicted, config.seed).total
        scores.append(replace(total, name=f"round {last}", count=int(usable.sum())))
    return tuple(scores)


def found_by_name(
    names: tuple[str, ...], found: Found, annotations: Annotations
) -> Float[ndarray, "row joint 2"] | None:
    """The joints that a model was taught, where the annotations call theirs the same.

    Returns:
        In pixels; NaN for the others, and for the training rows of a given split. None where no name is the
        same.
    """
    position = {plain_name(name): number for number, name in enumerate(names)}
    common = [j for j, name in enumerate(annotations.names) if plain_name(name) in position]
    if not common:
        return None
    theirs = [position[plain_name(annotations.names[j])] for j in common]
    predicted = np.full(annotations.xy.shape, np.nan)
    predicted[:, common] = found.joint_shares[:, theirs] * found.size[:, None] - 0.5
    if annotations.is_test is not None:
        predicted[~annotations.is_test] = np.nan
    return predicted


def random_weights(weights: Weights, seed: int) -> Weights:
    """A detector of the same size that has learned nothing."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        detector = make_detector(weights.config).eval()
    return Weights("untrained", "", weights.config, detector, weights.edge_map)


def detect_rows(
    annotations: Annotations, models: list[Weights], config: EvalConfig, on_row: ON_ROW
) -> list[Found]:
    """What each model finds in the annotated images, which are read once for all of them."""
    device = choose_device(config.device)
    detectors = [Detector(weights, device, with_joints=True) for weights in models]
    num_keypoints = [weights.config.num_keypoints for weights in models]
    size = np.zeros((len(annotations), 2))
    points = [np.zeros((len(annotations), detector.num_points, 2)) for detector in detectors]
    images = read_rows(annotations.sources)
    done = 0
    while batch := list(islice(images, config.batch_size)):
        rows = [row for row, _ in batch]
        size[rows] = [(image.shape[1], image.shape[0]) for _, image in batch]
        sides = {detector.image_size for detector in detectors}
        squares = {side: np.stack([to_square(image, side) for _, image in batch]) for side in sides}
        for detector, places in zip(detectors, points, strict=True):
            places[rows], _ = detector(squares[detector.image_size])
        done += len(batch)
        on_row(done, len(annotations))
    return [
        Found(places[:, :count], places[:, count:], detector.image_size, size)
        for places, detector, count in zip(points, detectors, num_keypoints, strict=True)
    ]
