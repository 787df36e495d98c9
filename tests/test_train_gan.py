"""Task 3.2: update_discriminator and update_generator in lib/train_gan.py. The networks are the test's own."""
from functools import partial
from itertools import product
from numbers import Real

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
    gradients,
    run_this_file,
    size,
    task,
    unpack,
    words,
)

B, L, IMAGE = 7, 5, (3, 32, 32)
# Pairs have one entry for the discriminator and one for the generator, in this order.
NAMES, UPDATES = ("discriminator", "generator"), ("update_discriminator", "update_generator")
DISCRIMINATOR, GENERATOR = 0, 1
RATES = 0.01, 1.0               # learning rates
SURE = 0.0, 3.0, -7.0           # how sure the discriminator is; below 0 it is sure of the wrong label
# "Generated images" and "fake images" are the same; update_generator's argument is called fake_images.
READ = "the docstrings of update_discriminator and update_generator, and the comments in their gaps"
CALLED_TWICE = ("one error is backpropagated twice, by itself or as part of a sum, or another gradient is taken "
                "through the outputs")
DETACHED = "the discriminator gets detached fake images, but the generator learns through them"
NOT_DETACHED = "the gradients reach the generator: detach the generated images for the discriminator"
OTHER_NOISE = "the noise is changed, or new noise is drawn instead of using the given noise"


class Network(nn.Module):
    """A replacement for one of the networks: one linear layer with known gradients. It records its inputs.

    Args:
        takes: shape of one input.
        weight: the output is activation([x, 1] @ weight), in the shape B,*gives.
    """

    def __init__(self, name, takes, gives, activation, weight):
        super().__init__()
        self.name, self.takes, self.gives, self.activation = name, takes, gives, activation
        self.weight = nn.Parameter(torch.tensor(weight))
        self.calls = []

    def forward(self, x):
        if not (torch.is_tensor(x) and x.is_floating_point() and x.shape[1:] == self.takes):
            got = f"shape {size(x.shape)}, {x.dtype}" if torch.is_tensor(x) else type(x).__name__
            fail(what=f"The input of the {self.name}", expected=f"shape B,{size(self.takes)}, torch.float32", got=got,
                 read=READ)
        logits = torch.cat([x.flatten(1), x.new_ones(len(x), 1)], dim=1) @ self.weight
        output = self.activation(logits.reshape(len(x), *self.gives))   # not a view, so that detach_() works
        self.calls.append({"x": x.detach().clone(), "x_in_graph": x.requires_grad, "output": output.detach().clone(),
                           "in_graph": output.requires_grad, "weight": self.weight.detach().clone(),
                           "training": self.training, "gradients": []})
        if output.requires_grad:
            output.register_hook(lambda gradient, note=self.calls[-1]: note["gradients"].append(gradient.clone()))
        return output


# The functions that touch lib

def new_networks(weights, leftovers):
    """Return a discriminator and a generator, with gradients left over from an earlier update."""
    networks = (Network("discriminator", IMAGE, (1, 1, 1), torch.sigmoid, weights[0]),
                Network("generator", (L, 1, 1), IMAGE, torch.tanh, weights[1]))
    for network, leftover in zip(networks, leftovers):
        network.weight.grad = torch.tensor(leftover)
    return networks


def run_update(update, networks, learner, given, first_gap=False):
    """Record what an update passes to the networks and to an optimizer, how it changes them, and what it returns.

    Args:
        learner: the network that learns, DISCRIMINATOR or GENERATOR.
        given: the other arguments of the update.
        first_gap: accept an unfilled second gap.
    """
    steps, calls, weight, result = [], networks[0].calls, networks[learner].weight, None
    optimizer = torch.optim.SGD([weight], lr=RATES[learner])
    optimizer.state[weight]["earlier"] = "what it remembers of the steps before"
    seed = torch.initial_seed()
    hook = register_optimizer_step_post_hook(lambda stepped, *_: steps.append({
        "new_optimizer": stepped is not optimizer,
        "gradient": torch.zeros_like(weight) if weight.grad is None else weight.grad.clone(),
        "backward": sum(len(one["gradients"]) for one in calls)}))
    frozen = [not network.weight.requires_grad for network in networks]
    try:
        result = update(*networks, *given, optimizer)
    except NotImplementedError:
        if not (first_gap and any(one["gradients"] for one in calls)):
            raise
    except RuntimeError as error:
        explain(str(error), (calls or [{"x_in_graph": True, "in_graph": True}])[-1], learner)
        raise
    finally:
        hook.remove()
    parts = list(result) if isinstance(result, (tuple, list)) else [result]
    calls = [[dict(one, gradients=list(one["gradients"])) for one in network.calls] for network in networks]
    return {"result": result, "kinds": [kind(part) for part in parts], "calls": calls,
            "steps": steps, "given": given, "weights": [network.weight for network in networks],
            "gradients": [network.weight.grad for network in networks], "rate": optimizer.param_groups[0]["lr"],
            "ready": [network.training and (network.weight.requires_grad or was_frozen)
                      for network, was_frozen in zip(networks, frozen)],
            "seeded": torch.initial_seed() != seed, "forgetful": "earlier" not in optimizer.state[weight],
            "in_graph": torch.is_tensor(parts[-1]) and parts[-1].requires_grad,
            "leads_back": leads_back(parts[-1], networks[1].weight)}


def explain(error, last, learner):
    """Report what PyTorch's errors mean here."""
    if "does not require grad" in error:
        fail(what="What backward() starts from", expected="an error with a gradient", got="one without a gradient",
             read=READ,
             hints=[
                 When(DETACHED, learner == GENERATOR and not last["x_in_graph"]),
                 When("the discriminator runs under no_grad, or its weights need no gradients", not last["in_graph"]),
                 When("the error is not computed from the outputs, or one of them is detached: detach(), .data, "
                      "item(), numpy() and torch.tensor(...) cut results off from the graph", True),
             ])
    if "through the graph a second time" in error:
        fail(what="How often backward() goes through the outputs for a batch", expected="once", got="twice",
             hints=[When(CALLED_TWICE, True)], read=READ)


def kind(part):
    if torch.is_tensor(part):
        return "a tensor"
    return "a float" if isinstance(part, Real) else type(part).__name__


def leads_back(images, weight):
    """Return whether gradients of images reach the generator's weights."""
    try:
        return bool(gradients(images, 1.0, [weight])[0].any())
    except RuntimeError:                    # backward() has freed the graph
        return False


def follow_discriminator(real_images, noise, label, weights, leftovers, seed, first_gap=False):
    from lib.train_gan import update_discriminator
    torch.manual_seed(seed)
    given = [torch.tensor(array) for array in (real_images, noise, label)]
    return run_update(update_discriminator, new_networks(weights, leftovers), DISCRIMINATOR, given, first_gap)


def follow_generator(noise, label, weights, leftovers, seed, frozen):
    """Follow update_generator.

    Args:
        frozen: switch off the gradients of the discriminator's weights, as train_epoch does.
    """
    from lib.train_gan import update_generator
    torch.manual_seed(seed)
    networks = new_networks(weights, leftovers)
    images = networks[1](torch.tensor(noise))
    networks[1].calls.clear()
    networks[0].requires_grad_(not frozen)
    return run_update(update_generator, networks, GENERATOR, [images, torch.tensor(label)])


# What is expected, in float64

def with_ones(x):
    return np.concatenate([x.reshape(len(x), -1), np.ones((len(x), 1))], axis=1).astype(np.float64)


def judge(images, weight):
    """Return the discriminator's outputs, B."""
    return 1 / (1 + np.exp(-with_ones(images) @ weight.astype(np.float64)))[:, 0]


def generate(noise, weight):
    return np.tanh(with_ones(noise) @ weight.astype(np.float64)).reshape(-1, *IMAGE)


def cross_entropy(outputs, label):
    return -np.log(outputs if label else 1 - outputs).mean()


def random_inputs(stretch=1.0, batch=B, sure=0.0):
    """Return images, noise, label, the weights of both networks, and leftover gradients.

    The discriminator's weights are solved for, so that its outputs are spread out, from 0.007 to 0.993, and the two
    batches have different means. Two calls with the same stretch give the same outputs, for different images.

    Args:
        sure: is added to the logits of the real images, and subtracted from those of the generated ones.
    """
    rng = np.random.default_rng(fresh())
    real_images = rng.uniform(-1, 1, (batch,) + IMAGE).astype(np.float32)
    noise = rng.normal(size=(batch, L, 1, 1)).astype(np.float32)
    of_generator = rng.normal(0, 0.5, (L + 1, np.prod(IMAGE))).astype(np.float32)
    logits = stretch * np.concatenate([rng.permutation(np.linspace(*ends, batch)) for ends in ((-2, 5), (-5, 1))])
    logits += sure * np.repeat([1, -1], batch)
    both = with_ones(np.concatenate([real_images, generate(noise, of_generator)]))
    start = rng.normal(0, 0.05, (both.shape[1], 1))
    of_discriminator = start + np.linalg.lstsq(both, logits[:, None] - both @ start, rcond=None)[0]
    weights = [of_discriminator.astype(np.float32), of_generator]
    return {"real_images": real_images, "noise": noise, "label": np.ones(batch, np.float32), "weights": weights,
            "leftovers": [rng.normal(0, 0.1, weight.shape).astype(np.float32) for weight in weights]}


def run_discriminator(call, stretch=1.0, batch=B, sure=0.0, **options):
    inputs = random_inputs(stretch, batch, sure)
    return inputs, call(follow_discriminator, seed=fresh(), **inputs, **options)


def run_generator(call, frozen, stretch=1.0, batch=B, sure=0.0):
    inputs = random_inputs(stretch, batch, sure)
    return inputs, call(follow_generator, seed=fresh(), frozen=frozen, **{
        name: value for name, value in inputs.items() if name != "real_images"})


def check_mode(calls, name):
    if not all(one["training"] for one in calls):
        fail(what=f"The mode of the {name}", expected="training mode", got="evaluation mode", read=READ,
             hints=[When(f"the {name} is in evaluation mode: eval() is only for use after training", True)])


def find_call(calls, images, name, hints=()):
    """Return the call of the discriminator that learns from these images; other calls may only look at them."""
    check_mode(calls, "discriminator")
    found = [one for one in calls if np.array_equal(one["x"], images)]
    if not found:
        halves = [half for one in calls if len(one["x"]) == 2 * B for half in (one["x"][:B], one["x"][B:])]
        fail(what="The input of the discriminator", expected=f"the {name}, shape {size(images.shape)}",
             got="; ".join(f"other images, {words(one['x'])}" for one in calls) or "nothing", read=READ,
             hints=[
                 *hints,
                 When("the two batches go through the discriminator together, so batch norm mixes them: pass them one "
                      "after the other", any(np.array_equal(half, images) for half in halves)),
                 When("the discriminator is never called", not calls),
                 When(f"the discriminator does not get the {name} as they are, but changed or different ones", True),
             ])
    learned = [one for one in found for _ in one["gradients"]]
    if len(learned) != 1:
        fail(what=f"How often backward() goes through the discriminator's outputs for the {name}", expected=1,
             got=len(learned), read=READ,
             hints=[
                 When(f"nothing is learned from the {name}: their backward() is missing, or the error is not computed "
                      "from the outputs, or is detached from them", not learned),
                 When(CALLED_TWICE, any(len(one["gradients"]) > 1 for one in found)),
                 When(f"the discriminator is called several times with the {name}, and learns each time", True),
             ])
    return learned[0]


def find_targets(one):
    """Return the discriminator's outputs in a call, and the labels whose cross entropy has the observed gradient."""
    outputs, got = judge(one["x"], one["weight"]), one["gradients"][0].ravel()
    return outputs, outputs - got * B * outputs * (1 - outputs)


def check_error(find, label, name, mistakes):
    """Compare the gradient that reached the discriminator's outputs with that of the binary cross entropy.

    Args:
        find: runs an update with new inputs and returns its call of the discriminator. With a wrong loss, the gradients
            of two updates are the same function of the outputs; with wrong labels, they are not.
        mistakes: takes the gradients for label 0 and for label 1, and returns hints.
    """
    one = find()
    (outputs, targets), got = find_targets(one), one["gradients"][0].ravel()
    both = [(outputs - target) / (outputs * (1 - outputs)) / B for target in (0, 1)]
    if close(got, both[label], rtol=1e-3, atol=1e-5):
        return
    other_outputs, other_targets = find_targets(find())
    in_order, other_in_order = targets[np.argsort(outputs)], other_targets[np.argsort(other_outputs)]
    as_labels = all(-0.02 < some.min() and some.max() < 1.02 for some in (targets, other_targets))
    hints = mistakes(*both) + [
        When(f"the label is smoothed to {targets.mean():.2g} instead of {label}",
             np.ptp(targets) < 1e-3 and 0.02 < targets.mean() < 0.98),
        Gives("the error is summed over the batch instead of averaged", B * both[label]),
        Gives("the error is halved", both[label] / 2),
        Gives("the error has the wrong sign", -both[label]),
        Gives("the error applies a second sigmoid (binary_cross_entropy_with_logits), but the discriminator already "
              "ends with one", (1 / (1 + np.exp(-outputs)) - label) / B),
        Gives("this is the mean squared error instead of the binary cross entropy", 2 * (outputs - label) / B),
        Gives("the logarithm is missing: the error must be the binary cross entropy", np.sign(outputs - label) / B),
        When("the arguments of binary_cross_entropy are swapped: first the outputs, then the labels",
             np.all(got == (-np.inf if label else np.inf))),
        When(f"the labels differ from image to image, from {targets.min():.2g} to {targets.max():.2g}: each must be "
             f"{label}", as_labels and not close(in_order, other_in_order, rtol=0, atol=1e-3)),
        When("no gradient reaches some of the outputs: are they limited to a range (clamp) or left out?",
             got.any() and not got.all()),
    ]
    assert_close(what=f"The gradient of the error for the {name}, whose label is {label}, with respect to the "
                      "discriminator's outputs",
                 got=got, expected=both[label], hints=hints, rtol=1e-3, atol=1e-5, read=READ)


def passed_back(calls):
    """Return the gradient of the discriminator's weights that follows from the observed gradients of its outputs."""
    total = 0
    for one in calls:
        outputs = judge(one["x"], one["weight"])
        for gradient in one["gradients"]:
            total = total + with_ones(one["x"]).T @ (gradient.ravel() * outputs * (1 - outputs))[:, None]
    return total


def check_change(got, inputs, learner, batches, sure):
    """Compare the gradients that the optimizer finds, and the change of the weights; the other weights must not change.

    Args:
        batches: the gradient of each batch by name; they add up.
        sure: as in random_inputs.
    """
    name, other, update = NAMES[learner], 1 - learner, UPDATES[learner]
    steps, total = got["steps"], sum(len(one["gradients"]) for one in got["calls"][DISCRIMINATOR])
    if any(step["new_optimizer"] for step in steps):
        fail(what=f"The optimizer that takes a step in {update}", expected="the given one", got="a new one", read=READ,
             hints=[When("the step is taken by a new optimizer, which knows nothing of the steps before", True)])
    if len(steps) != 1:
        between = len(batches) == len(steps) == 2 and steps[0]["backward"] < total
        fail(what=f"How many steps the optimizer takes in {update}", expected=1, got=len(steps), read=READ,
             hints=[
                 When("there is no step if the discriminator is sure: is there a condition before the optimizer's "
                      "step()?", not steps and sure),
                 When("the optimizer's step() is missing, or behind a condition", not steps),
                 When("the optimizer takes a step between the two batches: add up their gradients and take one step "
                      "at the end", between),
                 When("the optimizer takes several steps", True),
             ])
    gradient, expected, rounding = steps[0]["gradient"], sum(batches.values()), {"rtol": 1e-3, "atol": 1e-6}
    lengths = np.linalg.norm(gradient) * np.linalg.norm(expected)
    hints = [
        When("the optimizer's step() comes before a backward()", steps[0]["backward"] < total),
        Gives("zero_grad() is missing, or comes only after the step: the gradients of an earlier update are left over",
              expected + inputs["leftovers"][learner]),
        When("the optimizer's step() finds no gradient: is zero_grad() between backward() and step()?",
             not gradient.any()),
        When("no gradient reaches some of the outputs: are they limited to a range (clamp)?", any(
            found.any() and not found.all() for one in got["calls"][DISCRIMINATOR] for found in one["gradients"])),
    ]
    if len(batches) == 2 and close(passed_back(got["calls"][DISCRIMINATOR]), expected, **rounding):
        hints += [Gives(f"these are only the gradients of the {batch}, but those of both batches must add up: is there "
                        "a zero_grad() between them?", found) for batch, found in batches.items()]
    hints.append(When("the gradients are scaled or clipped", np.vdot(gradient, expected) > (1 - 1e-6) * lengths > 0))
    assert_close(what=f"The gradients of the {name} that the optimizer's step finds", got=gradient, expected=expected,
                 hints=hints, read=READ, **rounding)
    change = got["weights"][learner] - inputs["weights"][learner].astype(np.float64)
    assert_close(what=f"The change in the {name}'s weights, -learning rate * gradient", got=change,
                 expected=-RATES[learner] * expected, read=READ, **rounding,
                 hints=[When("something other than the optimizer's step changes the weights", True)])
    if not np.array_equal(got["weights"][other], inputs["weights"][other]):
        fail(what=f"The weights of the {NAMES[other]} after {update}", expected="unchanged", got="changed", read=READ,
             hints=[When(f"the {NAMES[other]} changes too, but it learns in the other update", True)])
    if got["rate"] != RATES[learner]:
        fail(what=f"The optimizer's learning rate after {update}", expected=RATES[learner], got=got["rate"], read=READ,
             hints=[When("the update changes the learning rate", True)])
    if got["forgetful"]:
        fail(what=f"What the optimizer remembers after {update}", expected="the steps before", got="nothing", read=READ,
             hints=[When("the update clears the optimizer's state, which Adam needs", True)])
    if got["seeded"]:
        fail(what=f"The seed of PyTorch's random numbers after {update}", expected="unchanged", got="changed",
             read=READ,
             hints=[When("a seed is set (torch.manual_seed): every batch would get the same noise", True)])
    if not all(got["ready"]):
        fail(what=f"The networks after {update}", expected="training mode, and all weights with requires_grad",
             got="evaluation mode, or weights without requires_grad", read=READ,
             hints=[When("the update must switch back on whatever it switches off", True)])


def known_results(batch, other):
    """Return (name, kind, right value, mistakes) of a batch's mean and of its error.

    mistakes are pairs of a known mistake and what it gives.
    """
    (error, mean, outputs, after, label), (other_error, other_mean, other_outputs, _, other_label) = batch, other
    right, of_other = cross_entropy(outputs, label), cross_entropy(other_outputs, other_label)
    return [
        (mean, "mean of the discriminator's outputs", outputs.mean(), [
            (f"{mean} and {other_mean} are swapped", other_outputs.mean()),
            (f"this is the error, but {mean} is the mean of the outputs", right),
            ("these are the outputs after the step: use those from before the step", after.mean()),
            ("the outputs are summed", outputs.sum()),
            ("this is a single output, not their mean", outputs),
            ("this is the share of the outputs above 0.5", (outputs > 0.5).mean()),
        ]),
        (error, f"binary cross entropy with the label {label}", right, [
            (f"{error} and {other_error} are swapped", of_other),
            ("this is the error for both batches", right + of_other),
            ("the error is summed over the batch instead of averaged", B * right),
            ("the error is halved", right / 2),
            ("the error has the wrong sign", -right),
            ("this is the mean of the outputs", outputs.mean()),
            ("this is the error after the step", cross_entropy(after, label)),
        ]),
    ]


def fits(result, given):
    """Return whether a result is the number that a mistake gives, or one of them."""
    return any(close(result, number) for number in np.ravel(given))


def check_results(run, learner, shapes, judged):
    """Compare errors and mean outputs with the expected ones, and check that the inputs are unchanged.

    A mistake is named if it explains the result, and those of three other updates with different outputs.

    Args:
        run: takes a stretch; returns random inputs and the results of an update with them.
        judged: takes both; returns for each batch the names of its error and of its mean, the discriminator's outputs
            before and after the step, and its label.
    """
    inputs, got = run(1.0)
    update = UPDATES[learner]
    results = dict(zip(shapes, unpack(got=got["result"], function=update, shapes=shapes)))
    for name, found in zip(shapes, got["kinds"]):
        wanted = "a float" if name.startswith("D_") else "a tensor"
        if found != wanted:
            fail(what=f"What {update} returns as {name}", expected=wanted, got=found, read=READ,
                 hints=[
                     When(f"{name} is still a tensor: item() makes it a float", found == "a tensor"),
                     When(f"{name} must stay a tensor, without item()", found == "a float"),
                 ])
    batches = judged(inputs, got)
    for i, (batch, other) in enumerate(zip(batches, batches[::-1])):
        for j, (name, words_for_it, right, mistakes) in enumerate(known_results(batch, other)):
            if close(results[name], right):
                continue
            hints = [When(mistake, fits(results[name], given)) for mistake, given in mistakes]
            for stretch in (0.7, 0.9, 1.2):
                again = run(stretch)
                result = dict(zip(shapes, unpack(got=again[1]["result"], function=update, shapes=shapes)))[name]
                others = judged(*again)
                mistakes_again = known_results(others[i], others[-1 - i])[j][-1]
                hints = [When(hint.mistake, hint.shown and fits(result, given))
                         for hint, (_, given) in zip(hints, mistakes_again)]
            assert_close(what=f"{name}, the {words_for_it}", got=results[name], expected=right, hints=hints, read=READ)
    for name, left in zip((("real_images", "noise", "label"), ("fake_images", "label"))[learner], got["given"]):
        if name in inputs and not np.array_equal(left, inputs[name]):
            fail(what=f"The input {name} after {update}", expected="unchanged", got="changed", read=READ,
                 hints=[
                     When("label is changed in place (fill_(0), label[:] = 0), but the next update needs it too",
                          name == "label"),
                     When(f"{name} is changed in place", True),
                 ])
    return inputs, got, results


# The tests

@task("3.2")
def test_the_real_batch(call):
    """The discriminator gets the real images, and learns that they are real."""
    def find():
        inputs, got = run_discriminator(call, first_gap=True)
        calls, generator_calls = got["calls"]
        generated = [one["output"] for one in generator_calls]
        only_generated = bool(calls) and all(
            any(np.array_equal(one["x"], images) for images in generated) for one in calls)
        return find_call(calls, inputs["real_images"], "real images", hints=[
            When("the discriminator only gets the generated images", only_generated)])

    check_error(find, label=1, name="real images", mistakes=lambda for_0, for_1: [
        Gives("the real images have the label 0 instead of 1", for_0)])


@task("3.2")
def test_the_generated_batch(call):
    """The discriminator gets images made from the noise, and learns that they are not real; the generator does not."""
    def find():
        inputs, got = run_discriminator(call)
        (calls, generator_calls), gradient = got["calls"], got["gradients"][GENERATOR]
        check_mode(generator_calls, "generator")
        if not generator_calls or not all(np.array_equal(one["x"], inputs["noise"]) for one in generator_calls):
            fail(what="The input of the generator", expected="the noise given to update_discriminator",
                 got="different noise" if generator_calls else "nothing", read=READ,
                 hints=[When("the generator is never called", not generator_calls), When(OTHER_NOISE, True)])
        only_real = bool(calls) and all(np.array_equal(one["x"], inputs["real_images"]) for one in calls)
        one = find_call(calls, generator_calls[0]["output"], "generated images", hints=[
            When("the discriminator only gets the real images", only_real)])
        if gradient is not None and gradient.any() and not np.array_equal(gradient, inputs["leftovers"][GENERATOR]):
            fail(what="The gradients of the generator after update_discriminator", expected="unchanged", got="changed",
                 hints=[When(NOT_DETACHED, one["x_in_graph"])], read=READ)
        return one

    check_error(find, label=0, name="generated images", mistakes=lambda for_0, for_1: [
        Gives("the generated images have the label 1 instead of 0", for_1)])


@task("3.2")
def test_the_discriminator_takes_one_step(call):
    """The gradients of both batches, of several images or a single one, add up and change the discriminator once."""
    for size_of_batch, sure in product((B, 1), SURE):
        inputs, got = run_discriminator(call, batch=size_of_batch, sure=sure)
        batches = {}
        for name, images, label in (("real images", inputs["real_images"], 1),
                                    ("generated images", generate(inputs["noise"], inputs["weights"][GENERATOR]), 0)):
            outputs = judge(images, inputs["weights"][DISCRIMINATOR])
            batches[name] = with_ones(images).T @ (outputs - label)[:, None] / size_of_batch
        check_change(got, inputs, DISCRIMINATOR, batches, sure)


@task("3.2")
def test_what_update_discriminator_returns(call):
    """The errors are tensors, the mean outputs floats, and the generated images keep their graph."""
    def judged(inputs, got):
        images = generate(inputs["noise"], inputs["weights"][GENERATOR])
        real, fake = ([judge(batch, weights[DISCRIMINATOR]) for weights in (inputs["weights"], got["weights"])]
                      for batch in (inputs["real_images"], images))
        return [("errD_real", "D_x", *real, 1), ("errD_fake", "D_G_z1", *fake, 0)]

    shapes = {"errD_real": (), "D_x": (), "errD_fake": (), "D_G_z1": (), "fake_images": (B,) + IMAGE}
    inputs, got, results = check_results(
        lambda stretch: run_discriminator(call, stretch), DISCRIMINATOR, shapes, judged)
    calls, gradient = got["calls"][GENERATOR], got["gradients"][GENERATOR]
    assert_close(
        what="fake_images, generated from the noise", got=results["fake_images"],
        expected=generate(inputs["noise"], inputs["weights"][GENERATOR]), read=READ,
        hints=[
            Gives("these are the real images", inputs["real_images"]),
            When("these images are generated from different noise", any(
                np.array_equal(results["fake_images"], one["output"]) for one in calls)),
            When("these are not the images as the generator returns them", True),
        ])
    if not got["leads_back"]:
        fail(what="The returned fake_images", expected="with the graph that leads back to the generator",
             got="without this graph", read=READ,
             hints=[
                 When("the images are generated under no_grad, or with weights that have requires_grad turned off",
                      not any(one["in_graph"] for one in calls)),
                 When("detached images are returned, from which the generator cannot learn",
                      not got["in_graph"] or gradient is None
                      or np.array_equal(gradient, inputs["leftovers"][GENERATOR])),
                 When(NOT_DETACHED, True),
             ])


def find_generator_call(call, frozen):
    """Run update_generator; return its call of the discriminator."""
    _, got = run_generator(call, frozen)
    calls, generator_calls = got["calls"]
    if generator_calls:
        fail(what="How often update_generator calls the generator", expected=0, got=len(generator_calls), read=READ,
             hints=[When("new images are generated: use the given fake images", True)])
    one = find_call(calls, got["given"][0], "fake images")
    if not one["x_in_graph"]:
        fail(what="The fake images that the discriminator gets", expected="with their graph", got="detached",
             hints=[When(DETACHED, True)], read=READ)
    return one


@task("3.2")
def test_what_the_generator_learns_from(call):
    """The generator learns to make the discriminator take the given images for real ones."""
    for frozen in (False, True):
        check_error(partial(find_generator_call, call, frozen), label=1, name="fake images",
                    mistakes=lambda for_0, for_1: [
                        Gives("the fake images have the label 0; use 1, because the generator wants them taken for "
                              "real", for_0),
                        Gives("this is log(1 - D(G(z))), the saturating loss: minimise -log D(G(z))", -for_0),
                        Gives("this is the sum of log(1 - D(G(z))), the saturating loss: minimise the mean of "
                              "-log D(G(z))", -B * for_0),
                    ])


@task("3.2")
def test_the_generator_takes_one_step(call):
    """The gradients change the generator's weights once; the discriminator's weights stay the same."""
    for frozen, size_of_batch, sure in product((False, True), (B, 1), SURE):
        inputs, got = run_generator(call, frozen, batch=size_of_batch, sure=sure)
        of_discriminator, of_generator = (weight.astype(np.float64) for weight in inputs["weights"])
        images = generate(inputs["noise"], of_generator)
        of_logits = (judge(images, of_discriminator) - 1)[:, None] / size_of_batch
        of_layer = of_logits * of_discriminator[:-1, 0] * (1 - images.reshape(size_of_batch, -1) ** 2)
        check_change(got, inputs, GENERATOR, {"fake images": with_ones(inputs["noise"]).T @ of_layer}, sure)


@task("3.2")
def test_what_update_generator_returns(call):
    """The error is a tensor, the mean output a float."""
    def judged(inputs, got):
        before, after = (judge(generate(inputs["noise"], weights[GENERATOR]), inputs["weights"][DISCRIMINATOR])
                         for weights in (inputs["weights"], got["weights"]))
        return [("errG", "D_G_z2", before, after, 1)]

    for frozen in (False, True):
        check_results(partial(run_generator, call, frozen), GENERATOR, {"errG": (), "D_G_z2": ()}, judged)


if __name__ == "__main__":
    run_this_file(__file__)
