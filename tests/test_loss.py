"""Task 1.2: the loss of the VAE, in lib/loss_vae.py."""
from functools import partial
from itertools import product

import numpy as np
import pytest
import torch

from tests.support import Gives, When, assert_close, close, fail, fresh, run_this_file, task, words

B, C, H, W, L = 5, 2, 3, 4, 7
SEED = 1234567
READ = "the docstring of VAELoss.forward, and docs/kl_divergence.md"
IN_PLACE = "an input is changed in place: methods that end in _, such as clamp_() and pow_(), write into their tensor"


# The functions that touch lib

def loss(weight, others=1, **inputs):
    """Return the loss of two calls, and the first one's gradients with respect to x_reconstructed, mu and logvar.

    Args:
        others: how many calls with another batch come between the two.
    """
    from lib.loss_vae import VAELoss
    loss_of_vae = VAELoss(kl_loss_weight=weight)
    value, gradients = call_once(loss_of_vae, inputs)
    for _ in range(others):
        call_once(loss_of_vae, {name: array / 2 for name, array in inputs.items()})
    again, _ = call_once(loss_of_vae, inputs)
    return {"loss": value, "is_tensor": isinstance(value, torch.Tensor), "gradients": gradients, "again": again}


def call_once(loss_of_vae, inputs):
    """Return the loss and its gradients; check that the call leaves its inputs and PyTorch's seed alone."""
    leaves = {name: torch.tensor(array, requires_grad=name != "x") for name, array in inputs.items()}
    # As in training, these are results of layers. Like a sigmoid, relu needs its result again in backward().
    given = {name: leaf.relu() if name == "x_reconstructed" else leaf.clone() for name, leaf in leaves.items()}
    torch.manual_seed(SEED)
    value = loss_of_vae(**given)
    if torch.initial_seed() != SEED:
        fail(what="PyTorch's random seed after the loss", expected="unchanged", got="another seed",
             hints=[When("your code sets a seed (torch.manual_seed): every batch would get the same noise", True)])
    for name, tensor in given.items():
        if not np.array_equal(tensor.detach(), inputs[name]):
            fail(what=f"The input {name} after the loss", expected="the same numbers as before",
                 got="other numbers", hints=[When(IN_PLACE, True)], read=READ)
    if isinstance(value, torch.Tensor) and value.requires_grad:
        try:
            value.sum().backward()
        except RuntimeError as error:
            text = str(error).split(". ")[0]
            fail(what="backward() of the loss", expected="gradients", got=f"RuntimeError: {text}", hints=[
                When(IN_PLACE, "of Relu" in text),
                When("a tensor is changed in place, but backward() needs its numbers", "inplace operation" in text),
                When("something is kept with its graph from an earlier call, in an attribute of self: compute every "
                     "term from the inputs of this call", "second time" in text)])
    return value, [torch.zeros_like(leaf) if leaf.grad is None else leaf.grad
                   for name, leaf in leaves.items() if name != "x"]


# What is expected, in float64

def random_inputs():
    """Return grey images, reconstructions with pixels from 0.002 to 0.998, and latents that are far from the prior."""
    rng = np.random.default_rng(fresh())
    x = rng.uniform(0.05, 0.95, (B, C, H, W))
    x_reconstructed = 1 / (1 + np.exp(rng.permutation(np.linspace(-6.2, 6.2, x.size)).reshape(x.shape)))
    mu, logvar = rng.normal(1, 1, (B, L)), rng.normal(-0.5, 1.5, (B, L))
    return {name: array.astype(np.float32) for name, array in
            (("x_reconstructed", x_reconstructed), ("x", x), ("mu", mu), ("logvar", logvar))}


def cross_entropy(probability, target):
    """Return -log of the probability that the model gives to each pixel; as in PyTorch, no logarithm is below -100."""
    with np.errstate(divide="ignore"):
        white, black = (np.maximum(np.log(p), -100) for p in (probability, 1 - probability))
    return -target * white - (1 - target) * black


def log_normal(z, mu, sigma):
    return -np.log(sigma * (2 * np.pi) ** 0.5) - ((z - mu) / sigma) ** 2 / 2


def divergence(mu, sigma, other_mu, other_sigma):
    """Return KL(N(mu, sigma²) || N(other_mu, other_sigma²)) by definition: the mean of log q(z) - log p(z), z from q.

    Both logarithms are quadratic in z, so Gauss-Hermite quadrature with three points gives the mean exactly.
    """
    points, weights = np.polynomial.hermite_e.hermegauss(3)
    z = mu[..., None] + sigma[..., None] * points
    log_q, log_p = (log_normal(z, np.expand_dims(m, -1), np.expand_dims(s, -1))
                    for m, s in ((mu, sigma), (other_mu, other_sigma)))
    return (log_q - log_p) @ weights / weights.sum()


def terms(x_reconstructed, x, mu, logvar):
    """Return pairs (mistake, value) of the reconstruction term and of the KL term; the first pair of each is right."""
    x_reconstructed, x, mu, logvar = (np.asarray(a, dtype=np.float64) for a in (x_reconstructed, x, mu, logvar))
    pixels = cross_entropy(x_reconstructed, x)
    logits_given = np.log1p(np.exp(x_reconstructed)) - x * x_reconstructed
    squared, absolute = (x_reconstructed - x) ** 2, np.abs(x_reconstructed - x)
    reconstructions = [
        ("", pixels.sum()),
        ("the cross entropy is averaged over all pixels instead of summed", pixels.mean()),
        ("the cross entropy is averaged over the batch instead of summed", pixels.sum() / len(x)),
        ("the cross entropy is averaged over the pixels of an image instead of summed", pixels.sum() / x[0].size),
        ("the arguments of the cross entropy are swapped: x_reconstructed is the probability, x the target",
         cross_entropy(x, x_reconstructed).sum()),
        ("the cross entropy uses binarised targets: don't round x", cross_entropy(x_reconstructed, x.round()).sum()),
        ("this is the cross entropy with logits, but x_reconstructed holds probabilities", logits_given.sum()),
        ("this is the mean cross entropy with logits, but x_reconstructed holds probabilities", logits_given.mean()),
        ("this is the squared error instead of the cross entropy", squared.sum()),
        ("this is the mean squared error instead of the cross entropy", squared.mean()),
        ("this is the absolute error instead of the cross entropy", absolute.sum()),
        ("this is the mean absolute error instead of the cross entropy", absolute.mean()),
        ("the cross entropy has the wrong sign", -pixels.sum()),
        ("half of the cross entropy is missing: the term for black pixels", -(x * np.log(x_reconstructed)).sum()),
        ("the cross entropy is missing", 0.0),
    ]
    variance, sigma = np.exp(logvar), np.exp(logvar / 2)
    kl = divergence(mu, sigma, 0, 1)
    kl_terms = [
        ("", kl.sum()),
        ("the KL term has the wrong sign", -kl.sum()),
        ("the KL term lacks its factor of one half", 2 * kl.sum()),
        ("the KL term lacks its factor of one half and has the wrong sign", -2 * kl.sum()),
        ("the KL term is averaged over all latents and images instead of summed", kl.mean()),
        ("the KL term is averaged over the batch instead of summed", kl.sum() / len(mu)),
        ("the KL term is averaged over the latents instead of summed", kl.sum() / mu.shape[1]),
        ("the KL term lacks the 1 in its sum", (kl + 0.5).sum()),
        ("the 1 in the KL term has the wrong sign", (kl + 1).sum()),
        ("the 1 in the KL term is subtracted only once, not for each latent of each image", (kl + 0.5).sum() - 0.5),
        ("the KL term uses the standard deviation instead of the variance", (kl + (sigma - variance) / 2).sum()),
        ("the KL term uses the square of the variance instead of the variance",
         (kl + (variance ** 2 - variance) / 2).sum()),
        ("the KL term treats logvar as the logarithm of the standard deviation, but it is that of the variance",
         divergence(mu, variance, 0, 1).sum()),
        ("the KL term uses logvar itself instead of the variance exp(logvar)", (kl + (logvar - variance) / 2).sum()),
        ("the variance is missing from the KL term", (kl - variance / 2).sum()),
        ("logvar is missing from the KL term", (kl + logvar / 2).sum()),
        ("logvar has the wrong sign in the KL term", (kl + logvar).sum()),
        ("mu is not squared in the KL term", (kl + (mu - mu ** 2) / 2).sum()),
        ("mu² is missing from the KL term", (kl - mu ** 2 / 2).sum()),
        ("mu² has the wrong sign in the KL term", (kl - mu ** 2).sum()),
        ("the KL divergence is reversed: this is KL(N(0, 1) || N(mu, sigma²))",
         divergence(np.zeros_like(mu), np.ones_like(mu), mu, sigma).sum()),
        ("mu and logvar are swapped in the KL term", divergence(logvar, np.exp(mu / 2), 0, 1).sum()),
        ("the KL term is only minus the entropy of q(z | x): log p(z) is missing",
         (-logvar - 1 - np.log(2 * np.pi)).sum() / 2),
    ]
    return reconstructions, kl_terms


def right_loss(weight, inputs):
    reconstructions, kl_terms = terms(**inputs)
    return reconstructions[0][1] + weight * kl_terms[0][1]


def mistakes_of_the_weight(weight, reconstruction, kl):
    """Return pairs (mistake, loss) for what can go wrong with kl_loss_weight."""
    if weight == 0:
        return [
            ("the KL term counts although its weight is 0: is the weight ignored, or replaced by 1 (`weight or 1`)?",
             reconstruction + kl),
            ("this is only the KL term, but with weight 0 the loss is only the reconstruction term", kl),
            ("the reconstruction term is missing, or it is weighted too", 0.0),
        ]
    return [
        ("the weight is ignored", reconstruction + kl),
        ("the weight is squared", reconstruction + weight ** 2 * kl),
        ("the reconstruction term is weighted instead of the KL term", weight * reconstruction + kl),
        ("both terms are weighted instead of the KL term only", weight * (reconstruction + kl)),
        ("the reconstruction term is weighted too, by 1 - weight", (1 - weight) * reconstruction + weight * kl),
        ("the KL term is divided by the weight", reconstruction + kl / weight),
        ("the KL term is missing", reconstruction),
        ("the weight is rounded", reconstruction + round(weight) * kl),
        ("the weight is rounded down, so that it counts as 0 if it is below 1 (int, //)",
         reconstruction + int(weight) * kl),
    ]


def known_mistakes(weight, inputs):
    """Return pairs (mistake, loss), the likeliest first: one in the weight, one in either term, one in each term."""
    reconstructions, kl_terms = terms(**inputs)
    (_, reconstruction), (_, kl) = reconstructions[0], kl_terms[0]
    mistakes = mistakes_of_the_weight(weight, reconstruction, kl)
    mistakes += [("the loss is averaged over the batch instead of summed",
                  (reconstruction + weight * kl) / len(inputs["x"])),
                 ("the loss has the wrong sign", -reconstruction - weight * kl)]
    pairs = sorted(product(reconstructions, kl_terms), key=lambda pair: bool(pair[0][0]) + bool(pair[1][0]))
    return mistakes + [(" and ".join(filter(None, names)), one + weight * other)
                       for names, (one, other) in (zip(*pair) for pair in pairs[1:])]


def fits(value, total, inputs):
    """Return whether a loss equals a total; never for a single pixel and latent, where several mistakes coincide."""
    return inputs["mu"].size > 1 and close(value, total, rtol=1e-5, atol=3e-5)


def explained(call, weight, draw):
    """Return for each known mistake whether it explains the loss of three other random inputs and weights.

    A single loss may equal one of several hundred totals by chance; three losses do not. With a small weight, a wrong
    KL term could be mistaken for a missing one, so the other weights are not small (or all 0).
    """
    found = None
    for factor in (0.6, 1.3, 2.1):
        inputs, other = draw(), factor * max(weight, 3.0) if weight else 0.0
        value = call(loss, weight=other, **inputs)["loss"]
        fitting = [fits(value, total, inputs) for _, total in known_mistakes(other, inputs)]
        found = np.logical_and(fitting, True if found is None else found)
    return found


def without_gradient(weight, inputs, result):
    """Return the names of inputs that no gradient reaches, and those of inputs with some numbers that none reaches.

    For a pixel of 0 or 1, the gradient may be 0.
    """
    for_x, for_mu, for_logvar = result["gradients"]
    reached = {"x_reconstructed": for_x[(inputs["x"] > 0) & (inputs["x"] < 1)]}
    if weight:
        reached.update(mu=for_mu, logvar=for_logvar)
    return ([name for name, found in reached.items() if found.size > 1 and not found.any()],
            [name for name, found in reached.items() if not found.all()])


def check_loss(call, weight, draw=random_inputs, rtol=1e-4, others=1):
    """Compare the loss of random inputs with the expected one; return the inputs and the gradients."""
    inputs = draw()
    result = call(loss, weight=weight, others=others, **inputs)
    value, is_tensor = result["loss"], result["is_tensor"]
    if not is_tensor or np.ndim(value):
        fail(what="The loss", expected="a tensor with one number",
             got=words(value) + ("" if is_tensor else ", not a tensor"),
             hints=[
                 When("the result has no gradient: item(), float() and numpy() cut results off from the graph",
                      isinstance(value, float)),
                 When("the loss is not one number. Is a sum missing, over the pixels, the latents or the batch? The "
                      f"batch has {B} images of {C},{H},{W} and {L} latents each",
                      is_tensor and value.shape[0] in (B, L)),
             ], read=READ)
    expected = right_loss(weight, inputs)
    if not close(value, expected, rtol):
        again, (missing, limited) = explained(call, weight, draw), without_gradient(weight, inputs, result)
        assert_close(what=f"The loss with kl_loss_weight={weight}", got=value, expected=expected, rtol=rtol,
                     hints=[When(mistake, explains and fits(value, total, inputs))
                            for (mistake, total), explains in zip(known_mistakes(weight, inputs), again)] + [
                                When(f"no gradient reaches {' and '.join(missing)}: left out, detached or limited "
                                     "to a range (clamp)?", missing and np.isfinite(value)),
                                When(f"no gradient reaches some numbers of {' and '.join(limited)}: are they limited "
                                     "to a range (clamp), detached or left out?", limited and np.isfinite(value))],
                     read=READ)
    if not close(result["again"], expected, rtol):
        fail(what=f"The loss of the same batch in a later call, with kl_loss_weight={weight}",
             expected=value, got=result["again"], read=READ,
             hints=[When("a call changes something that later ones use, such as self.kl_loss_weight", True)])
    return inputs, result["gradients"]


# The tests

@task("1.2")
@pytest.mark.parametrize("weight", [3.0, 0.7, 0.0, 0.1, 30.0])
def test_loss(call, weight):
    """The loss is the binary cross entropy plus kl_loss_weight times the KL divergence, each summed over everything."""
    check_loss(call, weight)


@task("1.2")
def test_loss_of_a_single_number(call):
    """The loss is right for a batch of one image with one pixel and one latent, also far from the prior."""
    def draw(**latents):
        single = {name: array[(slice(1),) * array.ndim] for name, array in random_inputs().items()}
        return dict(single, **{name: np.full((1, 1), number, np.float32) for name, number in latents.items()})

    check_loss(call, weight=3.0, draw=draw)
    for latents in {"mu": 50}, {"mu": -50}, {"logvar": 40}, {"logvar": -14}:
        check_loss(call, weight=3.0, draw=partial(draw, **latents), rtol=0.01)


@task("1.2")
def test_loss_of_black_and_white_pixels(call):
    """Pixels may be exactly 0 and 1, as most pixels of a digit are, and reconstructions close to them, right or not."""
    grey = random_inputs()
    values = [call(loss, weight=3.0, **dict(grey, x=x))["loss"] for x in (grey["x"], grey["x"].round())]
    if [isinstance(value, np.ndarray) and bool(np.isfinite(value).all()) for value in values] == [True, False]:
        fail(what="The loss for black and white pixels", expected="a finite number, as for grey ones", got=values[1],
             hints=[When("your code takes the logarithm of 0 or divides by 0 where a pixel is 0 or 1", True)],
             read=READ)
    check_loss(call, weight=3.0, draw=lambda: {name: array.round() if name == "x" else array
                                               for name, array in random_inputs().items()})
    check_loss(call, weight=3.0, rtol=0.01, draw=lambda: {
        name: array.round().clip(1e-4, 1 - 1e-4) if name == "x_reconstructed" else array
        for name, array in random_inputs().items()})


@task("1.2")
def test_gradients(call):
    """The gradients of both terms reach the inputs: nothing is detached in between."""
    weight = 3.0
    inputs, (for_x, for_mu, for_logvar) = check_loss(call, weight, others=100)
    x_reconstructed, x, mu, logvar = (array.astype(np.float64) for array in inputs.values())
    assert_close(
        what="The gradient of the loss with respect to x_reconstructed",
        got=for_x, expected=(x_reconstructed - x) / (x_reconstructed * (1 - x_reconstructed)), rtol=1e-3, read=READ,
        hints=[
            When("the result has no gradient: item(), detach(), numpy() and no_grad cut it off",
                 not for_x.any() and not for_mu.any() and not for_logvar.any()),
            When("x_reconstructed or the cross entropy is detached: the decoder would not learn", not for_x.any()),
        ])
    assert_close(
        what=f"The gradient of the loss with respect to mu, with kl_loss_weight={weight}",
        got=for_mu, expected=weight * mu, rtol=1e-3, read=READ,
        hints=[
            When("the whole KL term is cut off: item(), float(), detach(), numpy() and no_grad cut results off from "
                 "the graph",
                 not for_mu.any() and not for_logvar.any()),
            When("mu is detached: the KL term would not pull the means to 0", not for_mu.any()),
        ])
    variance = np.exp(logvar)
    assert_close(
        what=f"The gradient of the loss with respect to logvar, with kl_loss_weight={weight}",
        got=for_logvar, expected=weight * (variance - 1) / 2, rtol=1e-3, read=READ,
        hints=[
            When("logvar is detached: the KL term would not pull sigma to 1", not for_logvar.any()),
            Gives("the variance is detached in the KL term", np.full((B, L), -weight / 2)),
            Gives("logvar itself is detached in the KL term", weight * variance / 2),
        ])


if __name__ == "__main__":
    run_this_file(__file__)
