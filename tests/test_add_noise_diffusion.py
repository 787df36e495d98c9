"""Task 2.2: add_noise, in lib/utils.py."""
import numpy as np
import pytest
import torch

from tests.support import assert_close, close, fail, fresh, is_normal, is_uniform, run_this_file, task, unpack

T = 10          # diffusion steps
B = 200         # points of a small batch
DRAWS = 40000   # points to judge a distribution by; every tolerance is six standard errors of the statistic or more
READ = "the docstring of add_noise"


# The function that touches lib

def noise(batch, t, baralphas, seed):
    """What add_noise gives, twice; and its inputs, as it has left them."""
    from lib.utils import add_noise
    torch.manual_seed(seed)
    batch, baralphas = torch.tensor(batch), torch.tensor(baralphas)
    t = t if isinstance(t, int) else torch.tensor(t)
    results = [add_noise(batch, t, baralphas) for _ in range(2)]
    return {"results": results, "after": [batch, t, baralphas],
            "kinds": [str(getattr(part, "dtype", "no tensor")) for result in results for part in
                      (result if isinstance(result, (tuple, list)) else [result])]}


# What is expected, in float64

def random_schedule(rng):
    """Products of alphas that fall from step to step, by so much that each step shows."""
    roots = np.linspace(0.95, 0.1, T) + rng.uniform(-0.01, 0.01, T)
    return (roots ** 2).astype(np.float32)


def random_batch(rng, points):
    """Points that are far from standard normal."""
    return rng.normal([2, -1], [1.5, 0.5], (points, 2)).astype(np.float32)


def inputs(points=B, first=0, last=T - 1):
    """A batch, a step for each point from first to last, and a schedule."""
    rng = np.random.default_rng(fresh())
    t = rng.permutation(np.arange(points) % (last - first + 1) + first)[:, None]
    if points > 3:
        t[0], t[-1] = first + 2, first + 4  # neither the smallest nor the largest, so that each shows as what it is
    return {"batch": random_batch(rng, points), "t": t, "baralphas": random_schedule(rng)}


def known_mistakes(x, eps, t, baralphas):
    """Pairs of a known mistake and the noised points that it gives; the first pair is right."""
    at_t = baralphas[t]
    signals = [
        ("", np.sqrt(at_t)),
        ("the square root over baralpha_t is missing, before the points", at_t),
        ("the points have no coefficient, sqrt(baralpha_t) belongs before them", 1),
        ("the points are missing, this is noise alone", 0),
        ("the points are divided by sqrt(baralpha_t), they must be multiplied", 1 / np.sqrt(at_t)),
        ("baralpha_t is squared, its square root belongs before the points", at_t ** 2),
    ]
    noises = [
        ("", np.sqrt(1 - at_t)),
        ("the square root over 1 - baralpha_t is missing, before the noise", 1 - at_t),
        ("this is 1 - sqrt(baralpha_t) where sqrt(1 - baralpha_t) belongs, before the noise", 1 - np.sqrt(at_t)),
        ("the noise has no coefficient, sqrt(1 - baralpha_t) belongs before it", 1),
        ("the noise is missing, these are the points alone", 0),
        ("1 - baralpha_t is squared, its square root belongs before the noise", (1 - at_t) ** 2),
        ("the noise has the coefficient of the points", np.sqrt(at_t)),
        ("the noise has the coefficient of the points, without its square root", at_t),
    ]
    mistakes = [
        ("the two coefficients are swapped", np.sqrt(1 - at_t) * x + np.sqrt(at_t) * eps),
        ("the two coefficients are swapped, and their square roots are missing", (1 - at_t) * x + at_t * eps),
        ("the noise is multiplied with the points, it must be added", np.sqrt(at_t) * x * np.sqrt(1 - at_t) * eps),
    ]
    alphas = baralphas / np.append(1, baralphas[:-1])
    others = [(f"this is the step {name}, one off: steps are counted from 0 and baralphas[0] is that of t = 0", values)
              for name, values in (
        ("t - 1", baralphas[t - 1]), ("t - 1", baralphas[np.maximum(t - 1, 0)]),
        ("t + 1", baralphas[(t + 1) % T]), ("t + 1", baralphas[np.minimum(t + 1, T - 1)]))]
    others += [(f"one step is taken for the whole batch, {name}: each point has its own in t", baralphas[step])
               for name, step in (("the first point's", t.flat[0]), ("the last point's", t.flat[-1]),
                                  ("the largest", t.max()), ("the smallest", t.min()), ("step 0", 0),
                                  ("the last of the schedule", T - 1))]
    others += [
        ("the steps run backwards", baralphas[T - 1 - t]),
        ("baralphas are multiplied up once more, they are products already", np.cumprod(baralphas)[t]),
        ("baralpha_t is divided by the one before, which gives the single step's alpha_t", alphas[t]),
        ("the points get each other's steps", np.sort(at_t, axis=0)),
    ]
    if len(x) == 2:
        others.append(("the steps run along the coordinates: baralphas[t] must have the shape B,1, not B", at_t.T))
    mistakes += [(name, np.sqrt(other) * x + np.sqrt(1 - other) * eps) for name, other in others]
    pairs = sorted(((one, other) for one in signals for other in noises),
                   key=lambda pair: bool(pair[0][0]) + bool(pair[1][0]))
    pairs = [(" and ".join(filter(None, (pair[0][0], pair[1][0]))), pair[0][1] * x + pair[1][1] * eps)
             for pair in pairs]
    return pairs[:1] + mistakes + pairs[1:]


def shape_hints(result, points):
    """Hints for results that are no two arrays of the batch's shape."""
    parts = result if isinstance(result, list) else [result]
    shapes = [np.shape(part) for part in parts if part is not None]
    of_eps = shapes[1] if len(shapes) == 2 and shapes[0] == (points, 2) else None
    return [
        ("one of the two results is not returned: they are noised and eps", shapes == [(points, 2)]),
        ("what is returned as eps has one number for both coordinates of a point: eps needs the shape of the batch",
         of_eps == (points, 1)),
        ("what is returned as eps has one row for all points: eps needs the shape of the batch",
         of_eps in [(2,), (1, 2)]),
        ("what is returned as eps is a single number: eps needs the shape of the batch", of_eps in [(), (1,), (1, 1)]),
        ("shapes have been broadcast: baralphas[t] must have the shape B,1",
         points > 2 and (points, points, 2) in shapes),
    ]


def other_steps(rng, t):
    """Timesteps of the same kind as t: another int, or an array whose ends are not those of the schedule."""
    if isinstance(t, int):
        return int(rng.choice([step for step in range(T) if step != t]))
    return 1 + rng.permutation(np.arange(t.size) + rng.integers(T)).reshape(t.shape) % (T - 2)


def run(call, batch, t, baralphas):
    """The two results of add_noise, noised and eps, and those of a second call, as float64."""
    got = call(noise, batch=batch, t=t, baralphas=baralphas, seed=fresh())
    results = [unpack(result, "add_noise", shape_hints(result, len(batch)), noised=batch.shape, eps=batch.shape)
               for result in got["results"]]
    if set(got["kinds"]) != {"torch.float32"}:
        fail("The numbers that add_noise returns, for a batch of float32", "tensors of float32",
             ", ".join(sorted(set(got["kinds"]))), [
                 ("these are NumPy's, convert them with torch.from_numpy(...).float()",
                  any(kind.startswith(("float", "int")) for kind in got["kinds"])),
                 ("the numbers are float64, as NumPy's random numbers are, which the network does not take: convert "
                  "them with .float()", "torch.float64" in got["kinds"])], READ)
    for name, before, after in zip(("the batch", "t", "baralphas"), (batch, t, baralphas), got["after"]):
        if not np.array_equal(before, after):
            fail(f"What add_noise leaves of {name}", "the numbers that it was given", "other ones", [
                (f"{name} is changed in place: +=, *= and methods like mul_() write into the caller's tensor", True)],
                READ)
    return [[part.astype(np.float64) for part in result] for result in results]


def explanations(noised, eps, batch, t, baralphas):
    """What the noised points must be with this eps, and known mistakes: pairs of words and whether they explain it."""
    x, values = batch.astype(np.float64), baralphas.astype(np.float64)
    steps = np.full((len(x), 1), t) if isinstance(t, int) else t
    signal, scale = np.sqrt(values[steps]) * x, np.sqrt(1 - values[steps])
    (_, expected), *mistakes = known_mistakes(x, eps, steps, values)
    added = (noised - signal) / scale   # the noise that was added, if all else is right
    independent = len(x) == B and added.std() > 0 < eps.std() and all(
        abs(np.corrcoef(added.ravel(), one.ravel())[0, 1]) < 6 / added.size ** 0.5 for one in (eps, x))
    return expected, [
        ("the two results are the same numbers: they are noised and eps", close(noised, eps)),
        ("the two results are swapped, the order is noised, eps", close((eps - signal) / scale, noised, atol=1e-4)),
        ("the noise has no coefficient, sqrt(1 - baralpha_t) belongs before it; or eps is returned with its "
         "coefficient, it must be the noise as it was drawn", close(noised - signal, eps, atol=1e-4)),
        ("the points are returned for eps", close(eps, x)),
        ("the noise is subtracted, it must be added; or the eps that is returned has the wrong sign",
         close(-added, eps, atol=1e-3)),
    ] + [(mistake, close(noised, given, atol=2e-5)) for mistake, given in mistakes] + [
        ("this is noise that was drawn anew: eps must be the noise that has been added to the points",
         independent and is_normal(added) and is_normal(eps)
         and not close(np.sort(added, axis=0), np.sort(eps, axis=0), atol=1e-3)),
    ]


def check_mix(call, batch, t, baralphas):
    """Compare the noised points with what equation 4 makes of the batch and of the noise that came with them.

    A mistake is named if it explains other random inputs as well: with one step, several mistakes may give the same.
    """
    rng = np.random.default_rng(fresh())
    for noised, eps in run(call, batch, t, baralphas):
        expected, hints = explanations(noised, eps, batch, t, baralphas)
        if close(noised, expected, atol=2e-5):
            continue
        for _ in range(3):
            given = {"batch": random_batch(rng, len(batch)), "t": other_steps(rng, t),
                     "baralphas": random_schedule(rng)}
            (noised_again, eps_again), _ = run(call, **given)
            again = explanations(noised_again, eps_again, **given)[1]
            hints = [(mistake, bool(one and other)) for (mistake, one), (_, other) in zip(hints, again)]
        what = f"step {t} for all points" if isinstance(t, int) else "a step for each point"
        assert_close(noised, expected, f"The noised points, sqrt(baralpha_t) x_0 + sqrt(1 - baralpha_t) eps, with "
                     f"{what} and the eps that is returned", hints, atol=2e-5, read=READ)


# The tests

@task("2.2")
def test_a_step_for_each_point(call):
    """Each point gets noise of its own step t: B,1."""
    check_mix(call, **inputs(first=1, last=T - 2))


@task("2.2")
def test_first_and_last_step(call):
    """t = 0 and t = T - 1 are steps like the others."""
    check_mix(call, **dict(inputs(), t=np.array([[0], [T - 1]] * (B // 2))))


@task("2.2")
@pytest.mark.parametrize("t", [0, 4, T - 1])
def test_one_step_for_all(call, t):
    """t may be an int, the step of the whole batch."""
    check_mix(call, **dict(inputs(), t=t))


@task("2.2")
@pytest.mark.parametrize("points", [1, 2, 3])
def test_few_points(call, points):
    """Nothing changes for a batch of one point, or of as many as there are coordinates."""
    check_mix(call, **inputs(points))
    check_mix(call, **dict(inputs(points), t=3))


@task("2.2")
@pytest.mark.parametrize("t", ["a step for each point", "an int"])
def test_noise_is_standard_normal(call, t):
    """eps is from N(0, I): each point, each coordinate and each call has a number of its own."""
    run(call, **inputs())   # wrong shapes show with a small batch: a large one could fill the memory
    given = inputs(DRAWS)
    (_, eps), (_, second) = run(call, **(dict(given, t=4) if t == "an int" else given))
    same = [(mistake, np.abs(difference).max() < 1e-3) for mistake, difference in (
        ("there is no noise", eps),
        ("the points are returned for eps", eps - given["batch"]),
        ("the noise is the same in each call, or nothing is drawn: draw eps in each call, without a seed",
         eps - second),
        ("one number serves all points and coordinates: eps needs the shape of the batch", eps - eps[0, 0]),
        ("one noise vector serves all points: eps needs the shape of the batch", np.ptp(eps, axis=0)),
        ("one number serves both coordinates of a point: eps needs the shape of the batch", np.ptp(eps, axis=1)),
    )]
    if any(recognised for _, recognised in same):
        fail(f"eps of {DRAWS} points, with {t}", "random and independent numbers", "the same numbers again and again",
             same, READ)
    of_draws = f"of eps over {DRAWS} points, with {t}"
    uniform = "the noise is uniform, torch.rand: it must be standard normal, torch.randn"
    baralpha = given["baralphas"].astype(np.float64)[4 if t == "an int" else given["t"]]
    scale, with_steps = np.sqrt(1 - baralpha), t != "an int"    # one step does not show what depends on it
    # standard error of a mean: 1 / sqrt(DRAWS) = 0.005
    assert_close(eps.mean(0), np.zeros(2), f"The means {of_draws}", [
        (uniform, is_uniform(eps, 0, 1)),
        ("these are noised points, not the noise", is_normal((eps - np.sqrt(baralpha) * given["batch"]) / scale)),
    ], rtol=0, atol=0.04, read=READ)
    # of a standard deviation: 1 / sqrt(2 * DRAWS) = 0.0035
    assert_close(eps.std(0), np.ones(2), f"The standard deviations {of_draws}", [
        (uniform, is_uniform(eps, 0, 1)), (uniform + ", not from -1 to 1", is_uniform(eps, -1, 1)),
        ("eps is returned with its coefficient, it must be the noise as it was drawn",
         with_steps and is_normal(eps / scale)),
        ("eps is returned with its coefficient, and without the square root",
         with_steps and is_normal(eps / scale ** 2)),
        ("eps is scaled like the batch, it must be standard normal", given["batch"].std(0)),
    ], rtol=0, atol=0.025, read=READ)
    # of a fourth moment: sqrt(96 / DRAWS) = 0.05
    assert_close((eps ** 4).mean(0), np.full(2, 3.0), f"The fourth moments {of_draws}", [
        (uniform, is_uniform(eps, -3 ** 0.5, 3 ** 0.5)),
        ("the noise is only -1 or 1, it must be standard normal", np.abs(np.abs(eps) - 1).max() < 1e-3),
        ("the noise differs in strength from point to point", np.corrcoef((eps ** 2).T)[0, 1] > 0.1),
    ], rtol=0, atol=0.35, read=READ)
    half = DRAWS // 2
    for name, one, other in (("the coordinates of a point", eps[:, 0], eps[:, 1]),
                             ("a point and the next", eps[:-1], eps[1:]),
                             ("the halves of the batch", eps[:half], eps[half:]),
                             ("two calls", eps, second),
                             ("eps and x_0", eps, (given["batch"] - [2, -1]) / [1.5, 0.5])):
        # standard error of a correlation: at most 1 / sqrt(half) = 0.007
        assert_close((one * other).mean(), 0, f"The correlation of {name}, {of_draws}",
                     [("the two are not independent", True)], rtol=0, atol=0.05, read=READ)


if __name__ == "__main__":
    run_this_file(__file__)
