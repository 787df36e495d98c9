"""Task 2.2: the training step inside train, in lib/train_diffusion.py. It needs add_noise, of the same task."""
from types import SimpleNamespace

import numpy as np
import torch
from torch import nn
from torch.optim.optimizer import register_optimizer_step_post_hook

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
    size,
    task,
    words,
)

T = 10                          # diffusion steps
SAMPLES, BATCH = 20000, 500     # enough to judge a distribution; every tolerance is at least six standard errors
READ = "the comment in the gap in train, and algorithm 1 of Ho et al. 2020"
SAME_TIMESTEP = "the whole batch gets the same timestep, but each point needs its own: t is B,1"
SAME_TIMESTEPS = "the timesteps are the same in every batch: draw them in every batch, without a seed"
BATCH_SIZE = "args.batch_size is used as the number of points, but the last batch may be smaller: use len(batch)"


class Network(nn.Module):
    """A replacement for SimpleDiffusion: one linear layer with known gradients. It records its inputs.

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
            fail(what="The first input of the model, the noisy points", expected="shape B,2, torch.float32", got=got,
                 read=READ,
                 hints=[
                     When("the arguments are swapped: pass the points first, then t",
                          torch.is_tensor(x) and x.dtype == torch.int64
                          and torch.is_tensor(t) and t.shape == (len(x), 2)),
                     When("the model gets both results of add_noise at once", isinstance(x, tuple) and all(
                         torch.is_tensor(part) and part.dtype == torch.float32 and part.shape[1:] == (2,)
                         for part in x)),
                 ])
        known = torch.is_tensor(t) and t.shape == (len(x), 1)   # if not, check_given reports it
        steps = t.to(x.dtype) / T if known else x.new_zeros(len(x), 1)
        prediction = torch.cat([x, steps, torch.ones_like(steps)], dim=1) @ self.weight
        self.calls.append({"x": x.detach().clone(), "t": t.detach().clone() if torch.is_tensor(t) else t,
                           "weight": self.weight.detach().clone(), "training": self.training,
                           "in_graph": prediction.requires_grad, "gradients": []})
        if prediction.requires_grad:
            prediction.register_hook(lambda gradient, note=self.calls[-1]: note["gradients"].append(gradient.clone()))
        return prediction


class Lines(nn.Module):
    """The best network for normal data: at each timestep, the noise of a coordinate is slope * x + shift."""

    def __init__(self, timesteps):
        super().__init__()
        self.slope, self.shift = nn.Parameter(torch.zeros(timesteps, 2)), nn.Parameter(torch.zeros(timesteps, 2))

    def forward(self, x, t):
        t = torch.as_tensor(t).reshape(-1).long()
        return self.slope[t] * x + self.shift[t]


class Losses:
    """A replacement for lib.run.Run, which only keeps the mean loss of each epoch."""

    def __init__(self):
        self.means = []

    def start(self, **_):
        return 1

    def seed_epoch(self, epoch):
        pass

    def end_epoch(self, metrics):
        self.means.append(metrics["loss"])

    def diverged(self, reason):
        fail(what="The mean loss of an epoch", expected="a finite number", got=reason, read=READ, hints=[])


# The functions that touch lib

def run_train(points, baralphas, model, optimizer, batch_size, epochs, scheduler=None, ema=None, losses=None):
    from lib.train_diffusion import train
    args = SimpleNamespace(batch_size=batch_size, device="cpu", epochs=epochs, diffusion_steps=len(baralphas),
                           dataset="moons", verbose=False)
    try:
        return train(points, args, model, optimizer, torch.tensor(baralphas), scheduler, ema, losses)
    except (AttributeError, UnboundLocalError) as error:
        for name, sign in (("losses", "has no attribute 'append'"), ("epoch", "'first_loss'")):
            if sign in str(error):
                fail(what=f"The variable `{name}` of train after the gap", expected="unchanged", got="another value",
                     read=READ,
                     hints=[When(f"the gap overwrites `{name}`, which the lines below use: choose another name", True)])
        raise
    except RuntimeError as error:
        if "does not require grad" not in str(error):
            raise
        fail(what="What backward() starts from", expected="a loss with a gradient", got="a loss without a gradient",
             read=READ,
             hints=[
                 When("the model runs under no_grad, or its weights do not require gradients",
                      not (getattr(model, "calls", []) or [{"in_graph": True}])[-1]["in_graph"]),
                 When("the loss is not computed from the prediction, or one of them is detached: detach(), .data, "
                      "item(), numpy() and torch.tensor(...) cut results off from the graph", True),
             ])


def follow_train(points, baralphas, weight, batch_size, epochs, learning_rate, seed, mean_losses=False):
    """Record what train passes to a model and to an optimizer, and how it changes them."""
    torch.manual_seed(seed)
    model, ema, steps, points = Network(weight), Network(weight), [], points.copy()
    losses = Losses() if mean_losses else None
    optimizer = torch.optim.SGD(model.parameters(), lr=learning_rate)
    scheduler = torch.optim.lr_scheduler.MultiplicativeLR(optimizer, lambda _: 1.0)     # it only counts its steps

    optimizer.state[model.weight]["earlier"] = "what it remembers of the steps before"

    def note(stepped, *_):
        gradient = model.weight.grad
        steps.append({"calls": len(model.calls), "weight": model.weight.detach().clone(),
                      "new_optimizer": stepped is not optimizer, "rate": optimizer.param_groups[0]["lr"],
                      "gradient": None if gradient is None else gradient.clone(),
                      "backward": any(call["gradients"] for call in model.calls[-1:])})

    hook = register_optimizer_step_post_hook(note)
    try:
        loss = run_train(points, baralphas, model, optimizer, batch_size, epochs, scheduler, ema, losses)
    finally:
        hook.remove()
    return {"seeded": torch.initial_seed() != seed, "forgetful": "earlier" not in optimizer.state[model.weight],
            "mean_losses": losses.means if losses else None,
            "calls": model.calls, "steps": steps, "scheduler_steps": scheduler.last_epoch, "loss": loss,
            "points": points, "weight": model.weight, "ema": ema.weight}


def learn(points, baralphas, batch_size, epochs, seed):
    torch.manual_seed(seed)
    model = Lines(len(baralphas))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    run_train(points, baralphas, model, optimizer, batch_size, epochs)
    return {"slope": model.slope, "shift": model.shift}


# What is expected, in float64

def random_schedule(rng):
    """Return products of alphas, from 0.999 to 0.0001, so far apart that a timestep can be told from its neighbours."""
    roots = np.linspace(0.95, 0.1, T) + rng.uniform(-0.01, 0.01, T)
    roots[[0, -1]] = 0.9995, 0.01
    return (roots ** 2).astype(np.float32)


def run(call, points, batch_size, epochs=1, learning_rate=0.0, mean_losses=False):
    """Run train; return a note for each of its steps, in float64, the schedule, and the other results.

    A note has the batch x_0, the noisy points x, their timesteps t, the weights before and after the step, the gradient
    of the loss with respect to the prediction for each backward(), and the gradient that the optimizer used.
    """
    rng = np.random.default_rng(fresh())
    baralphas, weight = random_schedule(rng), rng.normal(0, 0.5, (4, 2)).astype(np.float32)
    got = call(follow_train, points=points, baralphas=baralphas, weight=weight, batch_size=batch_size, epochs=epochs,
               learning_rate=learning_rate, seed=fresh(), mean_losses=mean_losses)
    batches = [points[i:i + batch_size] for i in range(0, len(points), batch_size)] * epochs
    calls, steps = got["calls"], got["steps"]
    if not np.array_equal(got["points"], points):
        fail(what="The dataset after train", expected="unchanged", got="changed", read=READ, hints=[
            When("the batch is changed in place: +=, *= and methods like add_() write into the dataset", True)])
    if len(calls) < len(batches):
        fail(what=f"How many times the model is called for {len(batches)} batches", expected=len(batches),
             got=len(calls), read=READ,
             hints=[
                 When("the model is never called", not calls),
                 When("the model is not called in every batch: is there a return, a break or a condition in the gap?",
                      True),
             ])
    if any(step["new_optimizer"] for step in steps):
        fail(what="The optimizer that takes a step", expected="the one given to train", got="a new one", read=READ,
             hints=[When("the step is taken by a new optimizer, which knows nothing of the steps before", True)])
    if len(steps) != len(batches):
        fail(what=f"How many steps the optimizer takes for {len(batches)} batches", expected=len(batches),
             got=len(steps), read=READ,
             hints=[
                 When("optimizer.step() is missing, or behind a condition", len(steps) < len(batches)),
                 When("the optimizer takes two steps in every batch", len(steps) == 2 * len(batches)),
                 When("the optimizer takes several steps in every batch", len(steps) > len(batches)),
             ])
    if got["forgetful"]:
        fail(what="What the optimizer remembers after train", expected="the steps before", got="nothing", read=READ,
             hints=[When("the gap clears the optimizer's state, which Adam needs", True)])
    if got["scheduler_steps"] != len(batches):
        fail(what=f"How many steps the scheduler of the learning rate takes for {len(batches)} batches",
             expected=len(batches), got=got["scheduler_steps"], read=READ,
             hints=[
                 When("scheduler.step() is called in the gap too, but train itself calls it after every batch, below "
                      "the gap", got["scheduler_steps"] > len(batches)),
                 When("the lines of train below the gap are skipped: is there a `continue` in the gap?",
                      not got["scheduler_steps"]),
             ])
    if len(calls) > len(batches):   # a call may have another purpose: the last one before a step counts
        ends = [step["calls"] for step in steps]
        calls = [[one for one in calls[start:end] if one["in_graph"]][-1:] for start, end in zip([0] + ends, ends)]
        if not all(calls):
            fail(what="A call to the model before each step of the optimizer", expected="one with a gradient",
                 got="none", read=READ)
        calls = [one for one, in calls]
    notes = []
    for batch, one, step in zip(batches, calls, steps):
        check_given(batch, one, batch_size, baralphas)
        if not np.array_equal(one["weight"], weight, equal_nan=True):
            fail(what="The weights when the model is called", expected="unchanged since the optimizer's last step",
                 got="other weights", read=READ,
                 hints=[When("something other than the optimizer changes the weights", True)])
        weight = step["weight"]
        t, x = one["t"].astype(int), one["x"].astype(np.float64)
        baralpha, x_0 = baralphas.astype(np.float64)[t], batch.astype(np.float64)
        notes.append(SimpleNamespace(
            x_0=x_0, x=x, t=t, baralpha=baralpha, eps=(x - np.sqrt(baralpha) * x_0) / np.sqrt(1 - baralpha),
            before=one["weight"].astype(np.float64), after=step["weight"].astype(np.float64),
            gradients=one["gradients"], backward=step["backward"], for_optimizer=step["gradient"],
            rate=step["rate"]))
    return notes, baralphas.astype(np.float64), got


def check_given(batch, one, batch_size, baralphas):
    """Check shapes, range and mode of what the model got for a batch."""
    t, x = one["t"], one["x"]
    if words(t) != f"shape {len(batch)},1":
        fail(what=f"The timesteps t that the model gets for a batch of {len(batch)} points",
             expected=f"shape {len(batch)},1", got=words(t), hints=mistakes_in_shape(t, len(batch), batch_size),
             read=READ)
    if x.shape != batch.shape:
        fail(what=f"The noisy points that the model gets for a batch of {len(batch)} points",
             expected=f"shape {size(batch.shape)}", got=words(x), read=READ,
             hints=[When(BATCH_SIZE, len(x) == batch_size)])
    values = t.astype(np.float64)
    if not np.all((values == np.floor(values)) & (values >= 0) & (values < T)):
        fail(what="The timesteps t that the model gets", expected=f"integers from 0 to {T - 1}",
             got=f"numbers from {values.min():.5g} to {values.max():.5g}", hints=mistakes_in_range(t, baralphas),
             read=READ)
    if not one["training"]:
        fail(what="The mode of the model", expected="training mode", got="evaluation mode", read=READ, hints=[
            When("the model is in evaluation mode, which is for generating: train has already called model.train()",
                 True)])


def mistakes_in_shape(t, number, batch_size):
    """Return hints about timesteps whose shape is not number,1."""
    shape = np.shape(t)
    return [
        When(BATCH_SIZE, shape == (batch_size, 1)),
        When("t has the shape B instead of B,1", shape == (number,)),
        When("t is transposed: its shape must be B,1", shape == (1, number)),
        When(SAME_TIMESTEP, isinstance(t, (int, float, np.ndarray, np.generic)) and np.size(t) == 1 < number),
        When("there is a timestep for each coordinate, but both coordinates of a point must share one",
             shape == (number, 2) and t.dtype.kind == "i"),
    ]


def mistakes_in_range(t, baralphas):
    """Return hints about timesteps that are not integers from 0 to T - 1."""
    values = t.astype(np.float64)
    converted = [("divided by diffusion_steps", values * T), ("divided by diffusion_steps - 1", values * (T - 1)),
                 ("counted from 1", values - 1), ("negative", -values),
                 ("counted from 1 and divided by diffusion_steps", values * T - 1)]
    return [
        When(f"t is {name}: the model needs the timestep itself, counted from 0",
             close(now, np.round(now), atol=1e-4) and now.round().min() == 0 and now.round().max() == T - 1)
        for name, now in converted
    ] + [
        When("this is baralpha_t: the model needs the timestep itself", np.isin(t, baralphas).all()),
        When("this is sqrt(baralpha_t): the model needs the timestep itself",
             len(t) > 1 and np.isclose(values[..., None], np.sqrt(baralphas)).any(-1).all()),
        When("t is not rounded down: the timesteps are integers",
             np.unique(values).size > BATCH / 2 and is_uniform(values, 0, T)),
    ]


def far_points(rng, number):
    """Return points so far away that the noise hardly moves them: this shows at which timestep it was added."""
    return (rng.choice([-1, 1], (number, 2)) * rng.uniform(900, 1100, (number, 2))).astype(np.float32)


def in_another_order(note, root):
    """Return whether the points at timestep 0, whose noise is small, are far points of the batch in other places."""
    first = note.t[:, 0] == 0
    points = note.x[first] / root
    moved = np.abs(points - note.x_0[first]).max(axis=1) > 1
    return moved.any() and np.all(np.abs(points[:, None] - note.x_0).max(axis=2).min(axis=1) < 1)


def near_points(rng, number):
    return rng.normal([2, -1], [1.5, 0.5], (number, 2)).astype(np.float32)


def known_losses(note, difference):
    """Return pairs of a known mistake and the gradient of the loss, with respect to the prediction, that it gives."""
    n, prediction = difference.size, difference + note.eps
    mistakes = [
        ("the loss has the wrong sign: training would raise it", -2 * difference / n),
        ("the squared error is summed instead of averaged", 2 * difference),
        ("the loss is twice the mean squared error, as if averaged over the batch but not over the coordinates",
         2 * difference / len(difference)),
        ("the loss is half of the mean squared error", difference / n),
        ("this is the mean absolute error instead of the mean squared error", np.sign(difference) / n),
        ("this is the sum of the absolute errors instead of the mean squared error", np.sign(difference)),
        ("this is the Huber (smooth L1) loss instead of the mean squared error", difference.clip(-1, 1) / n),
        ("this is the square root of the mean squared error", difference / n / np.sqrt((difference ** 2).mean())),
        ("the gradient is the same for all predictions: the error is not squared", np.full_like(difference, 1 / n)),
        ("the gradient is the same for all predictions: the error is not squared", np.full_like(difference, -1 / n)),
    ]
    for name, target in (
            ("the points x_0", note.x_0), ("the noisy points", note.x),
            ("nothing: only the prediction is squared", np.zeros_like(note.x)),
            ("-eps (unless add_noise subtracts the noise)", -note.eps),
            ("the noise times its factor", note.eps * np.sqrt(1 - note.baralpha)),
            ("the timestep t", np.broadcast_to(note.t, note.x.shape)),
            ("the difference between the noisy points and the batch", note.x - note.x_0),
            ("the mean of eps", np.full_like(note.x, note.eps.mean()))):
        mistakes += [(f"the prediction is compared with {name}; compare it with eps, the noise that was drawn{more}",
                      factor * (prediction - target))
                     for more, factor in (("", 2 / n), (", and take the mean", 2))]
    return mistakes


def mistakes_in_loss(note, difference):
    """Return hints about what the prediction is compared with, and how."""
    got, n = note.gradients[0], difference.size
    if n < 2 * BATCH or not is_normal(note.eps):    # few numbers fit several mistakes; or the mistake is in add_noise
        return []
    target = difference + note.eps - got * n / 2    # what the prediction is compared with, if the rest is right
    independent = all(abs(np.corrcoef(target.ravel(), other.ravel())[0, 1]) < 6 / n ** 0.5
                      for other in (note.eps, note.x, note.x_0, difference + note.eps))
    return [When(mistake, close(got, given, rtol=1e-4, atol=1e-5 * np.abs(given).max()))
            for mistake, given in known_losses(note, difference)] + [
        When("the prediction is compared with newly drawn noise; compare it with the eps that add_noise returned with "
             "the noisy points", independent and is_normal(target)
             and not close(np.sort(target, axis=0), np.sort(note.eps, axis=0), atol=1e-3))]


def check_step(note, learning_rate, which, earlier=()):
    """Compare the gradient of the loss and the new weights; return loss and gradient of the weights.

    Args:
        which: the step in words.
        earlier: the gradients of the weights in the steps before, the last one first.
    """
    features = np.concatenate([note.x, note.t / T, np.ones_like(note.t)], axis=1)
    difference = features @ note.before - note.eps
    loss, gradient = (difference ** 2).mean(), 2 * difference / difference.size
    of_weight = features.T @ gradient
    if not note.gradients:
        fail(what=f"What backward() passes to the model's prediction, {which}", expected="the gradient of the loss",
             got="nothing", read=READ,
             hints=[When("backward() is missing, or the loss is not computed from the prediction, or is detached "
                         "from it", True)])
    if len(note.gradients) > 1:
        fail(what=f"How often backward() reaches the model's prediction, {which}", expected=1,
             got=len(note.gradients), read=READ,
             hints=[When("backward() is called more than once in a step", True)])
    assert_close(
        what="The gradient, with respect to the prediction, of the mean squared error between prediction and eps, "
             f"{which}",
        got=note.gradients[0], expected=gradient, rtol=1e-3, atol=5e-5 / difference.size, read=READ,
        hints=mistakes_in_loss(note, difference))
    change, expected = note.after - note.before, -learning_rate * of_weight
    sums = [close(change, expected - learning_rate * sum(earlier[:i]), rtol=1e-3, atol=1e-5)
            for i in range(1, len(earlier) + 1)]
    cosine = np.vdot(change, expected) / np.sqrt(
        max(np.vdot(change, change) * np.vdot(expected, expected), 1e-30))
    assert_close(
        what=f"The change in the weights, -learning rate * gradient, {which}", got=change, expected=expected,
        rtol=1e-3, atol=1e-5, read=READ,
        hints=[
            When("optimizer.step() comes before backward(): it uses the gradient of the previous batch",
                 not note.backward),
            When("optimizer.step() finds no gradient: is zero_grad() between backward() and step()?",
                 not np.any(change) and (note.for_optimizer is None or not np.any(note.for_optimizer))),
            When("the gap changes the optimizer's learning rate", note.rate != learning_rate),
            When("zero_grad() is missing: the gradients of all batches add up", sums and sums[-1]),
            When("the gradient has the wrong sign: training would raise the loss",
                 expected.min() < 0 < expected.max() and close(change, -expected, rtol=1e-3, atol=1e-5)),
            When("the gradient is scaled or clipped before the step", cosine > 1 - 1e-6),
            When("gradients of another batch are added: call zero_grad() once in every batch", any(sums)),
        ])
    return loss, of_weight


def check_loss(got, loss, name):
    """Compare what train returns with the loss of its last batch."""
    assert_close(
        what=f"What train returns, {name}", got=got["loss"], expected=loss, rtol=1e-3, atol=1e-5, read=READ,
        hints=[
            When("the gap never sets `loss`, which the lines after it use",
                 isinstance(got["loss"], np.ndarray) and np.isnan(got["loss"]).all()),
            Gives("the loss has the wrong sign", -loss),
            When("`loss` is no longer the loss of the batch when the gap ends", True),
        ])


def check_average(got, notes):
    """Compare the moving average of the weights with what train alone, below the gap, makes of them."""
    def average(times):
        mean = notes[0].before
        for number, note in enumerate(notes):
            mean = note.after + (1 - 9 / (number + 9)) ** times * (mean - note.after)
        return mean

    assert_close(
        what=f"The moving average of the weights after {len(notes)} steps", got=got["ema"], expected=average(1),
        rtol=1e-3, atol=1e-5, read=READ,
        hints=[
            Gives("average_weights is called in the gap too, but train itself calls it after every batch, below the "
                  "gap", average(2)),
            When("the gap changes `ema` or `number`, which the lines below it use", True),
        ])


def distance_to_data(slope, shift, roots, mean, deviation):
    """Return the Wasserstein distance of order 2 between normal data and what lines generate, without sampling."""
    center, width = np.zeros(2), np.ones(2)
    for t in reversed(range(len(roots))):
        before = roots[t - 1] if t else 1
        of_eps = np.sqrt(1 - before ** 2) - before * np.sqrt(1 - roots[t] ** 2) / roots[t]
        factor = before / roots[t] + of_eps * slope[t]
        center, width = factor * center + of_eps * shift[t], np.abs(factor) * width
    return np.sqrt(((center - mean) ** 2 + (width - deviation) ** 2).sum())


# The tests

@task("2.2")
def test_timesteps_are_drawn_uniformly(call):
    """Each point of each batch gets an integer from 0 to T - 1, all equally likely."""
    rng = np.random.default_rng(fresh())
    notes, _, got = run(call, near_points(rng, SAMPLES), BATCH)
    if got["seeded"]:
        fail(what="The seed of PyTorch's random numbers after train", expected="unchanged", got="changed", read=READ,
             hints=[When("a seed is set (torch.manual_seed): every batch would get the same noise", True)])
    t = np.array([note.t.ravel() for note in notes])
    counts = np.bincount(t.ravel(), minlength=T)
    same_in_batch, same_in_batches = not np.ptp(t, axis=1).any(), not np.ptp(t, axis=0).any()
    # standard deviation of a count: sqrt(SAMPLES * 0.1 * 0.9) = 42
    assert_close(
        what=f"How often each timestep is drawn, in {SAMPLES} draws", got=counts, expected=np.full(T, SAMPLES / T),
        rtol=0, atol=260, read=READ,
        hints=[
            When("the timestep is the same for all points and batches", np.count_nonzero(counts) == 1),
            When(SAME_TIMESTEP, same_in_batch),
            When(SAME_TIMESTEPS, same_in_batches),
            When("neither timestep 0 nor the last one, T - 1, is ever drawn", not counts[0] and not counts[-1]),
            When("the last timestep, T - 1, is never drawn: torch.randint excludes its upper end", not counts[-1]),
            When("timestep 0 is never drawn: timesteps are counted from 0", not counts[0]),
            When("the first and the last timestep are drawn half as often as the others: round() does this, so round "
                 "down", close(counts[[0, -1]], np.full(2, SAMPLES / (T - 1) / 2), rtol=0.2)
                 and close(counts[1:-1], np.full(T - 2, SAMPLES / (T - 1)), rtol=0.15)),
            When("the timesteps are not equally likely", True),
        ])
    for mistake, same in ((SAME_TIMESTEP, same_in_batch), (SAME_TIMESTEPS, same_in_batches)):
        if same:
            fail(what=f"The timesteps of {len(t)} batches", expected="random and independent numbers",
                 got="the same numbers again and again", hints=[When(mistake, True)], read=READ)
    place = np.tile(np.arange(BATCH), (len(t), 1))
    for name, one, other in (("the timesteps of a point and of the next", t[:, :-1], t[:, 1:]),
                             ("a point's place in the batch and its timestep", place, t)):
        # standard error of a correlation: at most 1 / sqrt(SAMPLES - len(t)) = 0.007
        assert_close(what=f"The correlation between {name}, over {SAMPLES} points",
                     got=np.corrcoef(one.ravel(), other.ravel())[0, 1], expected=0, rtol=0, atol=0.05, read=READ,
                     hints=[
                         When("the timesteps are sorted", not (np.diff(t) < 0).any() or not (np.diff(t) > 0).any()),
                         When("the timesteps of a batch are not independent of each other", True),
                     ])
    notes, _, _ = run(call, near_points(rng, 30), 1)
    if len({note.t.item() for note in notes}) == 1:
        fail(what="The timesteps of 30 batches of one point", expected="random and independent numbers",
             got="the same number in every batch", read=READ,
             hints=[When("a batch of one point always gets the same timestep: draw it at random", True)])


@task("2.2")
def test_points_have_the_noise_of_their_timestep(call):
    """The model gets the noisy points x_t, and the timestep t of their noise."""
    points = far_points(np.random.default_rng(fresh()), SAMPLES)
    notes, baralphas, _ = run(call, points, BATCH)
    x_0, x, t = (np.concatenate([getattr(note, name) for note in notes]) for name in ("x_0", "x", "t"))
    # how much of x_0 is in x: its error is eps / |x_0|, less than 6 / 1273
    share, told = ((x * x_0).sum(1) / (x_0 * x_0).sum(1)), t.ravel()
    roots = np.sqrt(baralphas)
    nearest = np.abs(share[:, None] - roots).argmin(axis=1)
    rest = (x - roots[nearest][:, None] * x_0) / np.sqrt(1 - roots[nearest][:, None] ** 2)
    known = (np.abs(share - roots[nearest]) < 0.01).all() and is_normal(rest)   # x is the result of add_noise
    assert_close(
        what="The factor of x_0 in the model's input, sqrt(baralpha_t)",
        got=share, expected=roots[told], rtol=0, atol=0.01, read=READ,
        hints=[
            When("the model gets the points without noise", np.array_equal(x, x_0)),
            When("the model gets only the noise: add_noise returns the noisy points first, then eps", is_normal(x)),
            When("the model gets t + 1, the timestep after the one used for the noise: both need the same t",
                 known and np.all(told - nearest == 1)),
            When("the model gets t - 1, the timestep before the one used for the noise: both need the same t",
                 known and np.all(nearest - told == 1)),
            When("the whole batch gets the noise for one timestep, but the model is given different ones",
                 known and not np.ptp(nearest.reshape(-1, BATCH), axis=1).any()),
            When("the model and add_noise get different timesteps: both need the same t", known),
            When("the points are in another order than in the batch",
                 all(in_another_order(note, roots[0]) for note in notes)),
            When("the noise is not added as in add_noise: see what the tests of add_noise say", True),
        ])


@task("2.2")
def test_noise_is_standard_normal(call):
    """eps = (x_t - sqrt(baralpha_t) x_0) / sqrt(1 - baralpha_t) is from N(0, I), and new in every batch."""
    points = near_points(np.random.default_rng(fresh()), SAMPLES)
    notes, _, _ = run(call, points, BATCH)
    eps, x_0, x = (np.concatenate([getattr(note, name) for note in notes]) for name in ("eps", "x_0", "x"))
    of_eps = f"of eps = (x_t - sqrt(baralpha_t) x_0) / sqrt(1 - baralpha_t) over {SAMPLES} noisy points"
    batches = eps.reshape(-1, BATCH, 2)
    constant = [
        When("the model gets the points without noise", np.array_equal(x, x_0)),
        When("there is no noise", np.abs(eps).max() < 0.01),
        When("the noise is the same in every batch: draw it in every batch, without a seed",
             np.ptp(batches, axis=0).max() < 0.01),
        When("the whole batch gets the same noise vector", np.ptp(batches, axis=1).max() < 0.01),
        When("both coordinates of a point get the same number", np.ptp(eps, axis=1).max() < 0.01),
    ]
    if any(hint.shown for hint in constant):
        fail(what=f"The values {of_eps}", expected="random and independent numbers", got="other numbers",
             hints=constant, read=READ)
    hints = [
        When("the noise is uniform (torch.rand) instead of standard normal", is_uniform(eps, 0, 1)),
        When("the noise is not added as in add_noise, or with a different timestep from the model's: see what the "
             "other tests say", True),
    ]
    # standard errors: 1 / sqrt(SAMPLES) = 0.007, 1 / sqrt(2 * SAMPLES) = 0.005, sqrt(96 / SAMPLES) = 0.07
    assert_close(what=f"The means {of_eps}", got=eps.mean(0), expected=np.zeros(2), hints=hints,
                 rtol=0, atol=0.05, read=READ)
    assert_close(what=f"The standard deviations {of_eps}", got=eps.std(0), expected=np.ones(2), hints=hints,
                 rtol=0, atol=0.035, read=READ)
    assert_close(what=f"The fourth moments {of_eps}", got=(eps ** 4).mean(0), expected=np.full(2, 3.0),
                 hints=[When("the noise is not normal", True)], rtol=0, atol=0.5, read=READ)
    for name, one, other in (
            ("the coordinates of a point", eps[:, 0], eps[:, 1]), ("one point and the next", eps[:-1], eps[1:]),
            ("one batch and the next", batches[:-1], batches[1:]), ("eps and x_0", eps, (x_0 - [2, -1]) / [1.5, 0.5])):
        # standard error of a correlation: at most 1 / sqrt(SAMPLES - 1) = 0.007
        assert_close(what=f"The correlation between {name}, {of_eps}", got=(one * other).mean(), expected=0,
                     hints=[When("the two are not independent", True)], rtol=0, atol=0.05, read=READ)


@task("2.2")
def test_one_batch(call):
    """The loss is the mean squared error of the predicted noise; the optimizer takes one step along its gradient."""
    points = near_points(np.random.default_rng(fresh()), BATCH)
    (note,), _, got = run(call, points, batch_size=BATCH, learning_rate=0.1)
    loss, _ = check_step(note, learning_rate=0.1, which=f"in a batch of {BATCH} points")
    check_loss(got, loss, "the loss of its only batch")
    assert_close(what="The weights after training", got=got["weight"], expected=note.after, rtol=0, atol=0, read=READ,
                 hints=[When("the weights are changed after the optimizer's step", True)])


@task("2.2")
def test_several_batches(call):
    """Every batch, the smaller last one too, moves the weights by its own gradient; train returns the last loss."""
    points = near_points(np.random.default_rng(fresh()), 64 + 64 + 41)
    notes, _, got = run(call, points, batch_size=64, epochs=2, learning_rate=0.1, mean_losses=True)
    earlier, losses = [], []
    for number, note in enumerate(notes, 1):
        which = f"in batch {number} of {len(notes)}, in two epochs"
        loss, gradient = check_step(note, learning_rate=0.1, which=which, earlier=earlier)
        earlier.insert(0, gradient)
        losses.append(loss)
    check_loss(got, loss, "the loss of the last batch")
    check_average(got, notes)
    assert_close(what="The mean losses of two epochs, which train reports", got=got["mean_losses"],
                 expected=[np.mean(losses[:3]), np.mean(losses[3:])], rtol=1e-3, atol=1e-5, read=READ,
                 hints=[When("the gap changes `losses`, which the lines below use: choose another name", True)])


@task("2.2")
def test_a_batch_of_one_point(call):
    """The last batch may have a single point."""
    points = near_points(np.random.default_rng(fresh()), 5)
    notes, _, got = run(call, points, batch_size=4, learning_rate=0.01)
    for number, note in enumerate(notes, 1):
        which = f"in batch {number}, of {len(note.x)} point{'s' * (len(note.x) > 1)}"
        loss, _ = check_step(note, learning_rate=0.01, which=which)
    check_loss(got, loss, "the loss of the last batch")


@task("2.2")
def test_a_density_is_learned(call):
    """A network that can represent the noise, and is trained enough, generates the density of the data.

    The data are normal, so the best network is known: a line for each timestep. What it generates is normal too, and
    its mean and standard deviation follow from one timestep to the next (Song et al. 2021, equation 12).
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
    # the worst of 30 right trainings reached 0.107 (standard deviation 0.015); the best possible network reaches 0.07
    if not reached < 0.25:
        fail(what="The Wasserstein distance between the data and what is generated after training",
             expected=f"less than 0.25 (the best possible network reaches {best:.3f})", got=f"{reached:.3f}", read=READ,
             hints=[When("the model learns something other than the noise, or nothing: see what the other tests say",
                         True)])


if __name__ == "__main__":
    run_this_file(__file__)
