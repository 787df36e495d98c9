"""Task 1.3: get_mu_logvar and sample_on_grid, in lib/explore_latent_space.py."""
import contextlib

import numpy as np
import torch
from torch import nn

from tests.support import (
    Gives,
    When,
    assert_close,
    close,
    fail,
    fresh,
    is_normal,
    run_this_file,
    same_numbers,
    task,
    unpack,
    words,
)

C, H, W, GRID = 2, 3, 4, 5  # all sizes differ, so axes in the wrong order show
PIXELS = C * H * W
BATCHES = 60, 60, 1         # images in each batch
TRAINING = 0.83             # KnownVAE multiplies mu and logvar by this in training mode
READ_ENCODE = "the docstring of get_mu_logvar"
READ_GRID = "the docstring of sample_on_grid"


class KnownVAE(nn.Module):
    """A replacement for the VAE of task 1.1, which need not be filled in: one linear layer each way, known weights.

    In training mode it multiplies mu and logvar by a number, and reparameterize adds one, so that a test can recognise
    both. It records the devices of its inputs and the number of decoded images.
    """

    def __init__(self, encoder, decoder):
        super().__init__()
        self.in_channels, self.in_height, self.in_width = decoder.shape[1] // (H * W), H, W
        self.latent_size = len(decoder)
        self.encoder, self.decoder = nn.Parameter(torch.tensor(encoder)), nn.Parameter(torch.tensor(decoder))
        self.devices, self.decoded = set(), 0

    def encode(self, x):
        self.devices.add(str(x.device))
        mu, logvar = (x.reshape(len(x), PIXELS) @ self.encoder).chunk(2, 1)
        return (TRAINING * mu, TRAINING * logvar) if self.training else (mu, logvar)

    def reparameterize(self, mu, logvar):
        return mu + 1.37 if self.training else mu

    def decode(self, z):
        self.devices.add(str(z.device))
        images = (z @ self.decoder).sigmoid().reshape(-1, self.in_channels, H, W)
        self.decoded += len(images)
        return images

    def forward(self, x):
        return (x, *self.encode(x))  # the tests ignore the decoded image


# The functions that touch lib

def encode_all(images, labels, encoder, decoder, seed):
    from lib.explore_latent_space import get_mu_logvar
    torch.manual_seed(seed)
    loader = list(zip(torch.tensor(images).split(BATCHES), torch.tensor(labels).split(BATCHES)))
    result, again = (get_mu_logvar(KnownVAE(encoder, decoder).train(), loader, device="cpu") for _ in range(2))
    elsewhere = KnownVAE(encoder, decoder).to("meta")
    with contextlib.suppress(Exception):                # tensors on PyTorch's device "meta" hold no numbers
        get_mu_logvar(elsewhere, loader, device="meta")
    return {"result": result, "again": again, "kinds": [type(part).__name__ for part in result],
            "devices": sorted(elsewhere.devices)}


def decode_grid(encoder, decoder, ranges):
    from lib.explore_latent_space import sample_on_grid
    result = sample_on_grid(KnownVAE(encoder, decoder).eval(), grid_size=GRID, device="cpu", **ranges)
    elsewhere = KnownVAE(encoder, decoder).eval().to("meta")
    with contextlib.suppress(Exception):
        sample_on_grid(elsewhere, grid_size=GRID, device="meta", **ranges)
    return {"result": result, "kinds": [type(part).__name__ for part in result], "devices": sorted(elsewhere.devices)}


def count_decoded(encoder, decoder, many_ranges):
    """Return how many images are decoded for each of many ranges."""
    from lib.explore_latent_space import sample_on_grid
    models = [KnownVAE(encoder, decoder).eval() for _ in many_ranges]
    for model, ranges in zip(models, many_ranges):
        with contextlib.suppress(Exception):            # the other tests report it
            sample_on_grid(model, grid_size=GRID, device="cpu", **ranges)
    return [model.decoded for model in models]


# What is expected, in float64

def random_weights(latents):
    rng = np.random.default_rng(fresh())
    return {"encoder": rng.normal(0, 0.5, (PIXELS, 2 * latents)).astype(np.float32),
            "decoder": rng.normal(0, 0.5, (latents, PIXELS)).astype(np.float32)}


def looks_sampled(got, again, mu, logvar):
    """Return whether two results differ and both look like samples of N(mu, sigma²), for small and for large sigma."""
    sigma = np.exp(logvar / 2)
    small = sigma < np.median(sigma)
    return np.shape(got) == np.shape(again) and not close(got, again) and all(
        is_normal(((part - mu) / sigma)[some]) for part in (got, again) for some in (small, ~small))


def random_ranges():
    """Return minimum and maximum of both latents."""
    rng = np.random.default_rng(fresh())
    low0, low1 = rng.uniform(-3, -1), rng.uniform(0.2, 1)
    return {"latent0_min": low0, "latent0_max": low0 + rng.uniform(2.5, 4),
            "latent1_min": low1, "latent1_max": low1 + rng.uniform(4.5, 6)}


def decode(decoder, values0, values1, mixed=False):
    """Return images[i, j] of the i-th of values0 and the j-th of values1; mixed is a known mistake."""
    z = np.stack(np.meshgrid(values0, values1, indexing="ij"), axis=0 if mixed else -1).reshape(-1, 2)
    images = 1 / (1 + np.exp(-z @ decoder.astype(np.float64)))
    return images.reshape(len(values0), len(values1), -1, H, W)


def same_in_cells(images, expected):
    return np.shape(images) == expected.shape and all(
        same_numbers(images[i, j], expected[i, j]) for i in range(GRID) for j in range(GRID))


def mistakes_in_arrangement(decoder, values0, values1, images):
    """Return hints about images of the right latents that are arranged wrongly."""
    expected = decode(decoder, values0, values1)
    swapped = decode(decoder[::-1], values0, values1)
    return [
        Gives("the axes of the grid are swapped: the first is latent 0, the second is latent 1",
              expected.swapaxes(0, 1)),
        Gives("the two numbers of each z are swapped: latent 0 comes first, then latent 1", swapped),
        Gives("the two numbers of each z are swapped: latent 0 comes first, then latent 1", swapped.swapaxes(0, 1)),
        Gives("the axis of latent 0 is flipped: it runs from the maximum to the minimum", expected[::-1]),
        Gives("the axis of latent 1 is flipped: it runs from the maximum to the minimum", expected[:, ::-1]),
        Gives("both axes are flipped: they run from the maximum to the minimum", expected[::-1, ::-1]),
        Gives("the axes of the grid are swapped and one is flipped", expected.swapaxes(0, 1)[::-1]),
        Gives("the axes of the grid are swapped and one is flipped", expected.swapaxes(0, 1)[:, ::-1]),
        Gives("each z holds two values of one latent: stack them along the last axis before reshaping into pairs",
              decode(decoder, values0, values1, mixed=True)),
        Gives("the images are not yet arranged in a grid", expected.reshape(GRID * GRID, C, H, W)),
        When("each image is in the right place, but its pixels are not: C, H and W are mixed up",
             same_in_cells(images, expected)),
        When("the numbers are right, but their shape or order is wrong: a reshape or a transpose mixes them up",
             same_numbers(images, expected)),
    ]


def mistakes_in_range(decoder, ends):
    """Return hints about images of the wrong latents."""
    (low0, high0), (low1, high1) = ends
    values0, values1 = (np.linspace(low, high, GRID) for low, high in ends)
    centres = [low + (np.arange(GRID) + 0.5) * (high - low) / GRID for low, high in ends]
    ranges = [
        ("the maximum is left out", [np.linspace(low, high, GRID, endpoint=False) for low, high in ends]),
        ("the minimum and the maximum are left out: these are the centres of cells", centres),
        ("latent 1 uses the range of latent 0", (values0, values0)),
        ("latent 0 uses the range of latent 1", (values1, values1)),
        ("the ranges of latent 0 and latent 1 are swapped", (values1, values0)),
        ("it combines the minimum of one latent with the maximum of another",
         (np.linspace(low0, low1, GRID), np.linspace(high0, high1, GRID))),
    ]
    ranges += [(f"it always runs from {-end} to {end}", [np.linspace(-end, end, GRID)] * 2) for end in (1, 2, 3)]
    return [Gives(f"the range is wrong: {mistake}", decode(decoder, *values)) for mistake, values in ranges]


def run_grid(call, weights, ranges):
    got = call(decode_grid, ranges=ranges, **weights)
    result = got["result"]
    if not isinstance(result, list) or len(result) != 2:
        fail(what="What sample_on_grid returns", expected="images, step_size", got=words(result), read=READ_GRID)
    return got, result[0], result[1]


def check_devices(function, devices):
    """Check the devices of the model's inputs in a call with another device than the CPU."""
    if "cpu" in devices:
        fail(what=f"The device of what {function} passes to the model, for another device than the CPU",
             expected="the given device", got="cpu", read=f"the gap in {function}",
             hints=[When("the model's input is not moved to the device: .to(device) is missing", True)])


# The tests

@task("1.3")
def test_mu_and_logvar_of_a_dataset(call):
    """mu and logvar of all images, in the loader's order, are those of the encoder in evaluation mode."""
    rng = np.random.default_rng(fresh())
    n, weights = sum(BATCHES), random_weights(3)
    images, labels = rng.random((n, C, H, W), dtype=np.float32), rng.integers(0, 10, n)
    got = call(encode_all, images=images, labels=labels, seed=fresh(), **weights)
    mu, logvar = np.split(images.reshape(n, PIXELS).astype(np.float64) @ weights["encoder"], 2, axis=1)
    sigma = np.exp(logvar / 2)

    result = got["result"]
    some = result[0] if isinstance(result, list) and result else None
    parts = unpack(got=result, function="get_mu_logvar", shapes={"mu": (n, 3), "logvar": (n, 3)}, hints=[
        When("this is only the first batch", close(some, mu[:BATCHES[0]])),
        When("this is only the last batch", close(some, mu[-BATCHES[-1]:])),
        When("the last batch, which is smaller, is missing", close(some, mu[:-BATCHES[-1]])),
        When("the batches are in a list: concatenate them into one tensor",
             isinstance(some, list) and len(some) == len(BATCHES)),
        When("the tensor is transposed", close(some, mu.T)),
        When("these are images: the model's forward returns the decoded images, mu and logvar, in that order",
             isinstance(some, np.ndarray) and some.shape[1:] == (C, H, W)),
    ])
    hints = [When(mistake, close(parts, given)) for mistake, given in [
        ("mu is returned twice", [mu, mu]),
        ("logvar is returned twice", [logvar, logvar]),
        ("logvar comes before mu: the order is mu, logvar", [logvar, mu]),
        ("this is the standard deviation, not logvar", [mu, sigma]),
        ("this is the variance, not logvar", [mu, sigma ** 2]),
        ("the model is still in training mode: model.eval() is missing", [TRAINING * mu, TRAINING * logvar]),
    ]] + [
        When("the numbers are right, but not in the order of the loader",
             same_numbers(parts[0], mu) and same_numbers(parts[1], logvar)),
        When("these are samples from q(z | x), not its means",
             close(parts[0], TRAINING * mu + 1.37) or looks_sampled(parts[0], got["again"][0], mu, logvar)),
    ]
    for name, part, expected in zip(("mu", "logvar"), parts, (mu, logvar)):
        assert_close(what=f"{name} from get_mu_logvar", got=part, expected=expected, hints=hints, read=READ_ENCODE)
    if set(got["kinds"]) != {"Tensor"}:
        fail(what="What get_mu_logvar returns", expected="two tensors", got=", ".join(got["kinds"]), read=READ_ENCODE)
    check_devices("get_mu_logvar", got["devices"])


@task("1.3")
def test_images_of_the_grid(call):
    """images[i, j] shows the i-th value of latent 0 and the j-th of latent 1, evenly from minimum to maximum."""
    weights, ranges = random_weights(2), random_ranges()
    decoder = weights["decoder"]
    decoded = call(count_decoded, many_ranges=[random_ranges() for _ in range(60)], **weights)
    if len(set(decoded)) > 1:
        fail(what=f"How many images sample_on_grid decodes, for {len(decoded)} random ranges",
             expected="the same number for all", got=" or ".join(map(str, sorted(set(decoded)))), read=READ_GRID,
             hints=[When("for some ranges, rounding errors give one value too many (np.arange, torch.arange): use "
                         "linspace", True)])
    got, images, _ = run_grid(call, weights, ranges)
    ends = [(ranges[f"latent{i}_min"], ranges[f"latent{i}_max"]) for i in (0, 1)]
    values0, values1 = (np.linspace(low, high, GRID) for low, high in ends)
    expected = decode(decoder, values0, values1)
    assert_close(what="The images from sample_on_grid", got=images, expected=expected, read=READ_GRID,
                 hints=mistakes_in_arrangement(decoder, values0, values1, images) + mistakes_in_range(decoder, ends))
    if got["kinds"][0] != "ndarray":
        fail(what="The images from sample_on_grid", expected="a numpy array, ndarray", got=got["kinds"][0],
             read=READ_GRID)
    check_devices("sample_on_grid", got["devices"])
    weights["decoder"] = decoder[:, :H * W]
    images = run_grid(call, weights, ranges)[1]
    assert_close(what="The images from sample_on_grid, with one channel", got=images, expected=expected[:, :, :1],
                 read=READ_GRID,
                 hints=[Gives("an axis is lost: squeeze() removes the only channel", expected[:, :, 0])])


@task("1.3")
def test_step_size_of_the_grid(call):
    """The step sizes are the distances between neighbouring values of latent 0 and of latent 1."""
    ranges = random_ranges()
    got, _, step_size = run_grid(call, random_weights(2), ranges)
    spans = np.array([ranges["latent0_max"] - ranges["latent0_min"], ranges["latent1_max"] - ranges["latent1_min"]])
    expected = spans / (GRID - 1)
    assert_close(
        what="step_size from sample_on_grid", got=step_size, expected=expected, read=READ_GRID,
        hints=[
            Gives("the step is wrong: grid_size values have grid_size - 1 steps between them", spans / GRID),
            Gives("the step is wrong: the two are swapped", expected[::-1]),
            Gives("the step is wrong: it is negative", -expected),
            Gives("this is the whole range, not one step", spans),
            When("this is a single number: return a step for each latent",
                 isinstance(step_size, (int, float, np.ndarray, np.generic)) and np.size(step_size) == 1),
        ])
    if got["kinds"][1] != "ndarray":
        fail(what="step_size from sample_on_grid", expected="a numpy array, ndarray", got=got["kinds"][1],
             read=READ_GRID)


if __name__ == "__main__":
    run_this_file(__file__)
