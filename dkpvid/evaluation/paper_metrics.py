"""The scores of the papers' protocols, as functions of arrays."""

import numpy as np
from numpy import ndarray

from dkpvid.shapes import Bool, Float

HUMAN36M_PAIRS = (
    # (20, 29) would be the mirror pair, but the reference code has 28 here, next to (21, 28). Kept, as the
    # published numbers were made with it.
    *((1, 6), (2, 7), (3, 8), (4, 9), (5, 10), (17, 25), (18, 26), (19, 27), (20, 28)),
    *((21, 28), (22, 30), (23, 31)),
)
"""Left and right landmarks of Human3.6M's 32, as the reference code swaps them."""
MAX_SWAPPING_ROUNDS = 1000
"""Far more than any set needs: fitting and swapping in turn is not proven to end."""
DEEPFASHION_RADIUS_PX = 6.0
"""Of PCK@6px, in 256 x 256 images."""


def human36m_error(
    detected: Float[ndarray, "row keypoint 2"],
    annotated: Float[ndarray, "row 32 2"],
    is_test: Bool[ndarray, " row"],
) -> float:
    """Mean distance of the predicted landmarks, in per cent of the image's side; left may be right.

    Source: He et al. 2022, AutoLink, section 4, and its reference code, after Zhang et al. 2018.

    Args:
        detected: In model space, [-1, 1].
        annotated: In shares of the image's side, 0..1.
        is_test: Which rows are scored; the map is fitted on the others.
    """
    x, y = _features(detected), annotated.astype(float)
    # 1. Fit on the training rows, turn those round that fit better mirrored, and again until few turn.
    train_x, train_y = x[~is_test], y[~is_test]
    distance = np.zeros(len(train_y))
    for _ in range(MAX_SWAPPING_ROUNDS):
        predicted = _predict(
            train_x, _least_squares(train_x, train_y.reshape(len(train_y), -1), penalty=1e-9)
        )
        train_y, distance, num_swapped = _swap_where_closer(predicted, train_y)
        if not num_swapped:
            break
    # 2. Drop the outliers and fit once more.
    is_near = distance < distance.mean() + 3 * distance.std(ddof=1)
    train_x, train_y = train_x[is_near], train_y[is_near]
    predicted = _predict(x[is_test], _least_squares(train_x, train_y.reshape(len(train_y), -1), penalty=1e-9))
    # 3. The test rows may turn round too, against the fixed map.
    test_y, num_swapped = y[is_test], 1
    while num_swapped:
        test_y, distance, num_swapped = _swap_where_closer(predicted, test_y)
    return float(100 * distance.mean())


def deepfashion_pck(
    detected: Float[ndarray, "row keypoint 2"],
    annotated: Float[ndarray, "row joint 2"],
    is_test: Bool[ndarray, " row"],
) -> float:
    """Share of the predicted landmarks within 6 pixels of the annotated ones, 0..1.

    Source: reference code of AutoLink, after Lorenz et al. 2019.

    Args:
        detected: In model space, [-1, 1].
        annotated: In pixels of 256 x 256 images.
        is_test: Which rows are scored; the map is fitted on the others.
    """
    x, y = 255 * _features(detected), annotated.reshape(len(annotated), -1)
    predicted = _predict(x[is_test], _least_squares(x[~is_test], y[~is_test], penalty=1e-3))
    distance = np.linalg.norm(predicted - annotated[is_test], axis=2)
    return float((distance < DEEPFASHION_RADIUS_PX).mean())


def taichi_error(
    detected: Float[ndarray, "row keypoint 2"],
    annotated: Float[ndarray, "row joint 2"],
    is_test: Bool[ndarray, " row"],
) -> float:
    """Sum over all coordinates of all landmarks of their mean absolute error, in pixels.

    Source: reference code of AutoLink, after Siarohin et al. 2021, "Motion-supervised co-part segmentation".

    Args:
        detected: In model space, [-1, 1].
        annotated: In pixels of 256 x 256 images; NaN = missing. Each coordinate is fitted and scored on the
            rows that have it; one without any such row adds nothing.
        is_test: Which rows are scored; the map is fitted on the others.
    """
    x = np.column_stack([255 * _features(detected), np.ones(len(detected))])
    total = 0.0
    for label in annotated.reshape(len(annotated), -1).T:
        train, test = ~is_test & ~np.isnan(label), is_test & ~np.isnan(label)
        if train.any() and test.any():
            beta = _least_squares(x[train], label[train], penalty=1.0)
            total += np.abs(x[test] @ beta - label[test]).mean()
    return float(total)


def _features(detected: Float[ndarray, "row keypoint 2"]) -> Float[ndarray, "row feature"]:
    """The protocols' own scaling: 0..1 between the outermost pixel centres."""
    return detected.reshape(len(detected), -1).astype(float) * 0.5 + 0.5


def _least_squares(x: ndarray, y: ndarray, penalty: float) -> ndarray:
    """Solve by the normal equations, with the penalty only where they are singular.

    The reference code stops there for Human3.6M, and adds 1e-3 (DeepFashion) or 1 (Taichi) for the others.
    """
    normal = x.T @ x
    if np.linalg.matrix_rank(normal, hermitian=True) < len(normal):
        normal += penalty * np.eye(len(normal))
    beta: ndarray = np.linalg.solve(normal, x.T @ y)
    return beta


def _predict(x: ndarray, beta: ndarray) -> Float[ndarray, "row joint 2"]:
    predicted: ndarray = (x @ beta).reshape(len(x), -1, 2)
    return predicted


def _swap_where_closer(
    predicted: Float[ndarray, "row 32 2"], annotated: Float[ndarray, "row 32 2"]
) -> tuple[Float[ndarray, "row 32 2"], Float[ndarray, " row"], int]:
    """Exchange left and right where that is closer.

    Returns:
        The annotation, each row's mean distance before the exchange, and how many rows were exchanged: none
        when it would be 10 or fewer.
    """
    order = list(range(annotated.shape[1]))
    for a, b in HUMAN36M_PAIRS:
        order[a], order[b] = b, a
    swapped = annotated[:, order]
    distance = np.linalg.norm(predicted - annotated, axis=2).mean(axis=1)
    is_closer = np.linalg.norm(predicted - swapped, axis=2).mean(axis=1) < distance
    if is_closer.sum() <= 10:
        return annotated, distance, 0
    return np.where(is_closer[:, None, None], swapped, annotated), distance, int(is_closer.sum())
