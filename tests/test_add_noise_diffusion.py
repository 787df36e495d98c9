"""Task 2.2: add_noise, in lib/utils.py."""
import numpy as np
import pytest
import torch

from tests.support import (
    Gives,
    When,
    assert_close,
    close,
    fail,
    fresh,
    is_normal,
    is_uniform,
    run_this_file,
    task,
    unpack,
)

T = 10              # diffusion steps
B = 200             # points of a small batch
SAMPLES = 40000     # enough to judge a distribution; every tolerance is at least six standard errors of the statistic
READ = "the docstring of add_noise"
UNIFORM = "the noise is uniform (torch.rand) instead of standard normal (torch.randn)"


# The functions that touch lib

def noise(batch, t, baralphas, seed):
    """Return the results of two calls of add_noise, and its inputs after the calls."""
    from lib.utils import add_noise
    torch.manual_seed(seed)
    batch, baralphas = torch.tensor(batch), torch.tensor(baralphas)
    t = t if isinstance(t, int) else torch.tensor(t)
    results = [add_noise(batch, t, baralphas) for _ in range(2)]
    return {"results": results, "after": [batch, t, baralphas],
            "kinds": [str(getattr(part, "dtype", "no tensor")) for result in results for part in
                      (result if isinstance(result, (tuple, list)) else [result])]}


def changes_seed(batch, t, baralphas, seed):
    from lib.utils import add_noise
    torch.manual_seed(seed)
    add_noise(torch.tensor(batch), t if isinstance(t, int) else torch.tensor(t), torch.tensor(baralphas))
    return torch.initial_seed() != seed


# What is expected, in float64

def random_schedule(rng):
    """Return products of alphas, from 0.9999 to 0.0001, so far apart that neighbouring timesteps can be told apart."""
    roots = np.linspace(0.95, 0.1, T) + rng.uniform(-0.01, 0.01, T)
    roots[[0, -1]] = 0.99995, 0.01
    return (roots ** 2).astype(np.float32)


def random_batch(rng, points):
    """Return points that are far from standard normal."""
    return rng.normal([2, -1], [1.5, 0.5], (points, 2)).astype(np.float32)


def inputs(points=B, first=0, last=T - 1):
    """Return a batch, a timestep from first to last for each point, and a schedule."""
    rng = np.random.default_rng(fresh())
    t = rng.permutation(np.arange(points) % (last - first + 1) + first)[:, None]
    if points > 3:
        t[0], t[-1] = first + 2, first + 4  # neither smallest nor largest, so that a test can tell them apart
    return {"batch": random_batch(rng, points), "t": t, "baralphas": random_schedule(rng)}


def known_mistakes(x, eps, t, baralphas):
    """Return pairs of a known mistake and the noisy points that it gives; the first pair is right."""
    at_t = baralphas[t]
    signals = [
        ("", np.sqrt(at_t)),
        ("the factor for the points lacks its square root: use sqrt(baralpha_t)", at_t),
        ("the points lack their factor sqrt(baralpha_t)", 1),
        ("the points are missing: this is only noise", 0),
        ("the points are divided by sqrt(baralpha_t) instead of multiplied", 1 / np.sqrt(at_t)),
        ("the points are multiplied by the square of baralpha_t instead of its square root", at_t ** 2),
    ]
    noises = [
        ("", np.sqrt(1 - at_t)),
        ("the factor for the noise lacks its square root: use sqrt(1 - baralpha_t)", 1 - at_t),
        ("the factor for the noise is 1 - sqrt(baralpha_t) instead of sqrt(1 - baralpha_t)", 1 - np.sqrt(at_t)),
        ("the noise lacks its factor sqrt(1 - baralpha_t)", 1),
        ("the noise is missing: these are only the points", 0),
        ("the noise is multiplied by the square of 1 - baralpha_t instead of its square root", (1 - at_t) ** 2),
        ("the noise is multiplied by the factor for the points", np.sqrt(at_t)),
        ("the noise is multiplied by the factor for the points, without its square root", at_t),
    ]
    mistakes = [
        ("the two factors are swapped", np.sqrt(1 - at_t) * x + np.sqrt(at_t) * eps),
        ("the two factors are swapped, and their square roots are missing", (1 - at_t) * x + at_t * eps),
        ("the noise is multiplied by the points instead of added", np.sqrt(at_t) * x * np.sqrt(1 - at_t) * eps),
    ]
    mistakes += [(mistake, np.sqrt(other) * x + np.sqrt(1 - other) * eps)
                 for mistake, other in wrong_baralphas(x, t, baralphas)]
    pairs = sorted(((one, other) for one in signals for other in noises),
                   key=lambda pair: bool(pair[0][0]) + bool(pair[1][0]))
    pairs = [(" and ".join(filter(None, (one[0], other[0]))), one[1] * x + other[1] * eps) for one, other in pairs]
    return pairs[:1] + mistakes + pairs[1:]


def wrong_baralphas(x, t, baralphas):
    """Return pairs of a known mistake and what it uses instead of baralpha_t."""
    alphas = baralphas / np.append(1, baralphas[:-1])
    mistakes = [(f"this is timestep {name}: timesteps are counted from 0, and baralphas[0] belongs to t = 0", values)
                for name, values in (
                    ("t - 1", baralphas[t - 1]), ("t - 1", baralphas[np.maximum(t - 1, 0)]),
                    ("t + 1", baralphas[(t + 1) % T]), ("t + 1", baralphas[np.minimum(t + 1, T - 1)]))]
    mistakes += [(f"the whole batch uses the same timestep, {name}: t has one for each point", baralphas[timestep])
                 for name, timestep in (
                     ("the first point's", t.flat[0]), ("the last point's", t.flat[-1]), ("the largest", t.max()),
                     ("the smallest", t.min()), ("timestep 0", 0), ("the last in the schedule", T - 1))]
    mistakes += [
        ("the timesteps run backwards", baralphas[T - 1 - t]),
        ("baralphas are multiplied up again, but they are already products", np.cumprod(baralphas)[t]),
        ("baralpha_t is divided by the one before, which gives the alpha_t of a single step", alphas[t]),
        ("the points get each other's timesteps", np.sort(baralphas[t], axis=0)),
    ]
    if len(x) == 2:
        mistakes.append(("the timesteps run along the coordinates: baralphas[t] must have the shape B,1, not B",
                         baralphas[t].T))
    return mistakes


def shape_hints(result, points):
    """Return hints for results that are not two arrays of the batch's shape."""
    parts = result if isinstance(result, list) else [result]
    shapes = [np.shape(part) for part in parts if part is not None]
    of_eps = shapes[1] if len(shapes) == 2 and shapes[0] == (points, 2) else None
    return [
        When("one of the two results is not returned: return the noisy points and eps", shapes == [(points, 2)]),
        When("the returned eps has one number for both coordinates of a point: eps must have the batch's shape",
             of_eps == (points, 1)),
        When("the returned eps has one row for all points: eps must have the batch's shape", of_eps in [(2,), (1, 2)]),
        When("the returned eps is a single number: eps must have the batch's shape", of_eps in [(), (1,), (1, 1)]),
        When("shapes are broadcast: baralphas[t] must have the shape B,1",
             points > 2 and (points, points, 2) in shapes),
    ]


def other_timesteps(rng, t):
    """Return timesteps of the same kind as t, without the ends of the schedule: another int, or an array."""
    if isinstance(t, int):
        return int(rng.choice([timestep for timestep in range(1, T - 1) if timestep != t]))
    return 1 + rng.permutation(np.arange(t.size) + rng.integers(T)).reshape(t.shape) % (T - 2)


def run(call, batch, t, baralphas):
    """Return the two results of add_noise, the noisy points and eps, and those of a second call, as float64."""
    got = call(noise, batch=batch, t=t, baralphas=baralphas, seed=fresh())
    results = [unpack(got=result, function="add_noise", shapes={"noisy points": batch.shape, "eps": batch.shape},
                      hints=shape_hints(result, len(batch))) for result in got["results"]]
    if set(got["kinds"]) != {"torch.float32"}:
        fail(what="The numbers that add_noise returns for a float32 batch", expected="tensors of float32",
             got=", ".join(sorted(set(got["kinds"]))), read=READ,
             hints=[
                 When("these are NumPy arrays: convert them with torch.from_numpy(...).float()",
                      any(kind.startswith(("float", "int")) for kind in got["kinds"])),
                 When("the numbers are float64, like NumPy's random numbers, but the network needs float32: convert "
                      "them with .float()", "torch.float64" in got["kinds"]),
             ])
    if not all(np.isfinite(eps).all() for _, eps in results):
        fail(what=f"eps of {len(batch)} point{'s' * (len(batch) > 1)}", expected="finite numbers",
             got="NaN or infinite numbers", read=READ,
             hints=[When("a statistic of the batch is used, such as its standard deviation, which a single point does "
                         "not have", len(batch) == 1)])
    for name, before, after in zip(("batch", "t", "baralphas"), (batch, t, baralphas), got["after"]):
        if not np.array_equal(before, after):
            fail(what=f"The caller's {name} after add_noise", expected="unchanged", got="changed",
                 hints=[When(f"{name} is changed in place: +=, *= and methods like mul_() write into the caller's "
                             "tensor", True)], read=READ)
    return [[part.astype(np.float64) for part in result] for result in results]


def explanations(noisy, eps, batch, t, baralphas):
    """Return the noisy points expected with this eps, and hints."""
    x, values = batch.astype(np.float64), baralphas.astype(np.float64)
    timesteps = np.full((len(x), 1), t) if isinstance(t, int) else t
    signal, scale = np.sqrt(values[timesteps]) * x, np.sqrt(1 - values[timesteps])
    (_, expected), *mistakes = known_mistakes(x, eps, timesteps, values)
    added = (noisy - signal) / scale    # the noise that was added, if all else is right
    independent = len(x) == B and added.std() > 0 < eps.std() and all(
        abs(np.corrcoef(added.ravel(), one.ravel())[0, 1]) < 6 / added.size ** 0.5 for one in (eps, x))
    return expected, [
        When("the two results are the same numbers: return the noisy points and eps", close(noisy, eps)),
        When("the two results are swapped: return the noisy points first, then eps",
             close((eps - signal) / scale, noisy, atol=1e-4)),
        When("the noise lacks its factor sqrt(1 - baralpha_t); or the returned eps includes this factor, but it must "
             "be the noise as it was drawn", close(noisy - signal, eps, atol=1e-4)),
        When("the points are returned as eps", close(eps, x)),
        When("the noise is subtracted instead of added, or the returned eps has the wrong sign",
             close(-added, eps, atol=1e-3)),
    ] + [When(mistake, close(noisy, given, atol=2e-5)) for mistake, given in mistakes] + [
        When("the returned eps was drawn separately: return the noise that was added to the points",
             independent and is_normal(added) and is_normal(eps)
             and not close(np.sort(added, axis=0), np.sort(eps, axis=0), atol=1e-3)),
    ]


def check_mix(call, batch, t, baralphas):
    """Compare the noisy points with equation 4, applied to the batch and to the returned noise.

    A mistake is named if it explains other random inputs too: with a single timestep, several may give the same points.
    """
    rng = np.random.default_rng(fresh())
    for noisy, eps in run(call, batch, t, baralphas):
        expected, hints = explanations(noisy, eps, batch, t, baralphas)
        if close(noisy, expected, atol=2e-5):
            continue
        for _ in range(3):
            given = {"batch": random_batch(rng, len(batch)), "t": other_timesteps(rng, t),
                     "baralphas": random_schedule(rng)}
            (noisy_again, eps_again), _ = run(call, **given)
            again = explanations(noisy_again, eps_again, **given)[1]
            hints = [When(hint.mistake, hint.shown and other.shown) for hint, other in zip(hints, again)]
        timesteps = f"timestep {t} for all points" if isinstance(t, int) else "a timestep for each point"
        assert_close(what="The noisy points, sqrt(baralpha_t) x_0 + sqrt(1 - baralpha_t) eps, with "
                          f"{timesteps} and the returned eps",
                     got=noisy, expected=expected, hints=hints, atol=2e-5, read=READ)


# The tests

@task("2.2")
def test_a_timestep_for_each_point(call):
    """Each point gets noise of its own timestep, t: B,1."""
    given = inputs(first=1, last=T - 2)
    check_mix(call, **given)
    given["batch"] *= 1000
    for noisy, eps in run(call, **given):
        expected, _ = explanations(noisy, eps, **given)
        assert_close(what="The noisy points, for points of a size of 1000", got=noisy, expected=expected, read=READ,
                     hints=[When("the noisy points are limited to a range (clamp), but points may be anywhere",
                                 np.abs(noisy).max() < 0.9 * np.abs(expected).max())])


@task("2.2")
def test_first_and_last_timestep(call):
    """t = 0 and t = T - 1 are timesteps like the others."""
    check_mix(call, **dict(inputs(), t=np.array([[0], [T - 1]] * (B // 2))))


@task("2.2")
@pytest.mark.parametrize("t", [0, 4, T - 1])
def test_one_timestep_for_all(call, t):
    """t may be an int, the timestep of the whole batch."""
    check_mix(call, **dict(inputs(), t=t))


@task("2.2")
@pytest.mark.parametrize("points", [1, 2, 3])
def test_few_points(call, points):
    """A batch may have one point, or as many points as coordinates."""
    check_mix(call, **inputs(points))
    check_mix(call, **dict(inputs(points), t=3))


@task("2.2")
@pytest.mark.parametrize("t", ["a timestep for each point", "an int"])
def test_noise_is_standard_normal(call, t):
    """eps is from N(0, I): each point, each coordinate and each call has its own number."""
    few = []                # small batches first: with wrong shapes, a large one could fill the memory
    for timestep in (0, T - 1):
        few += [eps for _, eps in run(call, **(dict(inputs(), t=timestep) if t == "an int" else inputs()))]
    standardised = any(np.ptp([statistic(eps, axis) for eps in few], axis=0).max() < 1e-5
                       for statistic in (np.mean, np.std) for axis in (None, 0))
    given = inputs(SAMPLES)
    (_, eps), (_, second) = run(call, **(dict(given, t=4) if t == "an int" else given))
    constant = [When(mistake, np.abs(difference).max() < 1e-3) for mistake, difference in (
        ("there is no noise", eps),
        ("there is no noise at timestep 0, but it is a timestep like the others", few[0]),
        ("the points are returned as eps", eps - given["batch"]),
        ("the noise is the same on every call, or nothing is drawn: draw eps in every call, without a seed",
         eps - second),
        ("all points and coordinates get the same number: eps must have the batch's shape", eps - eps[0, 0]),
        ("all points get the same noise vector: eps must have the batch's shape", np.ptp(eps, axis=0)),
        ("both coordinates of a point get the same number: eps must have the batch's shape", np.ptp(eps, axis=1)),
    )]
    constant.append(When("the noise is standardised: all batches have the same mean or standard deviation, but those "
                         "of independent numbers vary", standardised))
    if any(hint.shown for hint in constant):
        fail(what=f"eps of {SAMPLES} points, with {t}", expected="random and independent numbers",
             got="other numbers", hints=constant, read=READ)
    if call(changes_seed, **inputs(), seed=fresh()):
        fail(what="The seed of PyTorch's random numbers after add_noise", expected="unchanged", got="changed",
             hints=[When("a seed is set (torch.manual_seed): every batch would get the same noise", True)], read=READ)
    of_eps = f"of eps over {SAMPLES} points, with {t}"
    baralpha = given["baralphas"].astype(np.float64)[4 if t == "an int" else given["t"]]
    scale = np.sqrt(1 - baralpha)
    has_timesteps = t != "an int"   # a single timestep does not show what depends on it
    # standard error of a mean: 1 / sqrt(SAMPLES) = 0.005
    assert_close(
        what=f"The means {of_eps}", got=eps.mean(0), expected=np.zeros(2), rtol=0, atol=0.04, read=READ,
        hints=[
            When(UNIFORM, is_uniform(eps, 0, 1)),
            When("these are the noisy points, not the noise",
                 is_normal((eps - np.sqrt(baralpha) * given["batch"]) / scale)),
        ])
    # standard error of a standard deviation: 1 / sqrt(2 * SAMPLES) = 0.0035
    assert_close(
        what=f"The standard deviations {of_eps}", got=eps.std(0), expected=np.ones(2), rtol=0, atol=0.025, read=READ,
        hints=[
            When(UNIFORM, is_uniform(eps, 0, 1)),
            When("the noise is uniform from -1 to 1 instead of standard normal (torch.randn)", is_uniform(eps, -1, 1)),
            When("the returned eps includes its factor, but it must be the noise as it was drawn",
                 has_timesteps and is_normal(eps / scale)),
            When("the returned eps includes its factor, without the square root",
                 has_timesteps and is_normal(eps / scale ** 2)),
            Gives("eps is scaled like the batch instead of being standard normal", given["batch"].std(0)),
        ])
    # standard error of a fourth moment: sqrt(96 / SAMPLES) = 0.05
    assert_close(
        what=f"The fourth moments {of_eps}", got=(eps ** 4).mean(0), expected=np.full(2, 3.0), rtol=0, atol=0.35,
        read=READ,
        hints=[
            When(UNIFORM, is_uniform(eps, -3 ** 0.5, 3 ** 0.5)),
            When("the noise is only -1 or 1 instead of standard normal", np.abs(np.abs(eps) - 1).max() < 1e-3),
            When("the noise is stronger for some points than for others", np.corrcoef((eps ** 2).T)[0, 1] > 0.1),
        ])
    # that no number among so many is above 3.5 has a probability of e^-37
    if np.abs(eps).max() < 3.5:
        fail(what=f"The largest number {of_eps}", expected="above 3.5", got=f"{np.abs(eps).max():.5g}", read=READ,
             hints=[When("the noise is limited to a range (clamp), but normal numbers are not", True)])
    half = SAMPLES // 2
    for name, one, other in (("the coordinates of a point", eps[:, 0], eps[:, 1]),
                             ("a point and the next", eps[:-1], eps[1:]),
                             ("the halves of the batch", eps[:half], eps[half:]),
                             ("two calls", eps, second),
                             ("eps and x_0", eps, (given["batch"] - [2, -1]) / [1.5, 0.5])):
        # standard error of a correlation: at most 1 / sqrt(half) = 0.007
        assert_close(what=f"The correlation between {name}, {of_eps}", got=(one * other).mean(), expected=0,
                     rtol=0, atol=0.05, read=READ, hints=[When("the two are not independent", True)])


if __name__ == "__main__":
    run_this_file(__file__)
