"""The ten species as data: the parts of a floret, its colours, and how the plant grows."""
from typing import NamedTuple, Sequence

from .geometry import Dots, Petals, Range


class Species(NamedTuple):
    """One species. A colour names a part and its base, tip and eye colours; commas separate the parts."""
    floret: Sequence                # Petals and Dots
    colours: Sequence[str]          # a flower has one of these
    growth: str = "single"          # single, spike, umbel, bells
    tilt: Range = (0, 55)           # angle between the bloom and the line of sight, in degrees
    size: Range = (0.5, 1.05)       # radius, in units of half the image's shorter side
    leaves: str = "oval"            # blade, oval
    upright: bool = False           # the bloom has a top and a bottom


WHITE, CREAM, YELLOW = "#e9efe0 #fbfbf8", "#ead9a8 #f8f1dd", "#e8b00c #f7d92a"
ORANGE, RED, PINK, BLUSH = "#e2560b #f58a1a", "#a31412 #dc2a22", "#e9a3bd #dd5f96", "#f3c9c4 #ee9aa6"
LILAC, VIOLET, BLUE = "#b79ad6 #9a78c8", "#8d6bc4 #5b3aa6", "#7b93dd #3f55bd"

SPECIES = {
    "daisy": Species(
        [Petals((15, 26), (0.72, 0.8), (0.09, 0.14), 0.62, 0.3, (-5, 18), (-30, 10), (0.1, 0.5), 0.1, 2, 0.2),
         Dots((110, 150), 0.3, 0.12, 0.033)],
        [f"petal {colour} #ffffff, disc {disc} #000000" for colour in (WHITE, WHITE, WHITE, WHITE, PINK, YELLOW)
         for disc in ("#b98a08 #f3c417", "#a8860c #eec018", "#3a2008 #6b3d0c")],
        size=(0.7, 1.1), leaves="blade"),
    "poppy": Species(
        [Petals((3, 3), (0.95, 1.0), (0.66, 0.8), 0.66, 0.22, (15, 35), (-10, 35), (0.1, 0.3), 0.32, 7, 0.03, 0,
                eye=0.25),
         Petals((2, 3), (0.85, 1.0), (0.6, 0.75), 0.66, 0.22, (25, 45), (-10, 30), (0.1, 0.3), 0.32, 7, 0.03, 0.02,
                eye=0.25),
         Dots((50, 70), 0.32, 0.1, 0.032, 0.2, 0.14, paint="anther"), Dots((20, 30), 0.14, 0.16, 0.05, 0.1)],
        [f"petal {colour} #140812, anther {anther} #000000, disc #55641f #97a352 #000000"
         for colour in (RED, RED, RED, "#c8300f #ee5a2a", "#c8300f #ee5a2a", "#ef9a86 #f4796a", "#e88a0c #f7b42a")
         for anther in ("#0c0810 #2a2032", "#1a1408 #5a4a20")],
        tilt=(0, 55), size=(0.65, 1.05)),
    "tulip": Species(
        [Petals((3, 3), (1.25, 1.4), (0.36, 0.42), 0.5, 0.55, (58, 70), (15, 50), (0.55, 0.8), 0.06, 5, 0.08, -0.5),
         Petals((3, 3), (1.25, 1.4), (0.38, 0.44), 0.5, 0.55, (50, 62), (15, 55), (0.55, 0.8), 0.06, 5, 0.1, -0.55)],
        [f"petal {colour} #ffffff" for colour in (RED, RED, RED, YELLOW, YELLOW, PINK, PINK, "#f3e7a0 #d23a3a",
                                                  "#f6e9ee #e487ae", "#e8c113 #c92c14", WHITE, "#7d2a6a #b04f9a")],
        tilt=(60, 95), size=(0.6, 0.95), leaves="blade", upright=True),
    "bellflower": Species(
        [Petals((5, 5), (1.5, 1.7), (0.28, 0.32), 0.42, 0.3, (76, 84), (-80, -30), (0.5, 0.75), 0.04, 1, 0.3, -0.7,
                irregular=0.5),
         Petals((5, 5), (0.4, 0.5), (0.12, 0.2), 0.3, 0.8, (40, 60), (-10, 20), (0.1, 0.3), height=-0.75,
                paint="sepal")],
        [f"petal {colour} #ffffff, sepal #3c5a1c #6c8a3a #000000"
         for colour in (VIOLET, VIOLET, BLUE, BLUE, LILAC, PINK, WHITE, WHITE)],
        growth="bells", size=(0.27, 0.45), leaves="oval"),
    "lily": Species(
        [Petals((3, 3), (1.0, 1.1), (0.2, 0.25), 0.5, 0.9, (30, 45), (-110, -50), (0.2, 0.5), 0.2, 2, 0.05, -0.12,
                eye=0.1),
         Petals((3, 3), (1.0, 1.1), (0.25, 0.3), 0.5, 0.9, (30, 50), (-110, -50), (0.2, 0.5), 0.25, 2, 0.05, -0.1,
                eye=0.1, spots=9),
         Petals((6, 6), (0.6, 0.75), (0.025, 0.03), 0.93, 0.15, (50, 65), (-35, -5), (0, 0.1), 0, 1, paint="stamen"),
         Petals((1, 1), (0.7, 0.8), (0.03, 0.035), 0.95, 0.15, (60, 85), (-20, 0), (0, 0.1), 0, 1, paint="stamen")],
        [f"petal {colour} #5a1a10, stamen #9fb35a #5a2a0a #000000"
         for colour in (ORANGE, ORANGE, "#f4d3df #cf4f86", "#f4d3df #cf4f86", "#f2efe2 #e6a3bf", "#dfe6c8 #fbf9ee",
                        YELLOW)],
        tilt=(0, 50), size=(0.7, 1.15), leaves="blade"),
    "rose": Species(
        [Petals((5, 6), (0.9, 1.0), (0.55, 0.65), 0.7, 0.2, (5, 25), (-45, -5), (0.1, 0.3), 0.1, 2, 0.03, -0.1,
                irregular=1.4),
         Petals((6, 7), (0.8, 0.9), (0.55, 0.65), 0.7, 0.2, (25, 40), (-20, 20), (0.2, 0.4), 0.1, 2, 0.03, 0,
                irregular=1.4),
         Petals((6, 6), (0.66, 0.74), (0.55, 0.65), 0.7, 0.2, (42, 52), (0, 40), (0.4, 0.6), 0.08, 2, 0.03, 0.02),
         Petals((5, 5), (0.55, 0.62), (0.55, 0.65), 0.7, 0.2, (55, 65), (10, 50), (0.5, 0.7), 0.06, 2, 0.03, 0.04),
         Petals((4, 5), (0.46, 0.5), (0.55, 0.65), 0.7, 0.2, (68, 76), (20, 60), (0.6, 0.8), 0.05, 2, 0.03, 0.08),
         Petals((3, 4), (0.4, 0.42), (0.5, 0.6), 0.7, 0.2, (78, 84), (20, 50), (0.6, 0.9), 0.05, 2, 0.02, 0.1)],
        [f"petal {colour} #ffffff" for colour in
         (RED, RED, PINK, YELLOW, "#d8607c #f2a3b5", "#e0925c #f6cdb4", "#d9b25e #f9f0d8", "#dcc98e #fbf8ee")],
        tilt=(0, 45), size=(0.6, 1.0)),
    "lupin": Species(
        [Petals((2, 2), (1.0, 1.2), (0.4, 0.5), 0.55, 0.35, (55, 75), (-30, 20), (0.5, 0.9), 0.1, 2, 0.02, -0.1),
         Petals((1, 1), (1.2, 1.4), (0.45, 0.55), 0.6, 0.3, (70, 85), (-60, -20), (0.1, 0.3), 0.1, 2, 0.02, -0.1,
                angles=(0,), paint="wing")],
        [f"petal {colour} #ffffff, wing {wing} #ffffff" for colour, wing in
         ((VIOLET, VIOLET), (VIOLET, LILAC), (BLUE, VIOLET), (BLUE, BLUE), (PINK, BLUSH), (PINK, PINK), (WHITE, CREAM),
          (RED, ORANGE))],
        growth="spike", size=(0.14, 0.2), leaves="oval"),
    "allium": Species(
        [Petals((6, 6), (0.9, 1.1), (0.24, 0.32), 0.5, 0.8, (0, 25), (-10, 20), (0.1, 0.3), 0.05, 1, 0.03),
         Dots((4, 5), 0.16, 0.1, 0.08)],
        [f"petal {colour} #ffffff, disc {disc} #000000"
         for colour in (LILAC, LILAC, VIOLET, PINK, WHITE, WHITE, "#8f4a9a #c07ac4")
         for disc in ("#6d7f52 #9aa878", "#6a4a72 #9a7aaa")],
        growth="umbel", size=(0.25, 0.36), leaves="blade"),
    "pansy": Species(
        [Petals((2, 2), (0.9, 0.98), (0.5, 0.58), 0.62, 0.25, (0, 8), (-15, 5), (0, 0.15), 0.25, 5, 0.02, -0.06,
                angles=(-30, 30), paint="wing"),
         Petals((2, 2), (0.82, 0.9), (0.48, 0.56), 0.62, 0.25, (0, 10), (-15, 5), (0, 0.15), 0.25, 5, 0.02, 0,
                angles=(-98, 98), eye=0.45),
         Petals((1, 1), (0.85, 0.95), (0.62, 0.75), 0.7, 0.22, (0, 10), (-25, 0), (0, 0.15), 0.25, 5, 0.02, 0.04,
                angles=(180,), eye=0.52),
         Dots((6, 8), 0.1, 0.03, 0.05, 0.05)],
        [f"petal {colour} {eye}, wing {wing} #000000, disc #e0b010 #9aa02a #000000" for colour, wing, eye in
         ((YELLOW, YELLOW, "#2a0d06"), (YELLOW, VIOLET, "#22062a"), (YELLOW, VIOLET, "#22062a"),
          (WHITE, VIOLET, "#2a0a4a"), (LILAC, VIOLET, "#1c0630"), (VIOLET, VIOLET, "#140524"), (BLUE, BLUE, "#0a0828"),
          (CREAM, "#5a0d2c #8a1a4a", "#2a0616"))],
        tilt=(0, 35), size=(0.5, 0.85), upright=True),
    "daffodil": Species(
        [Petals((3, 3), (0.95, 1.05), (0.3, 0.38), 0.5, 0.7, (-5, 12), (-20, 15), (0.05, 0.3), 0.15, 3, 0.1, -0.05),
         Petals((3, 3), (0.95, 1.05), (0.3, 0.38), 0.5, 0.7, (0, 16), (-20, 15), (0.05, 0.3), 0.15, 3, 0.1, 0),
         Petals((7, 8), (0.6, 0.8), (0.3, 0.36), 0.8, 0.15, (80, 88), (-70, -25), (0.3, 0.4), 0.35, 2, 0.24, -0.02,
                paint="crown"),
         Dots((6, 7), 0.09, 0.1, 0.045, 0.22)],
        [f"petal {colour} #ffffff, crown {crown} #000000, disc #c9a21a #e9cf4a #000000" for colour, crown in
         ((YELLOW, YELLOW), (YELLOW, "#e09a08 #f2b413"), (YELLOW, ORANGE), (WHITE, YELLOW), (WHITE, "#e09a08 #f2b413"),
          (WHITE, ORANGE))],
        tilt=(0, 60), size=(0.65, 1.1), leaves="blade"),
}
