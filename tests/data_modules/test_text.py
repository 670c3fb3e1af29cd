import numpy as np
import pytest

from data_modules.text import caption, force_by_activity, grip_words


@pytest.mark.parametrize(
    ("detail", "stride", "grip", "expected"),
    [
        ("none", 1, 0, ""),
        ("verb", 1, 0, "peel"),
        ("phrase", 1, 0, "peel a potato"),
        ("sentence", 1, 0, "peel a potato slowly"),
        ("sentence", 2, 0, "peel a potato"),
        ("sentence", 3, 1, "peel a potato quickly, holding tightly"),
        ("sentence", 2, -1, "peel a potato, holding gently"),
    ],
)
def test_how_much_is_said(detail: str, stride: int, grip: int, expected: str) -> None:
    assert caption(" Peel a  Potato. ", detail, stride, grip) == expected  # type: ignore[arg-type]


def test_nothing_is_said_of_what_has_no_label() -> None:
    assert caption("", "sentence", 3, 1) == ""


def test_grip_is_judged_within_an_activity() -> None:
    force = np.array([1.0, 1.0, 1.0, 1.0, 5.0, 10.0, 10.0, 2.0, np.nan])
    activity = np.array([0, 0, 0, 0, 0, 1, 1, 1, 1])
    typical = force_by_activity(force, activity)
    assert typical[1][0] == pytest.approx(22 / 3)
    assert grip_words(force, activity, typical).tolist() == [0, 0, 0, 0, 1, 0, 0, -1, 0]
    assert grip_words(np.array([9.0]), np.array([7]), typical).tolist() == [0]
