"""The people of the kitchen: size, strength, speed, hands and clothes."""

from dataclasses import dataclass

from data_modules.kitchen.world.names import Side

Colour = tuple[float, float, float]


@dataclass(frozen=True)
class Subject:
    """One person.

    Attributes:
        name: As recordings are named, such as "S03".
        height: Of the body, metres.
        strength: Scales every limit on joint torque, grip and press; 1 is average.
        speed: Scales how fast scripts move; 1 is average.
        tremor: Standard deviation of the hands' trembling, metres.
        handedness: The hand that works; the other one holds.
        skin: Colour of head and hands, RGB in 0..1.
        sleeve: Colour of the forearm's sleeve, RGB in 0..1.
        shirt: Colour of the trunk and the upper arm, RGB in 0..1.
        trousers: Colour of the legs, RGB in 0..1.
        recoloured: Materials that have another colour in this person's kitchen, RGB in 0..1.
    """

    name: str
    height: float
    strength: float
    speed: float
    tremor: float
    handedness: Side
    skin: Colour
    sleeve: Colour
    shirt: Colour
    trousers: Colour
    recoloured: tuple[tuple[str, Colour], ...] = ()


_PALE, _TAN, _BROWN = (0.93, 0.75, 0.65), (0.80, 0.58, 0.44), (0.47, 0.31, 0.23)
_RED, _NAVY, _GREEN, _MUSTARD = (
    (0.72, 0.16, 0.17),
    (0.16, 0.25, 0.52),
    (0.22, 0.47, 0.30),
    (0.85, 0.63, 0.18),
)
_GREY, _JEANS = (0.36, 0.37, 0.40), (0.20, 0.27, 0.40)

SUBJECTS: dict[str, Subject] = {
    subject.name: subject
    for subject in (
        Subject("S00", 1.74, 1.0, 1.0, 0.0008, "right", _PALE, _NAVY, _NAVY, _JEANS),
        Subject("S01", 1.58, 0.8, 1.1, 0.0004, "right", _TAN, _RED, _RED, _GREY),
        Subject("S02", 1.90, 1.25, 0.9, 0.0012, "left", _BROWN, _MUSTARD, _GREY, _JEANS),
        Subject("S03", 1.66, 0.9, 0.85, 0.0012, "left", _TAN, _GREEN, _GREEN, _GREY),
        Subject("S04", 1.82, 1.1, 1.1, 0.0004, "right", _PALE, _RED, _GREY, _JEANS),
        # Held out: a new person, each of whose traits is someone else's above.
        Subject("S05", 1.66, 1.0, 1.0, 0.0008, "left", _BROWN, _NAVY, _NAVY, _GREY),
    )
}
"""Every subject by name. S05 is new as a whole, but each single trait occurs in S00-S04."""
