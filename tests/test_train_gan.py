"""Task 3.2: update_discriminator and update_generator in lib/train_gan.py. Their networks are the test's own here."""
from numbers import Real

import numpy as np
import torch
from torch import nn

from tests.support import assert_close, close, fail, fresh, gradients, run_this_file, size, task, unpack, words

B, L, IMAGE = 7, 5, (3, 32, 32)
NAMES, UPDATES = ("discriminator", "generator"), ("update_discriminator", "update_generator")   # by the one that learns
RATES = 0.01, 1.0               # learning rates
READ = "the docstrings of update_discriminator and update_generator, and the words in their gaps"
MEAN, ERROR = "mean of the discriminator's outputs", "binary cross entropy with the label {}"
CALLED_TWICE = "backward() is called twice for one error, alone or in a sum"
DETACHED = "the fake images are given to the discriminator detached: the generator learns through them"
NOT_DETACHED = "the gradients reach the generator: give the discriminator the generated pictures detached"


class Network(nn.Module):
    """Stands for one of the networks: one linear layer, of which all gradients are known. It notes what it is given.

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
            fail(f"What the {self.name} is given", f"shape B,{size(self.takes)}, torch.float32", got, read=READ)
        output = self.activation(torch.cat([x.flatten(1), x.new_ones(len(x), 1)], dim=1) @ self.weight)
        output = output.reshape(len(x), *self.gives)
        self.calls.append({"x": x.detach().clone(), "x_in_graph": x.requires_grad, "output": output.detach().clone(),
                           "in_graph": output.requires_grad, "weight": self.weight.detach().clone(),
                           "training": self.training, "gradients": []})
        if output.requires_grad:
            output.register_hook(lambda gradient, note=self.calls[-1]: note["gradients"].append(gradient.clone()))
        return output


# The functions that touch lib

def new_networks(weights, leftovers):
    """A discriminator and a generator, with gradients of an earlier update."""
    networks = (Network("discriminator", IMAGE, (1, 1, 1), torch.sigmoid, weights[0]),
                Network("generator", (L, 1, 1), IMAGE, torch.tanh, weights[1]))
    for network, leftover in zip(networks, leftovers):
        network.weight.grad = torch.tensor(leftover)
    return networks


def run_update(update, networks, learner, given, first_gap=False):
    """What an update gives to the networks and to the optimizer of one of them, what it makes of them and returns."""
    steps, calls, weight, result = [], networks[0].calls, networks[learner].weight, None
    optimizer = torch.optim.SGD([weight], lr=RATES[learner])
    optimizer.register_step_post_hook(lambda *_: steps.append({
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
    parts = list(result) if isinstance(result, (tuple, list)) else [result]
    calls = [[dict(one, gradients=list(one["gradients"])) for one in network.calls] for network in networks]
    return {"result": result, "kinds": [kind(part) for part in parts], "calls": calls,
            "steps": steps, "given": given, "weights": [network.weight for network in networks],
            "gradients": [network.weight.grad for network in networks],
            "ready": [network.training and (network.weight.requires_grad or was_frozen)
                      for network, was_frozen in zip(networks, frozen)],
            "in_graph": torch.is_tensor(parts[-1]) and parts[-1].requires_grad,
            "leads_back": leads_back(parts[-1], networks[1].weight)}


def explain(error, last, learner):
    """Say in words what PyTorch's errors mean here."""
    if "does not require grad" in error:
        fail("What backward() starts from", "an error with a gradient", "one without", [
            (DETACHED, learner == 1 and not last["x_in_graph"]),
            ("the discriminator runs under no_grad, or its weights need no gradients", not last["in_graph"]),
            ("the error is not made of the outputs, or one of them is detached: detach(), .data, item(), numpy() and "
             "torch.tensor(...) leave PyTorch's graph", True)], READ)
    if "through the graph a second time" in error:
        fail("How often backward() goes through the outputs for a batch", "once", "a second time",
             [(CALLED_TWICE, True)], READ)


def kind(part):
    return "a tensor" if torch.is_tensor(part) else "a float" if isinstance(part, Real) else type(part).__name__


def leads_back(images, weight):
    try:
        return bool(gradients(images, 1.0, [weight])[0].any())
    except RuntimeError:                    # a backward() has been through the graph
        return False


def follow_discriminator(real_images, noise, label, weights, leftovers, seed, first_gap=False):
    """first_gap: whether the second gap may be unfilled."""
    from lib.train_gan import update_discriminator
    torch.manual_seed(seed)
    given = [torch.tensor(array) for array in (real_images, noise, label)]
    return run_update(update_discriminator, new_networks(weights, leftovers), 0, given, first_gap)


def follow_generator(noise, label, weights, leftovers, seed, frozen):
    """frozen: whether the discriminator's weights need no gradients, as in train_epoch."""
    from lib.train_gan import update_generator
    torch.manual_seed(seed)
    networks = new_networks(weights, leftovers)
    images = networks[1](torch.tensor(noise))
    networks[1].calls.clear()
    networks[0].requires_grad_(not frozen)
    return run_update(update_generator, networks, 1, [images, torch.tensor(label)])


# What is expected, in float64

def with_ones(x):
    return np.concatenate([x.reshape(len(x), -1), np.ones((len(x), 1))], axis=1).astype(np.float64)


def judge(images, weight):
    """The discriminator's outputs, B."""
    return 1 / (1 + np.exp(-with_ones(images) @ weight.astype(np.float64)))[:, 0]


def generate(noise, weight):
    return np.tanh(with_ones(noise) @ weight.astype(np.float64)).reshape(-1, *IMAGE)


def cross_entropy(outputs, label):
    return -np.log(outputs if label else 1 - outputs).mean()


def random_inputs(stretch=1.0):
    """Pictures, noise, label, the weights of both networks, and gradients that are left over.

    The discriminator's weights are solved for: its outputs are spread out, with another mean for each of both batches.
    The outputs of two calls with one stretch are the same, but for other images.
    """
    rng = np.random.default_rng(fresh())
    real_images = rng.uniform(-1, 1, (B,) + IMAGE).astype(np.float32)
    noise = rng.normal(size=(B, L, 1, 1)).astype(np.float32)
    of_generator = rng.normal(0, 0.5, (L + 1, np.prod(IMAGE))).astype(np.float32)
    logits = stretch * np.concatenate([rng.permutation(np.linspace(*ends, B)) for ends in ((-1.2, 2), (-2, 0.9))])
    both = with_ones(np.concatenate([real_images, generate(noise, of_generator)]))
    start = rng.normal(0, 0.05, (both.shape[1], 1))
    of_discriminator = start + np.linalg.lstsq(both, logits[:, None] - both @ start, rcond=None)[0]
    weights = [of_discriminator.astype(np.float32), of_generator]
    return {"real_images": real_images, "noise": noise, "label": np.ones(B, np.float32), "weights": weights,
            "leftovers": [rng.normal(0, 0.1, weight.shape).astype(np.float32) for weight in weights]}


def run_discriminator(call, stretch=1.0, **options):
    inputs = random_inputs(stretch)
    return inputs, call(follow_discriminator, seed=fresh(), **inputs, **options)


def run_generator(call, frozen, stretch=1.0):
    inputs = random_inputs(stretch)
    return inputs, call(follow_generator, seed=fresh(), frozen=frozen, **{
        name: value for name, value in inputs.items() if name != "real_images"})


def check_mode(calls, name):
    if not all(one["training"] for one in calls):
        fail(f"The mode of the {name}", "training mode", "evaluation mode", [
            (f"the {name} is in evaluation mode, eval() is for the time after the training", True)], READ)


def find_call(calls, images, name, hints=()):
    """The call of the discriminator with these pictures that is learned from; there may be others, to look at them."""
    check_mode(calls, "discriminator")
    found = [one for one in calls if np.array_equal(one["x"], images)]
    if not found:
        fail("What the discriminator is given", f"the {name}, shape {size(images.shape)}",
             "; ".join(f"other pictures, {words(one['x'])}" for one in calls) or "nothing", list(hints) + [
                 ("the two batches go through the discriminator as one, where batch norm mixes them up: it takes one "
                  "after the other", any(len(one["x"]) == 2 * B and any(
                      np.array_equal(half, images) for half in (one["x"][:B], one["x"][B:])) for one in calls)),
                 ("the discriminator is never called", not calls),
                 (f"the discriminator is not given the {name} as they are, but changed or other ones", True)], READ)
    learned = [one for one in found for _ in one["gradients"]]
    if len(learned) != 1:
        fail(f"How often backward() goes through the discriminator's outputs for the {name}", 1, len(learned), [
            (f"the {name} are not learned from: their backward() is missing, or the error is not made of the outputs, "
             "or detached from them", not learned),
            (CALLED_TWICE, any(len(one["gradients"]) > 1 for one in found)),
            (f"the discriminator is called several times with the {name}, and learns each time", True)], READ)
    return learned[0]


def find_targets(one):
    """The discriminator's outputs in a call, and the labels with which the cross entropy has the gradient that came."""
    outputs, got = judge(one["x"], one["weight"]), one["gradients"][0].ravel()
    return outputs, outputs - got * B * outputs * (1 - outputs)


def check_error(find, label, name, hints):
    """Compare the gradient that reached the discriminator's outputs with that of the binary cross entropy.

    Args:
        find: gives the call of an update with new inputs. If another loss is to blame, its gradients are the same
            function of the outputs each time; if labels are, they are not.
        hints: takes that gradient for label 0 and for label 1; gives pairs as for assert_close.
    """
    one = find()
    (outputs, targets), got = find_targets(one), one["gradients"][0].ravel()
    both = [(outputs - target) / (outputs * (1 - outputs)) / B for target in (0, 1)]
    if close(got, both[label], rtol=1e-3, atol=1e-5):
        return
    other_outputs, other_targets = find_targets(find())
    in_order, other_in_order = targets[np.argsort(outputs)], other_targets[np.argsort(other_outputs)]
    as_labels = all(-0.02 < some.min() and some.max() < 1.02 for some in (targets, other_targets))
    assert_close(got, both[label], f"The gradient of the error of the {name}, whose label is {label}, with respect to "
                 "the discriminator's outputs", hints(*both) + [
                     (f"the label is smoothed to {targets.mean():.2g}, it must be {label}",
                      np.ptp(targets) < 1e-3 and 0.02 < targets.mean() < 0.98),
                     ("the error is summed over the batch, it is a mean", B * both[label]),
                     ("the error is halved", both[label] / 2),
                     ("the error has the wrong sign", -both[label]),
                     ("a second sigmoid is in the error (binary_cross_entropy_with_logits): the discriminator ends "
                      "with one", (1 / (1 + np.exp(-outputs)) - label) / B),
                     ("this is the mean squared error, it must be the binary cross entropy",
                      2 * (outputs - label) / B),
                     ("the logarithm is missing, the error must be the binary cross entropy",
                      np.sign(outputs - label) / B),
                     ("the arguments of binary_cross_entropy are swapped: first the outputs, then the labels",
                      bool(np.all(got == (-np.inf if label else np.inf)))),
                     (f"the labels differ from picture to picture, from {targets.min():.2g} to {targets.max():.2g}: "
                      f"each must be {label}", as_labels and not close(in_order, other_in_order, rtol=0, atol=1e-3))
                 ], rtol=1e-3, atol=1e-5, read=READ)


def check_change(got, inputs, learner, batches):
    """Compare the gradients that the optimizer's step finds, and the change of the weights; the others stay.

    Args:
        batches: the gradient of each batch by its name; they add up.
    """
    name, steps, total = NAMES[learner], got["steps"], sum(len(one["gradients"]) for one in got["calls"][0])
    if len(steps) != 1:
        fail(f"How many steps the optimizer takes in {UPDATES[learner]}", 1, len(steps), [
            ("the optimizer's step() is missing", not steps),
            ("the optimizer takes a step between the two batches: their gradients add up, for one step at the end",
             len(batches) == len(steps) == 2 and steps[0]["backward"] < total),
            ("the optimizer takes several steps", True)], READ)
    gradient, expected, rounding = steps[0]["gradient"], sum(batches.values()), {"rtol": 1e-3, "atol": 1e-6}
    lengths = np.linalg.norm(gradient) * np.linalg.norm(expected)
    assert_close(gradient, expected, f"The gradients of the {name} that the optimizer's step finds", [
        ("the optimizer's step() comes before a backward()", steps[0]["backward"] < total),
        ("zero_grad() is missing, the gradients of an earlier update are left over",
         close(gradient, expected + inputs["leftovers"][learner], **rounding)),
        ("the optimizer's step() finds no gradient, as where zero_grad() stands between backward() and step()",
         not gradient.any()),
    ] + [
        (f"these are the gradients of the {batch} alone, those of both batches must add up: is there a zero_grad() "
         "between them?", found) for batch, found in batches.items() if len(batches) == 2
    ] + [
        ("the gradients are scaled or clipped", np.vdot(gradient, expected) > (1 - 1e-6) * lengths > 0),
    ], read=READ, **rounding)
    before = inputs["weights"][learner].astype(np.float64)
    assert_close(got["weights"][learner] - before, -RATES[learner] * expected, f"The change of the {name}'s weights, "
                 "-learning rate * gradient", [("the weights are changed besides the optimizer's step", True)],
                 read=READ, **rounding)
    other = 1 - learner
    if not np.array_equal(got["weights"][other], inputs["weights"][other]):
        fail(f"The weights of the {NAMES[other]} after {UPDATES[learner]}", "as they were", "others", [
            (f"the {NAMES[other]} is changed too, it learns in the other update", True)], READ)
    if not all(got["ready"]):
        fail(f"The networks after {UPDATES[learner]}", "in training mode, and all weights with requires_grad",
             "not so any more", [("what the update switches off it must switch on again", True)], READ)


def known_results(batch, other):
    """Mean and error of a batch, and what known mistakes give for them, as pairs for assert_close."""
    (error, mean, outputs, after, label), (other_error, other_mean, other_outputs, _, other_label) = batch, other
    right, of_other = cross_entropy(outputs, label), cross_entropy(other_outputs, other_label)
    return [(mean, outputs.mean(), [
        (f"{mean} and {other_mean} are swapped", other_outputs.mean()),
        (f"this is the error, {mean} is the mean of the outputs", right),
        ("the outputs are those after the step, take those that are learned from", after.mean()),
        ("the outputs are summed", outputs.sum()),
        ("this is a single output, not their mean", outputs),
        ("this is the share of the outputs above 0.5", (outputs > 0.5).mean())]), (error, right, [
            (f"{error} and {other_error} are swapped", of_other),
            ("this is the error of both batches", right + of_other),
            ("the error is summed over the batch, it is a mean", B * right), ("the error is halved", right / 2),
            ("the error has the wrong sign", -right), ("this is the mean of the outputs", outputs.mean()),
            ("this is the error after the step", cross_entropy(after, label))])]


def fits(result, given):
    """Whether a result is the number that a mistake gives, or one of them."""
    return any(close(result, number) for number in np.ravel(given))


def check_results(run, learner, shapes, judged):
    """Compare errors and mean outputs with what they must be, and see that the label stays as it is.

    A mistake is named if it explains the number that came, and that of three other updates with other outputs.

    Args:
        run: takes a stretch; gives random inputs and what came of an update with them.
        judged: takes both; gives for each batch the names of its error and of its mean, the discriminator's outputs
            before and after the step, and its label.
    """
    inputs, got = run(1.0)
    update = UPDATES[learner]
    results = dict(zip(shapes, unpack(got["result"], update, **shapes)))
    for name, came in zip(shapes, got["kinds"]):
        wanted = "a float" if name.startswith("D_") else "a tensor"
        if came != wanted:
            fail(f"What {update} returns as {name}", wanted, came, [
                (f"{name} is still a tensor, item() makes it a float", came == "a tensor"),
                (f"{name} must stay a tensor, without item()", came == "a float")], READ)
    batches = judged(inputs, got)
    for i, (batch, other) in enumerate(zip(batches, batches[::-1])):
        for j, (name, right, mistakes) in enumerate(known_results(batch, other)):
            if close(results[name], right):
                continue
            hints = [(mistake, fits(results[name], given)) for mistake, given in mistakes]
            for stretch in (0.7, 0.9, 1.2):
                again = run(stretch)
                result = dict(zip(shapes, unpack(again[1]["result"], update, **shapes)))[name]
                others = judged(*again)
                hints = [(mistake, recognised and fits(result, given)) for (mistake, recognised), (_, given) in zip(
                    hints, known_results(others[i], others[-1 - i])[j][2])]
            assert_close(results[name], right, f"{name}, the {MEAN if j == 0 else ERROR.format(batch[4])}", hints,
                         read=READ)
    for name, left in zip((("real_images", "noise", "label"), ("fake_images", "label"))[learner], got["given"]):
        if name in inputs and not np.array_equal(left, inputs[name]):
            fail(f"What {update} leaves of its input {name}", "what it was given", "something else", [
                ("label is changed in place (fill_(0), label[:] = 0): the next update is given it too",
                 name == "label"), (f"{name} is changed in place", True)], READ)
    return inputs, got, results


# The tests

@task("3.2")
def test_the_real_batch(call):
    """The discriminator is given the real pictures, and learns that they are real."""
    def find():
        inputs, got = run_discriminator(call, first_gap=True)
        calls, generated = got["calls"][0], [one["output"] for one in got["calls"][1]]
        return find_call(calls, inputs["real_images"], "real pictures", [
            ("the generated pictures alone are learned from",
             bool(calls) and all(any(np.array_equal(one["x"], images) for images in generated) for one in calls))])

    check_error(find, 1, "real pictures", lambda for_0, for_1: [
        ("the real pictures are labelled 0, they are labelled 1", for_0)])


@task("3.2")
def test_the_generated_batch(call):
    """The discriminator is given pictures made of the noise, and learns that they are not; the generator does not."""
    def find():
        inputs, got = run_discriminator(call)
        calls, judged, gradient = got["calls"][1], [one["x"] for one in got["calls"][0]], got["gradients"][1]
        check_mode(calls, "generator")
        if not calls or not all(np.array_equal(one["x"], inputs["noise"]) for one in calls):
            fail("What the generator is given", "the noise that update_discriminator is given",
                 "other noise" if calls else "nothing", [
                     ("the generator is never called", not calls),
                     ("the noise is changed, or fresh noise is drawn in place of the given one", True)], READ)
        one = find_call(got["calls"][0], calls[0]["output"], "generated pictures", [
            ("the real pictures alone are learned from",
             bool(judged) and all(np.array_equal(images, inputs["real_images"]) for images in judged))])
        if gradient is not None and gradient.any() and not np.array_equal(gradient, inputs["leftovers"][1]):
            fail("The gradients of the generator after update_discriminator", "as they were", "others",
                 [(NOT_DETACHED, one["x_in_graph"])], READ)
        return one

    check_error(find, 0, "generated pictures", lambda for_0, for_1: [
        ("the generated pictures are labelled 1, they are labelled 0", for_1)])


@task("3.2")
def test_the_discriminator_takes_one_step(call):
    """The gradients of both batches add up, and move the discriminator's weights once; nothing else is moved."""
    inputs, got = run_discriminator(call)
    batches = {}
    for name, images, label in (("real pictures", inputs["real_images"], 1),
                                ("generated pictures", generate(inputs["noise"], inputs["weights"][1]), 0)):
        batches[name] = with_ones(images).T @ (judge(images, inputs["weights"][0]) - label)[:, None] / B
    check_change(got, inputs, 0, batches)


@task("3.2")
def test_what_update_discriminator_returns(call):
    """The errors as tensors, the mean outputs as floats, and the generated pictures with their graph."""
    def judged(inputs, got):
        images = generate(inputs["noise"], inputs["weights"][1])
        real, fake = ([judge(batch, weight) for weight in (inputs["weights"][0], got["weights"][0])]
                      for batch in (inputs["real_images"], images))
        return [("errD_real", "D_x", *real, 1), ("errD_fake", "D_G_z1", *fake, 0)]

    shapes = {"errD_real": (), "D_x": (), "errD_fake": (), "D_G_z1": (), "fake_images": (B,) + IMAGE}
    inputs, got, results = check_results(lambda stretch: run_discriminator(call, stretch), 0, shapes, judged)
    calls = got["calls"][1]
    images = generate(inputs["noise"], inputs["weights"][1])
    assert_close(results["fake_images"], images, "fake_images, made of the noise", [
        ("these are the real pictures", inputs["real_images"]),
        ("these are pictures of other noise", any(
            np.array_equal(results["fake_images"], one["output"]) for one in calls)),
        ("these are not the pictures as the generator gives them", True)], read=READ)
    if not got["leads_back"]:
        fail("fake_images as they are returned", "with the graph that leads back to the generator", "without", [
            ("the pictures are generated under no_grad, or by weights without requires_grad",
             not any(one["in_graph"] for one in calls)),
            ("detached pictures are returned, from which the generator cannot learn",
             not got["in_graph"] or got["gradients"][1] is None or np.array_equal(
                 got["gradients"][1], inputs["leftovers"][1])), (NOT_DETACHED, True)], READ)


@task("3.2")
def test_what_the_generator_learns_from(call):
    """The generator wants the pictures that are given to be taken for real."""
    for frozen in (False, True):
        def find():
            inputs, got = run_generator(call, frozen)
            if got["calls"][1]:
                fail("How often the generator is called in update_generator", 0, len(got["calls"][1]), [
                    ("new pictures are generated, but the given ones are to be learned from", True)], READ)
            one = find_call(got["calls"][0], got["given"][0], "fake images")
            if not one["x_in_graph"]:
                fail("The fake images that the discriminator is given", "with their graph", "without",
                     [(DETACHED, True)], READ)
            return one

        check_error(find, 1, "fake images", lambda for_0, for_1: [
            ("the fake images are labelled 0: the generator wants them taken for real, label 1", for_0),
            ("this is log(1 - D(G(z))), the saturating loss: minimise -log D(G(z))", -for_0),
            ("this is the sum of log(1 - D(G(z))), the saturating loss: minimise the mean of -log D(G(z))",
             -B * for_0)])


@task("3.2")
def test_the_generator_takes_one_step(call):
    """The gradients move the generator's weights once; the discriminator's stay as they are."""
    for frozen in (False, True):
        inputs, got = run_generator(call, frozen)
        of_discriminator, of_generator = (weight.astype(np.float64) for weight in inputs["weights"])
        images = generate(inputs["noise"], of_generator)
        of_logits = (judge(images, of_discriminator) - 1)[:, None] / B
        of_layer = of_logits * of_discriminator[:-1, 0] * (1 - images.reshape(B, -1) ** 2)
        check_change(got, inputs, 1, {"fake images": with_ones(inputs["noise"]).T @ of_layer})


@task("3.2")
def test_what_update_generator_returns(call):
    """The error as a tensor, the mean output as a float."""
    def judged(inputs, got):
        return [("errG", "D_G_z2", *(judge(generate(inputs["noise"], weights[1]), inputs["weights"][0])
                                     for weights in (inputs["weights"], got["weights"])), 1)]

    for frozen in (False, True):
        check_results(lambda stretch: run_generator(call, frozen, stretch), 1, {"errG": (), "D_G_z2": ()}, judged)


if __name__ == "__main__":
    run_this_file(__file__)
