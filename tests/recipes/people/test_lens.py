"""recipes/people/pictures/lens.py: exposure and tones."""

import numpy as np

from recipes.people.pictures.lens import Lens

PERSON = np.zeros((48, 48), bool)
PERSON[12:36, 18:30] = True


def take(seed: int, light: float, darkest: float = 0.12) -> np.ndarray:
    front = np.where(PERSON, light, 0.0)[..., None] * np.ones(3)
    behind = np.where(PERSON, 0.0, 1.0)[..., None] * np.ones(3)
    return Lens(np.random.default_rng(seed), 48, darkest).take(behind, front, PERSON)


def test_pictures_are_in_range_and_seeded() -> None:
    for seed in range(8):
        picture = take(seed, 0.8)
        assert picture.shape == (48, 48, 3)
        assert picture.min() >= 0
        assert picture.max() <= 1
        np.testing.assert_array_equal(picture, take(seed, 0.8))


def test_a_person_in_the_shade_is_lit_unless_the_dark_is_wanted() -> None:
    lit = np.mean([take(seed, 0.02, 0.12)[PERSON].mean() for seed in range(8)])
    dark = np.mean([take(seed, 0.02, 0.001)[PERSON].mean() for seed in range(8)])
    assert lit > dark + 0.02


def test_exposure_is_that_of_the_first_picture() -> None:
    lens = Lens(np.random.default_rng(1), 48, 0.1)
    nothing = np.zeros((48, 48, 3))
    first = lens.take(nothing + 1, nothing, PERSON).mean()
    assert lens.take(nothing + 0.25, nothing, PERSON).mean() < 0.8 * first
