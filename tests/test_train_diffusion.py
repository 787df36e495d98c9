"""Task 2.2: the step of training inside train, in lib/train_diffusion.py. It needs add_noise, of the same task."""
from types import SimpleNamespace

import numpy as np
import torch
from torch import nn

from tests.support import assert_close, close, fail, fresh, is_normal, is_uniform, run_this_file, size, task, words

T = 10                          # diffusion steps
DRAWS, BATCH = 20000, 500       # points to judge a distribution by, all tolerances are six standard errors or more
READ = "the words in the gap of train, and algorithm 1 of Ho et al. 2020"


class Network(nn.Module):
    """Stands for SimpleDiffusion: one linear layer, of which all gradients are known. It notes what it is given.

    Args:
        weight: 4,2; the prediction is [x, t / T, 1] @ weight.
    """

    def __init__(self, weight):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(weight))
        self.calls = []

    def forward(self, x, t):
        if not (torch.is_tensor(x) and x.is_floating_point() and x.dim() == 2 and x.shape[1] == 2):
            got = f"shape {size(x.shape)}, {x.dtype}" if torch.is_tensor(x) else type(x).__name__
            fail("What the model is given first, the noised points", "shape B,2, torch.float32", got, [
                ("the arguments are swapped: first the points, then t", torch.is_tensor(x) and x.dtype == torch.int64
                 and torch.is_tensor(t) and t.shape == (len(x), 2)),
                ("both results of add_noise are given at once", isinstance(x, tuple) and all(
                    torch.is_tensor(part) and part.dtype == torch.float32 and part.shape[1:] == (2,) for part in x))],
                 READ)
        known = torch.is_tensor(t) and t.shape == (len(x), 1)   # the tests say what is wrong with it
        steps = t.to(x.dtype) / T if known else x.new_zeros(len(x), 1)
        prediction = torch.cat([x, steps, torch.ones_like(steps)], dim=1) @ self.weight
        self.calls.append({"x": x.detach().clone(), "t": t.detach().clone() if torch.is_tensor(t) else t,
                           "weight": self.weight.detach().clone(), "training": self.training,
                           "in_graph": prediction.requires_grad, "gradients": []})
        if prediction.requires_grad:
            prediction.register_hook(lambda gradient, note=self.calls[-1]: note["gradients"].append(gradient.clone()))
        return prediction


class Lines(nn.Module):
    """The best network for normal data: at each step t, the noise of a coordinate is slope * x + shift."""

    def __init__(self, steps):
        super().__init__()
        self.slope, self.shift = nn.Parameter(torch.zeros(steps, 2)), nn.Parameter(torch.zeros(steps, 2))

    def forward(self, x, t):
        t = torch.as_tensor(t).reshape(-1).long()
        return self.slope[t] * x + self.shift[t]


# The functions that touch lib

def run_train(points, baralphas, model, optimizer, batch_size, epochs):
    from lib.train_diffusion import train
    args = SimpleNamespace(batch_size=batch_size, device="cpu", epochs=epochs, diffusion_steps=len(baralphas),
                           dataset="moons", verbose=False)
    try:
        return train(points, args, model, optimizer, torch.tensor(baralphas))
    except RuntimeError as error:
        if "does not require grad" not in str(error):
            raise
        fail("What backward() starts from", "a loss with a gradient", "a loss without one", [
            ("the model runs under no_grad, or its weights need no gradients",
             not (getattr(model, "calls", []) or [{"in_graph": True}])[-1]["in_graph"]),
            ("the loss is not made of the prediction, or one of them is detached: detach(), .data, item(), numpy() and "
             "torch.tensor(...) leave PyTorch's graph", True)], READ)


def follow_train(points, baralphas, weight, batch_size, epochs, learning_rate, seed):
    """What train gives to a model and to an optimizer, and what it makes of them."""
    torch.manual_seed(seed)
    model, steps, points = Network(weight), [], points.copy()
    optimizer = torch.optim.SGD(model.parameters(), lr=learning_rate)

    def note(*_):
        gradient = model.weight.grad
        steps.append({"calls": len(model.calls), "weight": model.weight.detach().clone(),
                      "gradient": None if gradient is None else gradient.clone(),
                      "backward": any(call["gradients"] for call in model.calls[-1:])})

    optimizer.register_step_post_hook(note)
    loss = run_train(points, baralphas, model, optimizer, batch_size, epochs)
    return {"calls": model.calls, "steps": steps, "loss": loss, "points": points, "weight": model.weight}


def learn(points, baralphas, batch_size, epochs, seed):
    torch.manual_seed(seed)
    model = Lines(len(baralphas))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    run_train(points, baralphas, model, optimizer, batch_size, epochs)
    return {"slope": model.slope, "shift": model.shift}


# What is expected, in float64

def random_schedule(rng):
    """Products of alphas that fall from step to step, by so much that each step shows."""
    roots = np.linspace(0.95, 0.1, T) + rng.uniform(-0.01, 0.01, T)
    return (roots ** 2).astype(np.float32)


def run(call, points, batch_size, epochs=1, learning_rate=0.0):
    """Run train; the notes of its steps, with all that is in them in float64, and the rest of what came.

    A note has the batch x_0, the noised points x, their steps t, the weight, and the gradients of the loss with respect
    to the prediction, one for each backward(), as they were in the step; what the optimizer had of a gradient; and the
    weight after the step.
    """
    rng = np.random.default_rng(fresh())
    baralphas = random_schedule(rng)
    got = call(follow_train, points=points, baralphas=baralphas, weight=rng.normal(0, 0.5, (4, 2)).astype(np.float32),
               batch_size=batch_size, epochs=epochs, learning_rate=learning_rate, seed=fresh())
    batches = [points[i:i + batch_size] for i in range(0, len(points), batch_size)] * epochs
    calls, steps = got["calls"], got["steps"]
    if not np.array_equal(got["points"], points):
        fail("What train leaves of the dataset", "the points that it was given", "other ones", [
            ("the batch is changed in place: +=, *= and methods like add_() write into the dataset", True)], READ)
    if len(calls) < len(batches):
        fail(f"How often the model is called, for {len(batches)} batches", len(batches), len(calls),
             [("the model is never called", not calls),
              ("the model is not called in each batch: is there a return, a break or a condition in the gap?", True)],
             READ)
    if len(steps) != len(batches):
        fail(f"How many steps the optimizer takes, for {len(batches)} batches", len(batches), len(steps), [
            ("optimizer.step() is missing", not steps),
            ("the optimizer takes two steps in each batch", len(steps) == 2 * len(batches)),
            ("the optimizer takes several steps in each batch", len(steps) > len(batches))], READ)
    if len(calls) > len(batches):   # a call may have been for something else: the last one before a step counts
        ends = [step["calls"] for step in steps]
        calls = [[one for one in calls[start:end] if one["in_graph"]][-1:] for start, end in zip([0] + ends, ends)]
        if not all(calls):
            fail("A call of the model before each step of the optimizer", "one with a gradient", "none", (), READ)
        calls = [one for one, in calls]
    notes = []
    for batch, one, step in zip(batches, calls, steps):
        check_given(batch, one, batch_size, baralphas)
        t, x = one["t"].astype(int), one["x"].astype(np.float64)
        baralpha, x_0 = baralphas.astype(np.float64)[t], batch.astype(np.float64)
        notes.append(SimpleNamespace(
            x_0=x_0, x=x, t=t, baralpha=baralpha, eps=(x - np.sqrt(baralpha) * x_0) / np.sqrt(1 - baralpha),
            before=one["weight"].astype(np.float64), after=step["weight"].astype(np.float64),
            gradients=one["gradients"], backward=step["backward"], for_optimizer=step["gradient"]))
    return notes, baralphas.astype(np.float64), got


def check_given(batch, one, batch_size, baralphas):
    """Check shapes and range of what the model was given with a batch."""
    t, x = one["t"], one["x"]
    if words(t) != f"shape {len(batch)},1":
        shape = np.shape(t)
        fail(f"The steps t that the model is given, with a batch of {len(batch)} points", f"shape {len(batch)},1",
             words(t), [
                 ("args.batch_size is taken for the number of points: the last batch may be smaller, take len(batch)",
                  shape == (batch_size, 1)),
                 ("t has the shape B, it must be B,1", shape == (len(batch),)),
                 ("t is transposed, it must be B,1", shape == (1, len(batch))),
                 ("one step is drawn for the whole batch, each point needs one of its own: t is B,1",
                  isinstance(t, (int, float, np.ndarray, np.generic)) and np.size(t) == 1 < len(batch)),
                 ("a step is drawn for each coordinate, both have the one of their point",
                  shape == (len(batch), 2) and t.dtype.kind == "i"),
             ], READ)
    if x.shape != batch.shape:
        fail(f"The noised points that the model is given, with a batch of {len(batch)} points",
             f"shape {size(batch.shape)}", words(x), [
                 ("args.batch_size is taken for the number of points: the last batch may be smaller, take len(batch)",
                  len(x) == batch_size)], READ)
    values = t.astype(np.float64)
    if not np.all((values == np.floor(values)) & (values >= 0) & (values < T)):
        fail("The steps t that the model is given", f"integers from 0 to {T - 1}",
             f"numbers from {values.min():.5g} to {values.max():.5g}", [
                 (f"t is {name}: the model takes the step itself, counted from 0",
                  close(now, np.round(now), atol=1e-4) and now.round().min() == 0 and now.round().max() == T - 1)
                 for name, now in (
                     ("divided by diffusion_steps", values * T), ("divided by diffusion_steps - 1", values * (T - 1)),
                     ("counted from 1", values - 1), ("negative", -values),
                     ("counted from 1 and divided by diffusion_steps", values * T - 1))
             ] + [
                 ("this is baralpha_t: the model takes the step itself", bool(np.isin(t, baralphas).all())),
                 ("this is sqrt(baralpha_t): the model takes the step itself",
                  bool(len(t) > 1 and np.isclose(values[..., None], np.sqrt(baralphas)).any(-1).all())),
                 ("t is not rounded down: the steps are integers",
                  np.unique(values).size > BATCH / 2 and is_uniform(values, 0, T)),
             ], READ)
    if not one["training"]:
        fail("The mode of the model", "training mode", "evaluation mode", [
            ("the model is in evaluation mode, which is for generating: train has called model.train()", True)], READ)


def far_points(rng, number):
    """So far from the origin that the noise hardly moves them: it shows at which step they are noised."""
    return (rng.choice([-1, 1], (number, 2)) * rng.uniform(900, 1100, (number, 2))).astype(np.float32)


def near_points(rng, number):
    return rng.normal([2, -1], [1.5, 0.5], (number, 2)).astype(np.float32)


def known_losses(note, difference):
    """Pairs of a known mistake and the gradient of the loss, with respect to the prediction, that it gives."""
    n, prediction = difference.size, difference + note.eps
    mistakes = [
        ("the loss has the wrong sign, training would raise it", -2 * difference / n),
        ("the error is summed, the loss is its mean", 2 * difference),
        ("the loss is twice the mean squared error, as where it is averaged over the batch alone, not over coordinates",
         2 * difference / len(difference)),
        ("the loss is half of the mean squared error", difference / n),
        ("this is the absolute error, the loss is the mean squared one", np.sign(difference) / n),
        ("this is the sum of the absolute errors, the loss is the mean squared one", np.sign(difference)),
        ("this is the smooth absolute error (Huber), the loss is the mean squared one", difference.clip(-1, 1) / n),
        ("this is the root of the mean squared error", difference / n / np.sqrt((difference ** 2).mean())),
        ("the gradient is the same for all predictions: the error is not squared", np.full_like(difference, 1 / n)),
        ("the gradient is the same for all predictions: the error is not squared", np.full_like(difference, -1 / n)),
    ]
    for name, target in (
            ("the points x_0", note.x_0), ("the noised points", note.x),
            ("nothing, it is squared alone", np.zeros_like(note.x)),
            ("eps with the wrong sign (or add_noise subtracts it)", -note.eps),
            ("the noise with its coefficient", note.eps * np.sqrt(1 - note.baralpha)),
            ("the step t", np.broadcast_to(note.t, note.x.shape)), ("noised - batch", note.x - note.x_0),
            ("the mean of eps", np.full_like(note.x, note.eps.mean()))):
        mistakes += [(f"the prediction is compared with {name}: it must be with eps, the noise that was drawn{more}",
                      factor * (prediction - target))
                     for more, factor in (("", 2 / n), (", and the mean be taken", 2))]
    return mistakes


def known_errors(note, difference):
    """Pairs as for assert_close, of what the prediction is compared with and how."""
    got, n = note.gradients[0], difference.size
    if n < 2 * BATCH or not is_normal(note.eps):    # few numbers fit several mistakes; or add_noise is to blame
        return []
    target = difference + note.eps - got * n / 2    # what the prediction is compared with, if the rest is right
    independent = all(abs(np.corrcoef(target.ravel(), other.ravel())[0, 1]) < 6 / n ** 0.5
                      for other in (note.eps, note.x, note.x_0, difference + note.eps))
    return [(mistake, close(got, given, rtol=1e-4, atol=1e-5 / n))
            for mistake, given in known_losses(note, difference)] + [
        ("the prediction is compared with noise that was drawn anew: it must be with the eps that add_noise returned "
         "with the noised points", independent and is_normal(target)
         and not close(np.sort(target, axis=0), np.sort(note.eps, axis=0), atol=1e-3))]


def check_step(note, learning_rate, which, earlier=()):
    """Compare the gradient of the loss and the new weight; give back loss and gradient of the weight.

    Args:
        which: the step in words.
        earlier: the weight's gradients of the steps before, the last one first.
    """
    features = np.concatenate([note.x, note.t / T, np.ones_like(note.t)], axis=1)
    difference = features @ note.before - note.eps
    loss, gradient = (difference ** 2).mean(), 2 * difference / difference.size
    of_weight = features.T @ gradient
    if not note.gradients:
        fail(f"What reaches the model's prediction of backward(), {which}", "the gradient of the loss", "nothing", [
            ("backward() is missing, or the loss is not made of the prediction, or detached from it", True)], READ)
    if len(note.gradients) > 1:
        fail(f"How often backward() goes through the model's prediction, {which}", 1, len(note.gradients),
             [("backward() is called more than once in a step", True)], READ)
    got, rounding = note.gradients[0], 5e-5 / difference.size
    assert_close(got, gradient, f"The gradient with respect to the prediction of the mean squared error, between "
                 f"prediction and eps, {which}", known_errors(note, difference), rtol=1e-3, atol=rounding, read=READ)
    change, expected = note.after - note.before, -learning_rate * of_weight
    sums = [close(change, expected - learning_rate * sum(earlier[:i]), rtol=1e-3, atol=1e-5)
            for i in range(1, len(earlier) + 1)]
    unchanged, proportional = not np.any(change), np.vdot(change, expected) / np.sqrt(
        max(np.vdot(change, change) * np.vdot(expected, expected), 1e-30))
    assert_close(change, expected, f"The change of the weights, -learning rate * gradient, {which}", [
        ("optimizer.step() comes before backward(): it moves the weights by the gradient of the batch before",
         not note.backward),
        ("optimizer.step() finds no gradient, as where zero_grad() stands between backward() and step()",
         unchanged and (note.for_optimizer is None or not np.any(note.for_optimizer))),
        ("zero_grad() is missing, the gradients of all batches add up",
         bool(sums and sums[-1])),
        ("the gradient has the wrong sign, training would raise the loss", close(change, -expected, rtol=1e-3)),
        ("the gradient is scaled or clipped before the step", proportional > 1 - 1e-6),
        ("gradients of another batch are added, zero_grad() must be called once for each batch", any(sums)),
    ], rtol=1e-3, atol=1e-5, read=READ)
    return loss, of_weight


def check_loss(got, loss, name):
    assert_close(got["loss"], loss, f"What train returns, {name}", [
        ("the name `loss` is never set in the gap: the lines after it take the loss by this name",
         isinstance(got["loss"], np.ndarray) and bool(np.isnan(got["loss"]).all())),
        ("the loss has the wrong sign", -loss),
        ("`loss` is no longer the loss of the batch when the gap ends", True),
    ], rtol=1e-3, atol=1e-5, read=READ)


def distance_to_data(slope, shift, roots, mean, deviation):
    """The Wasserstein distance of order 2 between normal data and what lines generate, without drawing from either."""
    center, width = np.zeros(2), np.ones(2)
    for t in reversed(range(len(roots))):
        before = roots[t - 1] if t else 1
        of_eps = np.sqrt(1 - before ** 2) - before * np.sqrt(1 - roots[t] ** 2) / roots[t]
        factor = before / roots[t] + of_eps * slope[t]
        center, width = factor * center + of_eps * shift[t], np.abs(factor) * width
    return np.sqrt(((center - mean) ** 2 + (width - deviation) ** 2).sum())


# The tests

@task("2.2")
def test_steps_are_drawn_uniformly(call):
    """Each point of each batch gets an integer from 0 to T - 1, each equally likely."""
    rng = np.random.default_rng(fresh())
    notes, _, _ = run(call, near_points(rng, DRAWS), BATCH)
    t = np.array([note.t.ravel() for note in notes])
    counts = np.bincount(t.ravel(), minlength=T)
    # standard deviation of a count: sqrt(DRAWS * 0.1 * 0.9) = 42
    assert_close(counts, np.full(T, DRAWS / T), f"How often each step is drawn, of {DRAWS} draws", [
        ("the step is the same for all points and batches", np.count_nonzero(counts) == 1),
        ("one step is drawn for the whole batch, each point needs one of its own: t is B,1",
         not np.ptp(t, axis=1).any()),
        ("the steps are the same in each batch: draw them in each batch, without a seed",
         not np.ptp(t, axis=0).any()),
        ("neither step 0 nor the last step, T - 1, is ever drawn", not counts[0] and not counts[-1]),
        ("the last step, T - 1, is never drawn: torch.randint leaves its upper end out", not counts[-1]),
        ("step 0 is never drawn: steps are counted from 0", not counts[0]),
        ("the first and the last step are drawn half as often: round() does that, steps are rounded down",
         close(counts[[0, -1]], np.full(2, DRAWS / (T - 1) / 2), rtol=0.2)
         and close(counts[1:-1], np.full(T - 2, DRAWS / (T - 1)), rtol=0.15)),
        ("the steps are not equally likely", True),
    ], rtol=0, atol=260, read=READ)
    for mistake, same in (
            ("one step is drawn for the whole batch, each point needs one of its own: t is B,1",
             not np.ptp(t, axis=1).any()),
            ("the steps are the same in each batch: draw them in each batch, without a seed",
             not np.ptp(t, axis=0).any())):
        if same:
            fail(f"The steps of {len(t)} batches", "random and independent numbers", "the same again and again",
                 [(mistake, True)], READ)


@task("2.2")
def test_points_have_the_noise_of_their_step(call):
    """The model is given the noised points x_t, with the step t at which they were noised."""
    points = far_points(np.random.default_rng(fresh()), DRAWS)
    notes, baralphas, _ = run(call, points, BATCH)
    x_0, x, t = (np.concatenate([getattr(note, name) for note in notes]) for name in ("x_0", "x", "t"))
    # how much of x_0 is in x: its error is eps / |x_0|, less than 6 / 1273
    share, steps = ((x * x_0).sum(1) / (x_0 * x_0).sum(1)), t.ravel()
    roots = np.sqrt(baralphas)
    nearest = np.abs(share[:, None] - roots).argmin(axis=1)
    rest = (x - roots[nearest][:, None] * x_0) / np.sqrt(1 - roots[nearest][:, None] ** 2)
    known = (np.abs(share - roots[nearest]) < 0.01).all() and is_normal(rest)   # x is what add_noise makes of a step
    assert_close(share, roots[steps], "How much of x_0 is in the points that the model is given, sqrt(baralpha_t)", [
        ("the model is given the points without noise", np.array_equal(x, x_0)),
        ("the model is given the noise alone: add_noise returns noised, eps, in this order", is_normal(x)),
        ("the model is told the step after that of the noise, t + 1: both have the same t",
         bool(known and np.all(steps - nearest == 1))),
        ("the model is told the step before that of the noise, t - 1: both have the same t",
         bool(known and np.all(nearest - steps == 1))),
        ("the noise is that of one step for the whole batch, the model is told others",
         bool(known and not np.ptp(nearest.reshape(-1, BATCH), axis=1).any())),
        ("the noise is that of another step than the model is told: both have the same t", known),
        ("the points are not noised as by add_noise: see what its tests say", True),
    ], rtol=0, atol=0.01, read=READ)


@task("2.2")
def test_noise_is_standard_normal(call):
    """eps = (x_t - sqrt(baralpha_t) x_0) / sqrt(1 - baralpha_t) is from N(0, I), and new in each batch."""
    points = near_points(np.random.default_rng(fresh()), DRAWS)
    notes, _, _ = run(call, points, BATCH)
    eps, x_0, x = (np.concatenate([getattr(note, name) for note in notes]) for name in ("eps", "x_0", "x"))
    of_draws = f"of eps = (x_t - sqrt(baralpha_t) x_0) / sqrt(1 - baralpha_t) over {DRAWS} noised points"
    batches = eps.reshape(-1, BATCH, 2)
    hints = [
        ("the model is given the points without noise", np.array_equal(x, x_0)),
        ("there is no noise", np.abs(eps).max() < 0.01),
        ("the noise is the same in each batch: draw it in each batch, without a seed",
         np.ptp(batches, axis=0).max() < 0.01),
        ("one noise vector serves the whole batch", np.ptp(batches, axis=1).max() < 0.01),
        ("one number serves both coordinates of a point", np.ptp(eps, axis=1).max() < 0.01),
    ]
    for mistake, recognised in hints:
        if recognised:
            fail(f"The values {of_draws}", "random and independent numbers", "others", [(mistake, True)], READ)
    hints = [("the noise is uniform, torch.rand: it must be standard normal", is_uniform(eps, 0, 1)),
             ("the points are not noised as by add_noise, or with another step than the model is told: see what "
              "the other tests say", True)]
    # standard errors: 1 / sqrt(DRAWS) = 0.007, 1 / sqrt(2 * DRAWS) = 0.005, sqrt(96 / DRAWS) = 0.07
    assert_close(eps.mean(0), np.zeros(2), f"The means {of_draws}", hints, rtol=0, atol=0.05, read=READ)
    assert_close(eps.std(0), np.ones(2), f"The standard deviations {of_draws}", hints, rtol=0, atol=0.035, read=READ)
    assert_close((eps ** 4).mean(0), np.full(2, 3.0), f"The fourth moments {of_draws}",
                 [("the noise is not normal", True)], rtol=0, atol=0.5, read=READ)
    for name, one, other in (
            ("the coordinates of a point", eps[:, 0], eps[:, 1]), ("a point and the next", eps[:-1], eps[1:]),
            ("a batch and the next", batches[:-1], batches[1:]), ("eps and x_0", eps, (x_0 - [2, -1]) / [1.5, 0.5])):
        # standard error of a correlation: at most 1 / sqrt(DRAWS - 1) = 0.007
        assert_close((one * other).mean(), 0, f"The correlation of {name}, {of_draws}",
                     [("the two are not independent", True)], rtol=0, atol=0.05, read=READ)


@task("2.2")
def test_one_batch(call):
    """The loss is the mean squared error of the predicted noise; the optimizer takes one step along its gradient."""
    points = near_points(np.random.default_rng(fresh()), BATCH)
    (note,), _, got = run(call, points, batch_size=BATCH, learning_rate=0.1)
    loss, _ = check_step(note, 0.1, f"in a batch of {BATCH} points")
    check_loss(got, loss, "the loss of its only batch")
    assert_close(got["weight"], note.after, "The weights after training", [
        ("the weights are changed after the optimizer's step", True)], rtol=0, atol=0, read=READ)


@task("2.2")
def test_several_batches(call):
    """Each batch, the last and smaller one too, moves the weights by its own gradient; its loss comes back."""
    points = near_points(np.random.default_rng(fresh()), 64 + 64 + 41)
    notes, _, got = run(call, points, batch_size=64, epochs=2, learning_rate=0.1)
    earlier = []
    for number, note in enumerate(notes, 1):
        loss, gradient = check_step(note, 0.1, f"in batch {number} of {len(notes)}, in two epochs", earlier)
        earlier.insert(0, gradient)
    check_loss(got, loss, "the loss of the last batch")


@task("2.2")
def test_a_batch_of_one_point(call):
    """Nothing changes where the last batch has a single point."""
    points = near_points(np.random.default_rng(fresh()), 5)
    notes, _, got = run(call, points, batch_size=4, learning_rate=0.01)
    for number, note in enumerate(notes, 1):
        loss, _ = check_step(note, 0.01, f"in batch {number}, of {len(note.x)} point{'s' * (len(note.x) > 1)}")
    check_loss(got, loss, "the loss of the last batch")


@task("2.2")
def test_a_density_is_learned(call):
    """A network that can be right, and is trained enough, generates the density of the data.

    The data are normal. For these the best network is known, a line for each step, and so is what a line generates:
    normal numbers, whose mean and standard deviation are followed step by step as in Song et al. 2021, equation 12.
    """
    rng = np.random.default_rng(fresh())
    mean, deviation = rng.choice([-1, 1], 2) * rng.uniform(0.5, 1.2, 2), rng.uniform(0.4, 0.8, 2)
    points = rng.normal(mean, deviation, (10000, 2)).astype(np.float32)
    roots = np.linspace(0.99, 0.05, 40)
    got = call(learn, points=points, baralphas=(roots ** 2).astype(np.float32), batch_size=250, epochs=15, seed=fresh())
    column = roots[:, None]
    best_slope = np.sqrt(1 - column ** 2) / (column ** 2 * deviation ** 2 + 1 - column ** 2)
    reached, best = (distance_to_data(np.float64(slope), np.float64(shift), roots, mean, deviation)
                     for slope, shift in ((got["slope"], got["shift"]), (best_slope, -best_slope * column * mean)))
    # of 30 right trainings, the worst reached 0.107; the standard deviation was 0.015; the best network has 0.07
    if not reached < 0.25:
        fail("The Wasserstein distance between the data and what is generated after training",
             f"less than 0.25 (the best network has {best:.3f})", f"{reached:.3f}", [
                 ("the model learns something else than the noise, or not at all: see what the other tests say", True)],
             READ)


if __name__ == "__main__":
    run_this_file(__file__)
