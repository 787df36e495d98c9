"""The provided parts of exercise 2 against what is known exactly: the forward process and task 2.1, the schedules, both
samplers on a Gaussian density, whose best noise prediction has a closed form, the densities, and the distances.

What is random is compared within six standard errors.
"""
import io
import math
import random
from fractions import Fraction

import numpy as np
import pytest
import torch
from PIL import Image

from course.exact_prediction import PREDICTIONS
from lib import sample_diffusion
from lib.densities import DENSITIES, get_dataset
from lib.distances import energy_distance, off_and_uncovered, sliced_wasserstein
from lib.model_diffusion import SimpleDiffusion
from lib.sample_diffusion import sample_ddim, sample_ddpm
from lib.script import UserError
from lib.utils import SCHEDULES, add_noise, cosine_schedule, linear_schedule


def assert_moments(points, mean, covariance, what):
    """N,2 draws of a Gaussian: their mean and their covariance."""
    points, n = np.asarray(points, dtype=np.float64), len(points)
    diagonal = np.diag(covariance)
    variance = np.outer(diagonal, diagonal) + covariance ** 2               # of a product of two coordinates
    errors = {"mean": (points.mean(0) - mean) / np.sqrt(diagonal / n),
              "covariance": (np.cov(points.T) - covariance) / np.sqrt(variance / n)}
    for name, error in errors.items():
        assert np.abs(error).max() < 6, f"{what}: the {name} is off by {np.abs(error).max():.1f} standard errors"


# Task 2.1

@pytest.mark.parametrize("steps", (3, 4, 7, 30))
def test_closed_form_of_the_forward_process_in_fractions(steps):
    """One step multiplies all factors by sqrt(alpha) and adds a noise with sqrt(1 - alpha): here are their squares."""
    numbers = random.Random(steps)
    for _ in range(20):
        alphas = [Fraction(numbers.randint(1, 999), 1000) for _ in range(steps)]
        signal, noises = Fraction(1), []
        for t, alpha in enumerate(alphas):
            signal, noises = alpha * signal, [alpha * noise for noise in noises] + [1 - alpha]
            baralpha = math.prod(alphas[:t + 1])
            assert signal == baralpha and len(noises) == t + 1 and sum(noises) == 1 - baralpha


@pytest.mark.parametrize("name, steps", (("cosine", 20), ("linear", 50)))
def test_closed_form_of_the_forward_process_by_simulation(name, steps):
    """100,000 chains from one point, and add_noise in one step from there, at the same t."""
    torch.manual_seed(0)
    baralphas, alphas, _ = SCHEDULES[name](steps)
    start = torch.tensor([1.5, -0.7])
    x0 = start.expand(100_000, 2)
    x = x0
    for t in range(steps):
        x = torch.sqrt(alphas[t]) * x + torch.sqrt(1 - alphas[t]) * torch.randn_like(x)
        if t in (0, 2, steps // 2, steps - 1):
            baralpha = float(baralphas[t])
            for points, what in ((x, "chain"), (add_noise(x0, t, baralphas)[0], "add_noise")):
                assert_moments(points, math.sqrt(baralpha) * start.numpy(), (1 - baralpha) * np.eye(2),
                               f"{what}, step {t}")


# Schedules

def cosine(u):
    return math.cos((u + 0.008) / 1.008 * math.pi / 2) ** 2


def closed_form(name, steps):
    """The betas, and whether they were clipped."""
    if name == "linear":
        return [1e-4 + (0.02 - 1e-4) * i / max(steps - 1, 1) for i in range(steps)], [False] * steps
    power = 2 if name == "quadratic_cosine" else 1
    free = [1 - cosine(((i + 1) / steps) ** power) / cosine((i / steps) ** power) for i in range(steps)]
    betas = [min(max(beta, 1e-4), 0.9999) for beta in free]
    return betas, [one != other for one, other in zip(free, betas)]


@pytest.mark.parametrize("steps", (1, 2, 10, 100, 1000))
@pytest.mark.parametrize("name", SCHEDULES)
def test_schedule(name, steps):
    baralphas, alphas, betas = (values.numpy() for values in SCHEDULES[name](steps))
    expected, clipped = closed_form(name, steps)
    products = np.cumprod(1 - np.array(expected))
    for values, right in ((betas, expected), (alphas, 1 - np.array(expected)), (baralphas, products)):
        assert values.shape == (steps,) and values.dtype == np.float32
        np.testing.assert_allclose(values, right, rtol=2e-6)
    assert (np.diff(baralphas) < 0).all() and (np.diff(betas) >= 0).all() and 0 < baralphas[-1] and baralphas[0] < 1
    if name == "linear":
        assert betas[0] == np.float32(1e-4) and (steps == 1 or betas[-1] == np.float32(0.02))
    else:
        assert baralphas[-1] < 0.01 and clipped[-1]
    if name == "cosine":
        first = clipped.index(True)
        direct = np.array([cosine((i + 1) / steps) / cosine(0) for i in range(steps)])
        np.testing.assert_allclose(baralphas[:first], direct[:first], rtol=1e-5)
        assert first == (0 if steps == 1000 else steps - 1), "of 1000 steps the first are clipped, too"
        np.testing.assert_allclose(baralphas[:-1], direct[:-1], rtol=1e-3)


def test_schedules_at_their_defaults():
    assert [len(schedule()[0]) for schedule in (linear_schedule, cosine_schedule)] == [1000, 1000]
    assert abs(linear_schedule(100)[0][-1] - 0.3636) < 1e-3, "it does not end in noise"
    assert linear_schedule()[0][-1] < 1e-4


def test_quadratic_cosine_has_more_timesteps_at_little_noise():
    """Its timestep t of T is that of the cosine schedule at t² / T, for the times at which neither is clipped."""
    quadratic, cosine = (SCHEDULES[name](100)[0].double() for name in ("quadratic_cosine", "cosine"))
    assert [int((torch.sqrt(1 - baralphas) < 0.2).sum()) for baralphas in (quadratic, cosine)] == [34, 12]
    for t in (30, 50, 80):
        assert float(quadratic[t - 1]) == pytest.approx(float(cosine[t ** 2 // 100 - 1]), rel=2e-3)


# Networks

@pytest.mark.parametrize("point_embedding", ("coordinates", "sinusoidal"))
@pytest.mark.parametrize("activation", ("relu", "silu"))
@pytest.mark.parametrize("time_embedding", ("index", "sinusoidal"))
def test_network_written_out(time_embedding, point_embedding, activation):
    """In float64, from its weights."""
    torch.manual_seed(0)
    model = SimpleDiffusion(2, 3, 5, time_embedding, 20, point_embedding, activation)
    x, t = torch.randn(7, 2), torch.randint(0, 20, (7, 1))
    inputs = [x.double()]
    if point_embedding == "sinusoidal":
        angles = [k * x.double()[:, [feature]] for feature in (0, 1) for k in (1, 2, 4)]
        inputs += [torch.sin(angle) for angle in angles] + [torch.cos(angle) for angle in angles]
    if time_embedding == "index":
        inputs.append(t.double())
    else:
        angles = [t.double() / 20 * math.pi / 2 * 2 ** k for k in range(4)]
        inputs += [torch.sin(angle) for angle in angles] + [torch.cos(angle) for angle in angles]
    values = torch.cat(inputs, dim=1)
    weights = [weight.double() for weight in model.parameters()]
    for number in range(5):
        values = values @ weights[2 * number].t() + weights[2 * number + 1]
        if number in (1, 2, 3):
            values = values.clamp(min=0) if activation == "relu" else values / (1 + torch.exp(-values))
    torch.testing.assert_close(model(x, t).double(), values, rtol=1e-4, atol=1e-5)


def test_network_as_published():
    """By default it gets the coordinates and the index, and has ReLUs."""
    torch.manual_seed(0)
    one, other = SimpleDiffusion(2), SimpleDiffusion(2, 2, 64, "index", 100, "coordinates", "relu")
    assert [tuple(weight.shape) for weight in one.parameters()] == [
        (64, 3), (64,), (64, 64), (64,), (64, 64), (64,), (2, 64), (2,)]
    other.load_state_dict(one.state_dict())
    x, t = torch.randn(7, 2), torch.randint(0, 1000, (7, 1))
    assert torch.equal(one(x, t), other(x, t))


@pytest.mark.parametrize("names", (("clock",), ("index", 100, "sines"), ("index", 100, "sinusoidal", "tanh")))
def test_network_of_unknown_parts(names):
    with pytest.raises(ValueError, match=names[-1]):
        SimpleDiffusion(2, 1, 4, *names)


# Samplers. The density is N(MEAN, COVARIANCE).

MEAN, COVARIANCE = np.array([0.8, -0.5]), np.array([[0.5, 0.3], [0.3, 0.4]])
N = 20_000


def best_prediction(baralpha):
    """matrix, shift: the mean of eps given x_t is matrix x_t + shift, by the rule for Gaussians."""
    covariance = baralpha * COVARIANCE + (1 - baralpha) * np.eye(2)         # of x_t
    matrix = math.sqrt(1 - baralpha) * np.linalg.inv(covariance)
    return matrix, -math.sqrt(baralpha) * matrix @ MEAN


class Best(torch.nn.Module):
    """The noise prediction that training can at best arrive at. calls: the points and steps that it was asked for."""

    def __init__(self, schedule):
        super().__init__()
        pairs = [best_prediction(baralpha) for baralpha in schedule[0].double().tolist()]
        self.matrices, self.shifts = (torch.tensor(np.array(values), dtype=torch.float32) for values in zip(*pairs))
        self.calls = []

    def forward(self, x, t):
        assert t.shape == (len(x), 1) and (t == t[0]).all()
        step = int(t[0])
        self.calls.append((step, x.clone()))
        return x @ self.matrices[step].t() + self.shifts[step]


def exact_moments(schedule, used, stochastic):
    """Mean and covariance of the samples: each step is linear in x_t, since the prediction is.

    used: the steps in their order. stochastic: DDPM, else DDIM.
    """
    baralphas, alphas, betas = (values.double().numpy() for values in schedule)
    mean, covariance = np.zeros(2), np.eye(2)
    for t, following in zip(used, [*used[1:], None]):
        now, then = baralphas[t], 1.0 if following is None else baralphas[following]
        predict, shift = best_prediction(now)
        x0_matrix, x0_shift = (np.eye(2) - math.sqrt(1 - now) * predict) / math.sqrt(now), -math.sqrt(1 - now) * shift
        x0_shift = x0_shift / math.sqrt(now)
        if stochastic:
            of_x0, of_x = math.sqrt(then) * betas[t] / (1 - now), math.sqrt(alphas[t]) * (1 - then) / (1 - now)
            matrix, move = of_x0 * x0_matrix + of_x * np.eye(2), of_x0 * x0_shift
            added = 0 if following is None else betas[t]
        else:
            matrix = math.sqrt(then) * x0_matrix + math.sqrt(1 - then) * predict
            move, added = math.sqrt(then) * x0_shift + math.sqrt(1 - then) * shift, 0
        mean, covariance = matrix @ mean + move, matrix @ covariance @ matrix.T + added * np.eye(2)
    return mean, covariance


@pytest.mark.parametrize("name, steps", (
    ("cosine", 1), ("cosine", 10), ("cosine", 100), ("quadratic_cosine", 100), ("linear", 1000)))
def test_ddpm_on_a_gaussian(name, steps):
    """20,000 points. They do what the recursion says also where the steps are too few for the density itself."""
    torch.manual_seed(1)
    schedule = SCHEDULES[name](steps)
    samples, _ = sample_ddpm(Best(schedule), torch.randn(N, 2), schedule)
    assert_moments(samples, *exact_moments(schedule, range(steps)[::-1], True), f"{name}, {steps} steps")


@pytest.mark.parametrize("name, steps, used", (
    ("cosine", 1, [0]), ("cosine", 10, range(9, -1, -1)), ("cosine", 100, [99, 66, 33, 0]),
    ("cosine", 101, [100, 50, 0]), ("cosine", 100, [99]),
    ("linear", 1000, range(999, -1, -111))))
def test_ddim_on_a_gaussian(name, steps, used):
    torch.manual_seed(2)
    schedule, used = SCHEDULES[name](steps), list(used)
    model, noise = Best(schedule), torch.randn(N, 2)
    samples = sample_ddim(model, noise, schedule, len(used))
    assert [step for step, _ in model.calls] == used * math.ceil(N / sample_diffusion.CHUNK)
    mean, covariance = exact_moments(schedule, used, False)
    if len(used) == 1 and steps > 1:                # straight to the mean of the density, whatever the noise
        assert np.abs(samples.numpy() - MEAN).max() < 0.1 and np.abs(mean - MEAN).max() < 1e-3
    else:
        assert_moments(samples, mean, covariance, f"{name}, {len(used)} of {steps} steps")


@pytest.mark.parametrize("stochastic", (True, False), ids=("ddpm", "ddim"))
@pytest.mark.parametrize("name", SCHEDULES)
def test_thousand_steps_give_the_density(name, stochastic):
    """20,000 points; the error of taking steps at all is below two of their standard errors, of mean and covariance."""
    torch.manual_seed(3)
    schedule = SCHEDULES[name](1000)
    noise = torch.randn(N, 2)
    samples = sample_ddpm(Best(schedule), noise, schedule)[0] if stochastic else sample_ddim(
        Best(schedule), noise, schedule, 1000)
    assert_moments(samples, MEAN, COVARIANCE, name)
    mean, covariance = exact_moments(schedule, range(1000)[::-1], stochastic)
    assert np.abs(mean - MEAN).max() < 0.009 and np.abs(covariance - COVARIANCE).max() < 0.009


@pytest.mark.parametrize("t", (0, 3, 12, 19))
@pytest.mark.parametrize("name", PREDICTIONS)
def test_exact_predictions(name, t):
    """100,000 points: what is left of the noise after subtracting its mean given x_t has no correlation with any
    function of x_t."""
    torch.manual_seed(0)
    baralphas = cosine_schedule(20)[0]
    data = torch.from_numpy(get_dataset(name, 100_000, np.random.default_rng(0)))
    x, eps = (values.double() for values in add_noise(data, t, baralphas))
    prediction = PREDICTIONS[name](x, baralphas[t].double())
    for function in (torch.ones_like(x), x, x.flip(1), torch.sin(5 * x), torch.cos(9 * x), x.prod(1, keepdim=True),
                     prediction):
        products = ((eps - prediction) * function).numpy()
        assert (np.abs(products.mean(0)) < 6 * products.std(0) / math.sqrt(len(x))).all()


def test_ddpm_takes_each_step_once_and_keeps_what_enters_it():
    schedule = cosine_schedule(12)
    model, noise, keep = Best(schedule), torch.randn(7, 2), [11, 0, 5, 5]
    _, path = sample_ddpm(model, noise, schedule, keep=keep)
    assert [step for step, _ in model.calls] == list(range(11, -1, -1))
    entering = dict(model.calls)
    assert path.shape == (4, 7, 2) and torch.equal(path[0], noise)
    assert all(torch.equal(points, entering[step]) for points, step in zip(path, keep))
    assert sample_ddpm(model, noise, schedule)[1].shape == (0, 7, 2)


def test_only_the_last_step_of_ddpm_adds_no_noise():
    noise = torch.randn(50, 2)

    def draw(steps, seed):
        torch.manual_seed(seed)
        schedule = cosine_schedule(steps)
        model = Best(schedule)
        return sample_ddpm(model, noise, schedule)[0], dict(model.calls)

    assert torch.equal(draw(1, 0)[0], draw(1, 1)[0])
    (one, entering), (other, entering_other) = draw(4, 0), draw(4, 1)
    assert not torch.equal(one, other) and torch.equal(entering[3], entering_other[3])
    for t in (2, 1, 0):
        assert (entering[t] != entering_other[t]).any(1).all(), f"each point has a noise of its own on the way to {t}"


def test_ddim_draws_nothing():
    schedule, noise = cosine_schedule(20), torch.randn(50, 2)
    for steps in (1, 5, 20):
        torch.manual_seed(0)
        one = sample_ddim(Best(schedule), noise, schedule, steps)
        before = torch.get_rng_state()
        torch.manual_seed(1)
        assert torch.equal(one, sample_ddim(Best(schedule), noise, schedule, steps))
        torch.manual_seed(0)
        assert torch.equal(before, torch.get_rng_state())


def test_samplers_leave_the_noise_alone_and_do_not_depend_on_chunks(monkeypatch):
    schedule, noise = cosine_schedule(10), torch.randn(50, 2)
    before = noise.clone()
    whole = sample_ddim(Best(schedule), noise, schedule, 5)
    sample_ddpm(Best(schedule), noise, schedule)
    assert torch.equal(noise, before)
    for chunk in (1, 7, 25, 49, 50, 51):
        monkeypatch.setattr(sample_diffusion, "CHUNK", chunk)
        torch.testing.assert_close(sample_ddim(Best(schedule), noise, schedule, 5), whole, rtol=1e-4, atol=1e-4)
        samples, path = sample_ddpm(Best(schedule), noise, schedule, keep=[9, 0])
        assert torch.equal(path[0], noise) and samples.isfinite().all() and path.isfinite().all()


def test_clip_cuts_the_predicted_data():
    """A network that finds no noise takes x_t for shrunk data, which lie far out at the end of the schedule."""
    def nothing(x, t):
        return torch.zeros_like(x)

    noise = torch.tensor([[2.0, -1.0], [0.003, -0.001]])
    far, near = noise[:1] * 100, noise[1:] * 100    # baralpha is 1e-4 at the only step
    schedule = cosine_schedule(1)
    for sampler in (lambda clip: sample_ddpm(nothing, noise, schedule, clip)[0],
                    lambda clip: sample_ddim(nothing, noise, schedule, 1, clip)):
        torch.testing.assert_close(sampler(math.inf), torch.cat([far, near]), rtol=1e-3, atol=0)
        torch.testing.assert_close(sampler(1.5), torch.cat([far.sign() * 1.5, near]), rtol=1e-3, atol=0)
    schedule = cosine_schedule(10)
    assert sample_ddim(nothing, noise, schedule, 10, 1.5).abs().max() < 1.5001
    assert sample_ddpm(nothing, noise, schedule, 1.5)[0].abs().max() < 1.5001


# Densities

@pytest.mark.parametrize("name", DENSITIES)
def test_density(name):
    one, again, other = (get_dataset(name, 20_000, np.random.default_rng(seed)) for seed in (0, 0, 1))
    assert one.shape == (20_000, 2) and one.dtype == np.float32 and np.isfinite(one).all()
    assert np.array_equal(one, again) and not np.array_equal(one, other)
    assert (np.hypot(*one.T) > 3).mean() <= 1e-3, "the videos show no further than 3"
    assert 0.4 < one.std(0).min() and one.std(0).max() < 1.5
    assert not np.array_equal(get_dataset(name, 10), get_dataset(name, 10))
    assert get_dataset(name, 1).shape == (1, 2)
    halves = [torch.from_numpy(points) for points in (one[:10_000], one[10_000:])]
    assert sliced_wasserstein(*halves) < 0.05, "the points come in an order"


@pytest.mark.parametrize("name, make, options", (
    ("moons", "make_moons", {"noise": 0.01}), ("circles", "make_circles", {"noise": 0.02, "factor": 0.5}),
    ("swiss_roll", "make_swiss_roll", {"noise": 0.3})))
def test_density_is_scikit_learns(name, make, options):
    """100,000 points a side; a shift by 0.03 would give a sliced Wasserstein distance of 0.02."""
    from sklearn import datasets
    theirs = getattr(datasets, make)(100_000, random_state=0, **options)[0]
    if name == "swiss_roll":
        theirs = theirs[:, [0, 2]] / 10
    ours = get_dataset(name, 100_000, np.random.default_rng(0)).astype(np.float64)
    for moment in (lambda x: x, lambda x: (x - x.mean(0)) ** 2, lambda x: x[:, :1] * x[:, 1:]):
        one, other = moment(ours), moment(theirs)
        error = np.sqrt((one.var(0) + other.var(0)) / len(ours))
        assert (np.abs(one.mean(0) - other.mean(0)) < 6 * error).all()
    assert sliced_wasserstein(*(torch.tensor(points, dtype=torch.float32) for points in (ours, theirs))) < 0.02


def disc(width=100, height=80, scale=1):
    """A dark disc, left of the middle and above it, as a mask of pixels; where its middle lies in the plane, and its
    radius there."""
    row, column = np.mgrid[:height * scale, :width * scale]
    mask = np.hypot(column + 0.5 - 25 * scale, row + 0.5 - 20 * scale) < 10 * scale
    return mask, np.array([25 - width / 2, height / 2 - 20]) * 3 / width, 10 * 3 / width


def gray(mask):
    return Image.fromarray(np.where(mask, 0, 255).astype(np.uint8))


def cut_out(mask):
    """Black everywhere, and transparent but for the disc."""
    image = np.zeros((*mask.shape, 4), np.uint8)
    image[..., 3] = 255 * mask
    return Image.fromarray(image)


def color(mask):
    return gray(mask).convert("RGB")


PICTURES = {"L.png": gray, "L.jpg": gray, "L.bmp": gray, "RGB.png": color, "RGB.jpg": color,
            "1.png": lambda mask: gray(mask).convert("1"), "P.png": lambda mask: color(mask).quantize(4),
            "RGBA.png": cut_out, "LA.png": lambda mask: cut_out(mask).convert("LA")}


@pytest.mark.parametrize("scale", (1, 9))
@pytest.mark.parametrize("name", PICTURES)
def test_image(tmp_path, name, scale):
    """10,000 points. The file counts its rows from the top, the plane upwards. JPEG smears the edge, and so does making
    a large image smaller."""
    mask, middle, radius = disc(scale=scale)
    PICTURES[name](mask).save(str(tmp_path / name))
    points = get_dataset(str(tmp_path / name), 10_000, np.random.default_rng(0))
    assert points.shape == (10_000, 2) and points.dtype == np.float32
    distance = np.hypot(*(points - middle).T)
    assert np.quantile(distance, 0.97) < 1.1 * radius and (name.endswith("jpg") or distance.max() < 1.3 * radius)
    inside = points[distance < 1.3 * radius].astype(np.float64)
    assert np.abs(inside.mean(0) - middle).max() < 6 * radius / 2 / 100 + 0.003
    assert np.abs(inside.std(0) - radius / 2).max() < 0.02 and len(np.unique(points, axis=0)) > 9_900
    again = get_dataset(str(tmp_path / name), 10_000, np.random.default_rng(0))
    assert np.array_equal(points, again)


def test_image_half_dark_is_half_as_dense(tmp_path):
    """10,000 points: a third of them in the gray half of the image, whose longer side reaches from -1.5 to 1.5."""
    Image.fromarray(np.repeat(np.array([[0, 127.5]]), 50, axis=1).repeat(200, axis=0).astype(np.uint8)).save(
        str(tmp_path / "halves.png"))
    points = get_dataset(str(tmp_path / "halves.png"), 10_000, np.random.default_rng(0))
    assert abs((points[:, 0] > 0).mean() - 1 / 3) < 6 * math.sqrt(2 / 9 / 10_000) + 0.002
    np.testing.assert_allclose([points.min(0), points.max(0)], [[-0.75, -1.5], [0.75, 1.5]], atol=0.01)


def png(image):
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.parametrize("data, word", (
    (png(Image.new("L", (50, 50), 255)), "blank"), (png(Image.new("RGB", (50, 50), 0)), "blank"),
    (png(Image.new("RGBA", (50, 50), 0)), "blank"), (png(gray(disc()[0]))[:-30], "image"),
    (png(gray(disc()[0]))[:20], "image"), (b"", "image"), (b"x,y\n1,2\n", "image"),
    (b"\x89PNG\r\n\x1a\n" + bytes(100), "image")), ids=(
        "white", "black", "transparent", "truncated", "cut in the head", "empty", "a table", "zeros"))
def test_image_that_cannot_be_used(tmp_path, data, word):
    path = tmp_path / "image.png"
    path.write_bytes(data)
    with pytest.raises(UserError) as caught:
        get_dataset(str(path), 10)
    assert str(path) in str(caught.value) and word in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ("moon", "", "no/such/file.png", "."))
def test_unknown_density(name):
    with pytest.raises(UserError) as caught:
        get_dataset(name, 10)
    assert all(density in str(caught.value) for density in DENSITIES) and "\n" not in str(caught.value)


# Distances

def test_sliced_wasserstein():
    points = torch.randn(500, 2, generator=torch.Generator().manual_seed(0))
    mixed = points[torch.randperm(500, generator=torch.Generator().manual_seed(0))]
    assert sliced_wasserstein(points, mixed) == 0
    mean, deviation = 2 / math.pi, math.sqrt(1 / 2 - 4 / math.pi ** 2)      # of |cos| of a random angle
    for shift in ((0.5, 0.0), (0.0, -2.0), (3.0, 4.0)):
        length, moved = math.hypot(*shift), points + torch.tensor(shift)
        for directions in (256, 20_000):
            got = sliced_wasserstein(points, moved, directions)
            assert abs(got / length - mean) < 6 * deviation / math.sqrt(directions)
            assert got == pytest.approx(sliced_wasserstein(moved, points, directions), rel=1e-5)


def test_sliced_wasserstein_against_scipy():
    """Two sets of 200 points, along 2,000 directions each of our own and of theirs."""
    from scipy.stats import wasserstein_distance
    rng = np.random.default_rng(0)
    x, y = rng.normal(0, 1, (200, 2)), rng.normal(0.5, 0.3, (200, 2)) @ np.array([[1, 0.5], [0, 2]])
    angles = rng.uniform(0, 2 * np.pi, 2000)
    along = [wasserstein_distance(x @ axis, y @ axis) for axis in np.stack([np.cos(angles), np.sin(angles)], axis=1)]
    got = sliced_wasserstein(torch.tensor(x).float(), torch.tensor(y).float(), 2000)
    assert abs(got - np.mean(along)) < 6 * math.sqrt(2) * np.std(along) / math.sqrt(2000)


def test_energy_distance():
    """The sums over pairs written out; and its value for N(0, 1) and N(1, 1) on a line, from the mean of |N(d, 2)|: the
    mean of 20 draws of 1,000 points, whose standard error is theirs."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(0, 1, (40, 2)), rng.normal(0.5, 2, (30, 2))
    across = np.mean([math.dist(a, b) for a in x for b in y])
    within = [np.mean([math.dist(a, b) for i, a in enumerate(z) for j, b in enumerate(z) if i != j]) for z in (x, y)]
    x, y = torch.tensor(x), torch.tensor(y)
    assert energy_distance(x, y) == pytest.approx(2 * across - sum(within), abs=1e-9)
    assert energy_distance(x, y) == pytest.approx(energy_distance(y, x), abs=1e-9)
    assert energy_distance(x, y, points=20) == pytest.approx(energy_distance(x[:20], y[:20]), abs=1e-9)

    def mean_absolute(d):                           # of a Gaussian with mean d and variance 2
        return 2 / math.sqrt(math.pi) * math.exp(-d ** 2 / 4) + d * math.erf(d / 2)

    for shift in (0.0, 1.0):
        draws = []
        for _ in range(20):
            x, y = torch.zeros(2, 1000, 2)
            x[:, 0], y[:, 0] = (torch.tensor(rng.normal(mean, 1, 1000)) for mean in (0, shift))
            draws.append(energy_distance(x, y))
        expected = 2 * mean_absolute(shift) - 2 * mean_absolute(0)
        assert abs(np.mean(draws) - expected) < 6 * np.std(draws) / math.sqrt(20)
        assert shift == 0 or min(draws) > 0


# Points off the data, and data that is not covered

@pytest.mark.parametrize("name", DENSITIES)
def test_data_is_neither_off_the_data_nor_uncovered(name):
    """40,000 fresh points against two further samples: a share of 0.1 % (40 points, by a threshold that itself varies
    by a tenth), within six standard errors."""
    generated, data, fresh = (torch.from_numpy(get_dataset(name, count, np.random.default_rng(seed)))
                              for seed, count in enumerate((40_000, 100_000, 100_000)))
    for share in off_and_uncovered(generated, data, fresh):
        assert 0.0003 < share < 0.0022, share


def test_haze_and_a_hole_are_seen():
    """3 % of the points lie in the checkerboard's light squares; or one of its eight dark squares is empty."""
    generated, data, fresh = (torch.from_numpy(get_dataset("checkerboard", count, np.random.default_rng(seed)))
                              for seed, count in enumerate((40_000, 100_000, 100_000)))
    hazy = generated.clone()
    hazy[:1200, 0] += 1                             # to a square of the other colour, or out of the board
    off, uncovered = off_and_uncovered(hazy, data, fresh)
    assert 0.027 < off < 0.033 and uncovered < 0.0022
    hole = generated[~((generated[:, 0] > 1) & (generated[:, 1] > 1))]
    off, uncovered = off_and_uncovered(hole, data, fresh)
    assert off < 0.0022 and 0.11 < uncovered < 0.135


def test_off_and_uncovered_by_all_distances():
    """300 points, against the definition with every distance; the density is 2-D or 5-D."""
    for features in (2, 5):
        torch.manual_seed(features)
        generated, data, fresh = (torch.randn(count, features) for count in (300, 700, 2000))
        generated *= 1.2

        def nearest(points, others):
            return torch.cdist(points.double(), others.double()).min(dim=1).values.numpy()

        expected = (
            (nearest(generated, data) > np.quantile(nearest(fresh, data), 0.999)).mean(),
            (nearest(fresh, generated) > np.quantile(nearest(fresh, data[:300]), 0.999)).mean())
        assert off_and_uncovered(generated, data, fresh) == pytest.approx(expected, abs=2 / 300)
        assert expected[0] > 0
        generated[7, 0] = math.inf
        assert all(map(math.isnan, off_and_uncovered(generated, data, fresh)))
