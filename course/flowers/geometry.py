"""Surfaces as point clouds, dense enough to leave no holes between pixels.

A cloud is an N,10 float32 array: position (x right, y up, z towards the viewer), unit normal, linear RGB colour, and
how much light shines through. The shorter side of an image has length 2. A bloom has radius 1, is centred at the origin
and faces z.
"""
from typing import NamedTuple, Optional, Sequence, Tuple

import numpy as np
from PIL import ImageColor

Range = Tuple[float, float]


class Petals(NamedTuple):
    """A ring of petals. Each range is sampled once for the ring, and each petal then differs a little."""
    number: Range
    length: Range
    width: Range            # half the width, relative to the length
    peak: float = 0.6       # position along the petal where it is widest
    tip: float = 0.5        # outline: 0.2 blunt, 0.5 round, 1 pointed
    rise: Range = (5, 20)   # angle at the base, out of the bloom's plane, in degrees
    curl: Range = (-20, 0)  # degrees by which it bends from base to tip; inwards if positive
    cup: Range = (0.1, 0.3)  # how far the edges are raised, in widths
    ruffle: float = 0.1     # height of the waves at the edges, in widths
    groove: float = 3       # number of ridges across
    start: float = 0.05     # distance of the base from the axis
    height: float = 0       # height of the base
    angles: Optional[Sequence[float]] = None    # degrees from the top, instead of an evenly spaced ring
    paint: str = "petal"
    eye: float = 0          # fraction of the length that has the eye's colour
    spots: int = 0
    irregular: float = 1
    lobes: float = 0        # depth of the cuts in the edge


class Dots(NamedTuple):
    """Small balls in a spiral over a dome: a disc of florets, or anthers."""
    number: Range
    radius: float
    height: float
    size: float
    base: float = 0.05      # height of the dome's edge
    inner: float = 0        # radius of the empty centre
    paint: str = "disc"


def linear(colour: str) -> np.ndarray:
    """Convert a colour name to linear RGB."""
    return (np.array(ImageColor.getrgb(colour), dtype=float) / 255) ** 2.2


def rotation(axis: np.ndarray, angle) -> np.ndarray:
    """Return the ...,3,3 rotation matrices for the angles about the axis (Rodrigues' formula)."""
    x, y, z = axis / np.linalg.norm(axis)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    angle = np.asarray(angle)[..., None, None]
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * (cross @ cross)


def facing(direction: np.ndarray, roll: float = 0) -> np.ndarray:
    """Return the rotation that turns z into the direction."""
    direction = direction / np.linalg.norm(direction)
    axis = np.cross([0, 0, 1], direction)
    if np.linalg.norm(axis) > 1e-6:
        turn = rotation(axis, np.arctan2(np.linalg.norm(axis), direction[2]))
    else:
        turn = np.diag([1, np.sign(direction[2]), np.sign(direction[2])])
    return turn @ rotation(np.array([0, 0, 1.0]), roll)


def place(cloud: np.ndarray, turn: np.ndarray, scale: float, to) -> np.ndarray:
    """Return the cloud rotated, scaled and moved."""
    placed = cloud.copy()
    placed[:, :3] = cloud[:, :3] @ (scale * turn.T) + np.asarray(to)
    placed[:, 3:6] = cloud[:, 3:6] @ turn.T
    return placed


def _cloud(points: np.ndarray, colour: np.ndarray, thin: float) -> np.ndarray:
    """Return the cloud of P surfaces, given by P,U,V,3 points and their colours."""
    normal = np.cross(np.gradient(points, axis=1), np.gradient(points, axis=2))
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True) + 1e-9
    parts = [points, normal, np.broadcast_to(colour, points.shape), np.full(points.shape[:3] + (1,), thin)]
    return np.concatenate(parts, axis=-1).reshape(-1, 10).astype(np.float32)


def petals(ring: Petals, colours: dict, rng: np.random.Generator, density: float) -> np.ndarray:
    """Sample a ring of petals.

    Args:
        colours: the base, tip and eye colours for the name of each part.
        density: number of points per unit of length.
    """
    n = int(round(rng.uniform(*ring.number))) if ring.angles is None else len(ring.angles)

    def each(value, spread):                        # one value per petal, to broadcast over its points
        return (value + spread * ring.irregular * rng.normal(size=n))[:, None, None]

    long = rng.uniform(*ring.length)
    wide = long * rng.uniform(*ring.width)
    u = np.linspace(0, 1, max(4, int(long * density * 1.1)))[None, :, None]
    v = np.linspace(-1, 1, max(3, int(2 * wide * density * 1.1)))[None, None, :]
    length, sway = each(long, 0.05 * long), each(0, 0.06 * long)
    slope = np.radians(each(rng.uniform(*ring.rise), 6) + each(rng.uniform(*ring.curl), 9) * u)
    radius = ring.start + np.cumsum(np.cos(slope), axis=1) * length / u.size
    height = ring.height + np.cumsum(np.sin(slope), axis=1) * length / u.size + each(0, 0.01)
    belly = ring.tip * ring.peak / (1 - ring.peak)
    outline = (u + 0.02) ** belly * (1.0 - u + 0.004) ** ring.tip
    outline = outline / outline.max() * each(wide, 0.08 * wide) * (1 - ring.lobes * np.sin(each(11, 2) * u) ** 2)
    phase = each(0, 3)
    lift = rng.uniform(*ring.cup) * v ** 2 * outline + each(0, 0.06) * v * outline
    lift = lift + ring.ruffle * outline * u * v ** 2 * np.sin(each(7, 2) * u + each(3, 1) * v + phase)
    lift = lift + ring.ruffle * 0.5 * outline * u * np.sin(each(5, 2) * v + phase)
    lift = lift + 0.04 * outline * np.cos(np.pi * ring.groove * v) * np.sin(np.pi * u)
    across = v * outline + sway * u ** 2
    points = np.stack(np.broadcast_arrays(
        radius - np.sin(slope) * lift, across, height + np.cos(slope) * lift), axis=-1)
    if ring.angles is None:
        angle = 2 * np.pi * (np.arange(n) + rng.uniform()) / n + 0.35 / n * 2 * ring.irregular * rng.normal(size=n)
    else:
        angle = np.radians(90 + np.array(ring.angles, dtype=float)) + 0.06 * rng.normal(size=n)
    points = np.einsum("pij,puvj->puvi", rotation(np.array([0, 0, 1.0]), angle), points)

    base, tip, eye = colours[ring.paint]
    blotch = sum(np.sin(each(0, 5) * u + each(0, 4) * v + each(0, 3)) for _ in range(4)) / 4
    mix = np.clip(u ** 0.8 + 0.25 * blotch + 0.15 * (v ** 2 - 0.4), 0, 1)[..., None]
    colour = base * (1 - mix) + tip * mix
    vein = 1 + 0.06 * np.sin(each(ring.groove * 9, 2) * v * (0.6 + 0.4 * u) + phase) * (1 - 0.5 * u) + 0.08 * blotch
    colour = colour * (vein * np.exp(each(0, 0.06)))[..., None]
    rim = (rng.uniform(0, 0.25) * np.clip(u ** 4 + 0.6 * v ** 6 * u, 0, 1))[..., None]
    colour = colour * (1 - rim) + rim * (0.5 + 0.5 * colour)
    if ring.eye:
        whiskers = 0.4 * np.sin(each(4 * ring.groove, 1) * v + phase)
        reach = ring.eye * (1 + whiskers - 0.5 * v ** 2 + 0.2 * blotch)
        part = 1 / (1 + np.exp(-(reach - u) * 22))[..., None]
        colour = colour * (1 - part) + eye * part
    for _ in range(ring.spots):
        along, aside = u - rng.uniform(0.15, 0.7, (n, 1, 1)), v - rng.uniform(-0.6, 0.6, (n, 1, 1))
        colour = np.where(((along * long / wide) ** 2 + aside ** 2 < 0.008)[..., None], eye, colour)
    for p in np.flatnonzero(rng.uniform(size=n) < 0.12 * ring.irregular):       # a bruise, a hole, a dry tip
        far = (u[0] - rng.uniform(0.3, 1.1)) ** 2 * 6 + (v[0] - rng.uniform(-1, 1)) ** 2
        colour[p] = colour[p] * (1 - rng.uniform(0.2, 0.7) * np.exp(-far / 0.06))[..., None]
    return _cloud(points, np.clip(colour, 0.004, 1), 0.6)


def dots(dome: Dots, colours: dict, rng: np.random.Generator, density: float) -> np.ndarray:
    """Sample a dome of dots; arguments as for `petals`."""
    n = int(round(rng.uniform(*dome.number)))
    part = (np.arange(n) + 0.5) / n
    radius = dome.inner + (dome.radius - dome.inner) * np.sqrt(part) * (1 + 0.05 * rng.normal(size=n))
    angle = np.arange(n) * 2.39996 + rng.uniform(0, 7)
    height = dome.base + dome.height * (1 - part ** 1.5) + 0.15 * dome.size * rng.normal(size=n)
    centres = np.stack([radius * np.cos(angle), radius * np.sin(angle), height], axis=1)
    points = max(4, int(2.5 * dome.size * density))
    u, v = np.linspace(0.05, 0.6 * np.pi, points)[:, None], np.linspace(0, 2 * np.pi, 2 * points)[None, :]
    ball = np.stack(np.broadcast_arrays(np.sin(u) * np.cos(v), np.sin(u) * np.sin(v), np.cos(u) + 0 * v), axis=-1)
    size = dome.size * (0.8 + 0.4 * rng.uniform(size=(n, 1, 1, 1)))
    base, tip, _ = colours[dome.paint]
    colour = base + (tip - base) * (part ** 2)[:, None, None, None]
    colour = colour * np.exp(0.25 * rng.normal(size=(n, 1, 1, 1))) * (0.55 + 0.45 * np.cos(u)[..., None])
    return _cloud(centres[:, None, None, :] + size * ball, np.clip(colour, 0.004, 1), 0.1)


def tube(curve: np.ndarray, radius: float, colour: np.ndarray, rng: np.random.Generator, density: float) -> np.ndarray:
    """Sample a stem along a quadratic Bezier curve, given by its 3 control points."""
    reach = np.linalg.norm(curve[1] - curve[0]) + np.linalg.norm(curve[2] - curve[1])
    t = np.linspace(0, 1, max(6, int(reach * density * 1.1)))[:, None]
    line = (1 - t) ** 2 * curve[0] + 2 * t * (1 - t) * curve[1] + t ** 2 * curve[2]
    along = np.gradient(line, axis=0)
    side = np.cross(along, [0.03, 0.05, 1.0])
    side /= np.linalg.norm(side, axis=1, keepdims=True) + 1e-9
    other = np.cross(side, along)
    other /= np.linalg.norm(other, axis=1, keepdims=True) + 1e-9
    turn = np.linspace(0, 2 * np.pi, max(6, int(7 * radius * density)))[None, :, None]
    points = line[:, None] + radius * (np.cos(turn) * side[:, None] + np.sin(turn) * other[:, None])
    shade = 1 + 0.15 * np.sin(t * rng.uniform(4, 20) + rng.uniform(0, 6)) + 0.1 * rng.normal(size=t.shape)
    return _cloud(points[None], (colour * shade.clip(0.5, 1.5))[:, None][None], 0.2)


def bloom(parts: Sequence, colours: dict, rng: np.random.Generator, density: float) -> np.ndarray:
    """Sample a flower: its rings of petals and its domes of dots."""
    return np.concatenate([petals(part, colours, rng, density) if isinstance(part, Petals)
                           else dots(part, colours, rng, density) for part in parts])
