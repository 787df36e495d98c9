"""Task 1.1: the layers of the VAE, encode, reparameterize, decode and forward, in lib/model_vae.py."""
import math

import numpy as np
import torch
from torch import nn

from tests.support import (
    assert_close,
    close,
    fail,
    fresh,
    gradients,
    is_normal,
    is_uniform,
    run_this_file,
    same_numbers,
    task,
    unpack,
)

# Sizes that differ, so that a layer is recognised by its shape, and a transposed image by its. So many units and
# latents that some of them are surely on either side of 0.
B, C, H, W, HIDDEN, L = 10, 2, 3, 5, 41, 17
PIXELS = C * H * W
OTHER_SIZES = {"in_channels": 4, "in_height": 6, "in_width": 7, "hidden_size": 43, "latent_size": 19}
SIZES = f"VAE(in_channels={C}, in_height={H}, in_width={W}, hidden_size={HIDDEN}, latent_size={L})"
LAYERS = (PIXELS, HIDDEN), (HIDDEN, L), (HIDDEN, L), (L, HIDDEN), (HIDDEN, PIXELS)
READ_ENCODE = "the docstring of VAE.encode and its gap"
NAN = "z is NaN where logvar is negative, as its square root or logarithm is: exp of logvar comes first"
ROUNDED = ", or made by a function whose derivative is 0 (round, sign)"
DRAWS = 20000  # samples to judge a distribution by; every tolerance is six standard errors of the statistic or more


# The functions that touch lib

def new_model(seed, scale=0.3):
    """A VAE with weights so large that every activation shows, and its five layers in the order of LAYERS."""
    from lib.model_vae import VAE
    torch.manual_seed(seed)
    model = VAE(in_channels=C, in_height=H, in_width=W, hidden_size=HIDDEN, latent_size=L)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, scale)
    return model, find_layers(model, VAE(**OTHER_SIZES))


def find_layers(model, other):
    """The linear layers, recognised by their shapes: names, nesting and order are free, and which of two is mu's.

    Args:
        other: a VAE of OTHER_SIZES. A wrong number that both have is not made from the sizes.
    """
    layers, of_other = ([module for module in vae.modules() if isinstance(module, nn.Linear)] for vae in (model, other))
    found, others = ([(layer.in_features, layer.out_features) for layer in some] for some in (layers, of_other))
    if sorted(found) != sorted(LAYERS):
        in_plain_list = any(isinstance(item, nn.Module) and item not in list(model.modules())
                            for value in vars(model).values() if isinstance(value, (list, tuple)) for item in value)
        literal = len(found) == len(others) == len(LAYERS) and any(
            number == in_other for one, two in zip(found, others) for number, in_other in zip(one, two))
        fail(f"The linear layers of {SIZES}", *(", ".join(f"{before} -> {after}" for before, after in shapes) or "none"
                                                for shapes in (LAYERS, found)), [
            ("PyTorch does not see layers in a plain list, and no optimizer would train them; make each an attribute "
             "of self, or use nn.ModuleList", in_plain_list),
            ("mu and logvar share one layer, or one of them has none: each needs its own",
             sorted(found) == sorted(set(LAYERS))),
            ("mu and logvar come out of one layer, each needs its own", len(found) == 4 and (HIDDEN, 2 * L) in found),
            ("a hidden layer is missing", len(found) == 4 and ((PIXELS, L) in found or (L, PIXELS) in found)),
            ("an image has C*H*W numbers, the pixels of all its channels", (H * W, HIDDEN) in found),
            ("a size is written as a number, where one given to VAE(...) belongs", literal),
            ("there is a layer too many", len(found) > len(LAYERS)),
        ], "the lines in the gap of VAE.__init__")
    if any(layer.bias is None for layer in layers):
        fail(f"The linear layers of {SIZES}", "a bias in each", "a layer without", [("bias=False is set", True)])
    return sorted(layers, key=lambda layer: LAYERS.index((layer.in_features, layer.out_features)))


def weights_of(layers):
    return [[layer.weight, layer.bias] for layer in layers]


def count_parameters(seed):
    from lib.model_vae import VAE
    new_model(seed)
    return sum(parameter.numel() for parameter in VAE().parameters())


def encode(images, seed):
    model, layers = new_model(seed)
    return {"layers": weights_of(layers), "result": model.encode(torch.tensor(images)),
            "again": model.encode(torch.tensor(images))}


def decode(z, seed):
    model, layers = new_model(seed)
    z = torch.tensor(z)
    return {"layers": weights_of(layers), "images": model.decode(z), "one image": model.decode(z[:1])}


def reparameterize(mu, logvar, seed, training=True):
    """Two samples, one after the other."""
    model = new_model(seed)[0].train(training)
    return [model.reparameterize(torch.tensor(mu), torch.tensor(logvar)) for _ in range(2)]


def reparameterize_gradients(mu, logvar, factors, seed):
    model = new_model(seed)[0]
    mu, logvar = torch.tensor(mu, requires_grad=True), torch.tensor(logvar, requires_grad=True)
    z = model.reparameterize(mu, logvar)
    return {"z": z, "gradients": gradients(z, torch.tensor(factors), [mu, logvar])}


def forward(images, known_z, seed, training=True):
    """What forward gives, and what encode and decode give, of a model whose decoder writes z into the first L pixels.

    Its hidden layer holds z and -z, and z = relu(z) - relu(-z): pixel i is sigmoid(z[i] / 20).
    """
    model, layers = new_model(seed, scale=0.2)
    with torch.no_grad():
        for layer in layers[3:]:
            layer.weight.zero_()
            layer.bias.zero_()
        for i in range(L):
            layers[3].weight[2 * i, i], layers[3].weight[2 * i + 1, i] = 1, -1
            layers[4].weight[i, 2 * i], layers[4].weight[i, 2 * i + 1] = 1 / 20, -1 / 20
    model.train(training)
    images = torch.tensor(images)
    return {"encode": model.encode(images), "decode": model.decode(torch.tensor(known_z)), "forward": model(images)}


def layers_reached(images, seed):
    """For mu, logvar and the decoded image, which of the five layers its gradient reaches."""
    model, layers = new_model(seed)
    images = torch.tensor(images)
    mu, logvar = model.encode(images)
    decoded = model(images)[0]
    weights = [layer.weight for layer in layers]
    return [[bool(gradient.any()) for gradient in gradients(result, torch.rand(result.shape), weights)]
            for result in (mu, logvar, decoded)]


# What is expected, in float64

def random_images(number=B):
    return np.random.default_rng(fresh()).random((number, C, H, W), dtype=np.float32)


def random_latents(number=B):
    return np.random.default_rng(fresh()).standard_normal((number, L), dtype=np.float32)


def linear(layer, x):
    weight, bias = (np.asarray(parameter, dtype=np.float64) for parameter in layer)
    return x @ weight.T + bias


def relu(x):
    return np.maximum(x, 0)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def softplus(x):
    return np.log1p(np.exp(x))


OTHER_ACTIVATIONS = [
    ("no activation", lambda x: x), ("a tanh", np.tanh), ("a sigmoid", sigmoid), ("a softplus", softplus),
    ("a leaky ReLU", lambda x: np.where(x > 0, x, 0.01 * x)), ("an ELU", lambda x: np.where(x > 0, x, np.expm1(x))),
    ("a GELU", np.vectorize(lambda x: x * (1 + math.erf(x / 2 ** 0.5)) / 2)), ("a SiLU", lambda x: x * sigmoid(x)),
]


def z_in_pixels(images):
    """The z that the decoder of `forward` has written into the images."""
    pixels = images.reshape(len(images), PIXELS)[:, :L].astype(np.float64)
    with np.errstate(all="ignore"):
        return 20 * np.log(pixels / (1 - pixels))


def run_forward(call, **inputs):
    """The z that forward decodes, and mu and logvar, which must be those of encode."""
    known_z = random_latents()
    got = call(forward, images=random_images(DRAWS), known_z=known_z, seed=fresh(), **inputs)
    encoded_mu, encoded_logvar = unpack(got["encode"], "VAE.encode", mu=(DRAWS, L), logvar=(DRAWS, L))
    images, = unpack([got["decode"]], "VAE.decode", images=(B, C, H, W))
    assert_close(z_in_pixels(images), known_z, "The z that is read off an image from VAE.decode", rtol=1e-3, atol=1e-3,
                 read="what the test of VAE.decode says: VAE.forward can only be judged once that is right")
    decoded, mu, logvar = unpack(got["forward"], "VAE.forward",
                                 decoded=(DRAWS, C, H, W), mu=(DRAWS, L), logvar=(DRAWS, L))
    z, sigma = z_in_pixels(decoded), np.exp(encoded_logvar / 2)
    is_z, sampled = close(mu, z, rtol=1e-3, atol=1e-3), is_normal((mu - encoded_mu) / sigma)
    assert_close(mu, encoded_mu, "The second result of VAE.forward, which is encode's mu", [
        ("it is logvar", encoded_logvar),
        ("it is the sample z, or mu was changed in place (+=)", is_z and sampled),
    ], read="the docstring of VAE.forward")
    assert_close(logvar, encoded_logvar, "The third result of VAE.forward, which is encode's logvar", [
        ("it is the standard deviation", sigma), ("it is the variance", sigma ** 2), ("it is mu", encoded_mu),
    ], read="the docstring of VAE.forward")
    return z, np.asarray(mu, dtype=np.float64), np.asarray(logvar, dtype=np.float64)


# The tests

@task("1.1")
def test_layers(call):
    """There are five linear layers, each with a bias, and nothing else to train: 158,388 parameters by default."""
    got = call(count_parameters, seed=fresh())
    assert_close(got, 158388, "The number of parameters of VAE()", [
        ("there is something to train besides the five linear layers", bool(np.all(np.greater(got, 158388))))],
                 rtol=0, atol=0, read="the gap of VAE.__init__")


@task("1.1")
def test_encode(call):
    """The flattened image goes through a linear layer and a ReLU, and then through one layer each to mu and logvar."""
    images = random_images()
    got = call(encode, images=images, seed=fresh())
    parts = unpack(got["result"], "VAE.encode", mu=(B, L), logvar=(B, L))
    again = unpack(got["again"], "VAE.encode", mu=(B, L), logvar=(B, L))
    if np.isfinite([parts, again]).all() and not close(parts, again):
        fail("mu and logvar from VAE.encode, of the same images in two calls", "the same", "different numbers", [
            ("there is something random in encode, dropout or noise: only reparameterize draws", True)], READ_ENCODE)
    if close(*parts):
        fail("mu and logvar from VAE.encode", "what two layers give", "the same numbers twice", [
            ("logvar is equal to mu, but each comes from a layer of its own", True)], READ_ENCODE)
    hidden, *last_two = got["layers"][:3]
    images = images.astype(np.float64)
    before = linear(hidden, images.reshape(B, PIXELS))
    hints, ways = [], []
    for for_mu, for_logvar in (last_two, last_two[::-1]):  # the test cannot know which of the two is mu's
        def outputs(hidden_units):
            return np.array([linear(for_mu, hidden_units), linear(for_logvar, hidden_units)])

        right_mu, right_logvar = outputs(relu(before))
        ways.append([right_mu, right_logvar])
        hints += [(f"the encoder's hidden layer has {name}, where a ReLU belongs", outputs(activation(before)))
                  for name, activation in OTHER_ACTIVATIONS]
        for name, function in (("ReLU", relu), ("softplus", softplus), ("sigmoid", sigmoid), ("tanh", np.tanh)):
            hints += [(f"there is a {name} on {which}, which may be any number", given) for which, given in (
                ("logvar", [right_mu, function(right_logvar)]), ("mu", [function(right_mu), right_logvar]),
                ("mu and on logvar", [function(right_mu), function(right_logvar)]))]
        hints += [
            ("this is the variance, not logvar, which is what the layer gives", [right_mu, np.exp(right_logvar)]),
            ("this is the standard deviation, not logvar, which is what the layer gives",
             [right_mu, np.exp(right_logvar / 2)]),
            ("the image is transposed before it is flattened",
             outputs(relu(linear(hidden, images.transpose(0, 1, 3, 2).reshape(B, PIXELS))))),
            ("the channels are moved last before the image is flattened",
             outputs(relu(linear(hidden, images.transpose(0, 2, 3, 1).reshape(B, PIXELS))))),
        ]
    nearest = min(ways, key=lambda way: np.abs(np.subtract(way, parts)).sum())
    hints = [(mistake, close(parts, given)) for mistake, given in hints]
    for name, part, expected in zip(("mu", "logvar"), parts, nearest):
        assert_close(part, expected, f"{name} from VAE.encode", hints, read=READ_ENCODE)


@task("1.1")
def test_reparameterize_draws_normal_numbers(call):
    """In training mode z is normal with mean mu and variance exp(logvar), of each latent its own."""
    rng = np.random.default_rng(fresh())
    mu, logvar = rng.permutation(np.linspace(-2, 2, L)), rng.permutation(np.linspace(-3, 2, L))
    rows = np.ones((DRAWS, 1), dtype=np.float32)
    got = call(reparameterize, mu=rows * mu.astype("f"), logvar=rows * logvar.astype("f"), seed=fresh())
    z, again = (unpack([part], "VAE.reparameterize", z=(DRAWS, L))[0].astype(np.float64) for part in got)
    sigma = np.sqrt(np.exp(logvar))
    read = "the docstring of VAE.reparameterize"

    of_draws = f"of {DRAWS} samples z of each latent"
    epsilon, one_row = (z - mu) / sigma, np.ptp(z, axis=0).max() < 1e-3
    mean_is_logvar = np.abs(z.mean(0) - logvar).max() < 0.13
    # relative standard error of a standard deviation: 1 / sqrt(2 * DRAWS) = 0.005
    assert_close(z.std(0), sigma, f"The standard deviations {of_draws}", [
        ("there is no sampling in training mode: self.training is True then", close(z, rows * mu)),
        ("z is the same for each image and in each call: is epsilon drawn?", one_row and close(z, again)),
        ("one noise vector serves the whole batch, epsilon needs the shape of mu", one_row),
        ("this is the variance, where the standard deviation belongs", np.exp(logvar)),
        ("logvar itself is taken for the standard deviation", np.abs(logvar)),
        ("logvar / 2 is taken for the standard deviation, without exp", np.abs(logvar) / 2),
        ("this is exp(-logvar / 2), the sign is wrong", 1 / sigma),
        ("this is the square of the variance", np.exp(2 * logvar)),
        ("the noise has the standard deviation 1: logvar does not scale it", np.ones(L)),
        ("mu and logvar are swapped in reparameterize",
         mean_is_logvar and close(z.std(0), np.exp(mu / 2), rtol=0.035, atol=0)),
        ("the noise is uniform from 0 to 1 (torch.rand), it must be standard normal", is_uniform(epsilon, 0, 1)),
        ("the noise is uniform from -1 to 1, it must be standard normal", is_uniform(epsilon, -1, 1)),
        (NAN, np.array_equal(np.isnan(z), np.broadcast_to(logvar < 0, z.shape))),
    ], rtol=0.035, atol=0, read=read)
    # standard error of a mean: at most e / sqrt(DRAWS) = 0.019
    assert_close(z.mean(0), mu, f"The means {of_draws}", [
        ("mu is missing in z = mu + sigma * epsilon", np.zeros(L)),
    ], rtol=0, atol=0.13, read=read)
    # standard error of the fourth moment: sqrt(96 / DRAWS) = 0.07
    assert_close((epsilon ** 4).mean(0), 3 * np.ones(L), "The fourth moments of epsilon = (z - mu) / sigma", [
        ("the noise is uniform, it must be standard normal", is_uniform(epsilon, -3 ** 0.5, 3 ** 0.5)),
        ("the noise is only -1 or 1, it must be standard normal", np.abs(np.abs(epsilon) - 1).max() < 1e-3),
    ], rtol=0, atol=0.7, read=read)


@task("1.1")
def test_noise_is_fresh_everywhere(call):
    """Each image, each latent and each call gets noise of its own."""
    rng = np.random.default_rng(fresh())
    mu, logvar = (np.full((DRAWS, L), number, dtype=np.float32) for number in rng.uniform(0.5, 1.5, 2))
    got = call(reparameterize, mu=mu, logvar=logvar, seed=fresh())
    read = "the gap of VAE.reparameterize: a number for each image and each latent"
    z = [unpack([part], "VAE.reparameterize", z=(DRAWS, L))[0] for part in got]
    first, second = np.asarray(z, dtype=np.float64)
    same = [(mistake, np.abs(differences).max() < 1e-3) for mistake, differences in (
        ("there is no sampling in training mode", first - mu),
        ("the noise is the same each time, or nothing is drawn: draw epsilon in each call, without a seed",
         first - second),
        ("one noise vector serves the whole batch, epsilon needs the shape of mu", np.ptp(first, axis=0)),
        ("one number serves all latents of an image, epsilon needs the shape of mu", np.ptp(first, axis=1)))]
    if any(recognised for _, recognised in same):
        fail("z of equal mu and logvar", "random and independent", "the same numbers again and again", same, read)
    if not np.isfinite(z).all():
        fail("z of equal mu and logvar", "finite numbers", "others", read=read)
    first, second = np.array(z) + rng.normal(0, 1e-6, np.shape(z))      # equal numbers are on either side of a median
    one, two, half = (first > np.median(first, axis=0)), (second > np.median(second, axis=0)), DRAWS // 2
    for name, these, those in (
            ("two latents of an image", one[:, :-1], one[:, 1:]), ("two calls", one, two),
            ("an image and the next", one[:-1], one[1:]), ("the halves of a batch", one[:half], one[half:])):
        # standard error of a share: at most 0.5 / sqrt(half) = 0.005
        share = (these == those).mean(0)
        assert_close(share, np.full(len(share), 0.5), f"How often {name} have z on the same side of its median",
                     [("the noise of the two is not independent", True)], rtol=0, atol=0.035, read=read)


@task("1.1")
def test_gradients_pass_through_the_sample(call):
    """z = mu + sigma * epsilon has the derivative 1 with respect to mu, sigma * epsilon / 2 with respect to logvar."""
    mu, logvar, factors = random_latents(), random_latents(), random_latents()
    got = call(reparameterize_gradients, mu=mu, logvar=logvar, factors=factors, seed=fresh())
    for_mu, for_logvar = got["gradients"]
    z, = unpack([got["z"]], "VAE.reparameterize", z=(B, L))
    deviation = z.astype(np.float64) - mu
    read = "the docstring of VAE.reparameterize"
    assert_close(for_mu, factors, "The gradient of mu through z (the derivative is 1)", [
        ("no gradient reaches mu or logvar: sample(), detach(), no_grad and torch.normal(mu, sigma) let none through",
         not for_mu.any() and not for_logvar.any()),
        ("no gradient reaches mu: it is detached, rounded or not used", not for_mu.any()),
        ("mu and logvar are swapped in reparameterize", factors * (z - logvar) / 2),
    ], read=read)
    expected = factors * deviation / 2
    assert_close(for_logvar, expected, "The gradient of logvar through z (the derivative is (z - mu) / 2)", [
        ("no gradient reaches logvar: the standard deviation is detached, rounded or not made of it",
         not for_logvar.any()),
        ("the derivative is that of exp(logvar), the variance", factors * deviation),
        ("the derivative is that of exp(-logvar / 2), the sign is wrong", -factors * deviation / 2),
        ("the derivative is that of logvar itself, without exp", factors * deviation / logvar),
        (NAN, np.array_equal(np.isnan(z), logvar < 0)),
    ], rtol=1e-3, read=read)
    if not deviation.any():
        fail("z in training mode", "a sample", "mu", [("there is no sampling in training mode", True)], read)


@task("1.1")
def test_reparameterize_gives_mu_in_evaluation_mode(call):
    """In evaluation mode z is mu."""
    mu, logvar = random_latents(), random_latents()
    z, again = call(reparameterize, mu=mu, logvar=logvar, seed=fresh(), training=False)
    in_training_mode = call(reparameterize, mu=mu, logvar=logvar, seed=fresh())[0]
    drawn = (isinstance(z, np.ndarray) and np.shape(z) == np.shape(again) and np.isfinite(z).all()
             and not close(z, again))
    assert_close(z, mu, "z in evaluation mode, which is mu", [
        ("the two modes are swapped: self.training is True in training mode", drawn and close(in_training_mode, mu)),
        ("logvar is returned", logvar),
        ("a sample is drawn in evaluation mode too: self.training tells the mode, self.train is a method", drawn),
    ], read="the docstring of VAE.reparameterize")


@task("1.1")
def test_decode(call):
    """z goes through a linear layer and a ReLU, then through one with a sigmoid, whose outputs are the pixels."""
    z = random_latents()
    got = call(decode, z=z, seed=fresh())
    hidden, output = got["layers"][3:]
    before = linear(hidden, z.astype(np.float64))
    logits = linear(output, relu(before))
    flat, shape = sigmoid(logits), (B, C, H, W)
    expected = flat.reshape(shape)
    images, read = got["images"], "the docstring of VAE.decode and its gap"
    assert_close(images, expected, "The images from VAE.decode", [
        (f"the decoder's hidden layer has {name}, where a ReLU belongs",
         sigmoid(linear(output, function(before))).reshape(shape))
        for name, function in OTHER_ACTIVATIONS
    ] + [
        (f"there is {name} on the output, where a sigmoid belongs", function(logits).reshape(shape))
        for name, function in OTHER_ACTIVATIONS if name != "a sigmoid"
    ] + [
        ("there is a ReLU on the output, where a sigmoid belongs", relu(logits).reshape(shape)),
        ("there is a ReLU before the sigmoid of the output", sigmoid(relu(logits)).reshape(shape)),
        ("there are two sigmoids on the output", sigmoid(expected)),
        ("there is neither ReLU nor sigmoid", linear(output, before).reshape(shape)),
        ("the images are transposed, their shape must be B,C,H,W", flat.reshape(B, C, W, H)),
        ("the images are transposed, rows have become columns", flat.reshape(B, C, W, H).transpose(0, 1, 3, 2)),
        ("the images are still flat, they must have the shape B,C,H,W", flat),
        ("these are the right pixels in wrong places: reshape the outputs to B,C,H,W as they are",
         same_numbers(images, flat)),
    ], read=read)
    assert_close(got["one image"], expected[:1], "VAE.decode of a batch of one image", read=read)


@task("1.1")
def test_gradients_reach_the_layers(call):
    """The gradient of mu and of logvar reaches the encoder, that of the decoded image all five layers."""
    for_mu, for_logvar, for_decoded = call(layers_reached, images=random_images(), seed=fresh())
    for name, reached in (("mu", for_mu), ("logvar", for_logvar)):
        if not (reached[0] and (reached[1] or reached[2])):
            fail(f"The layers that the gradient of {name} reaches", "the encoder's hidden layer and the one after it",
                 "none" if not any(reached) else "one of the two alone",
                 [(f"{name} is detached{ROUNDED}", not any(reached)),
                  (f"the hidden layer of {name} is detached{ROUNDED}", not reached[0])],
                 "the gap of VAE.encode: detach(), no_grad, item() and numpy() let no gradient through")
    if not all(for_decoded):
        fail("The layers that the gradient of forward's image reaches, in training mode", "all five",
             f"{sum(for_decoded)} of them", [
                 (f"the decoded image is detached{ROUNDED}, or all its pixels are 0 or 1", not any(for_decoded)),
                 (f"the sample is not made of mu and logvar, or is detached{ROUNDED}",
                  for_decoded == [False] * 3 + [True] * 2),
                 (f"mu or logvar has no part in the sample, or is detached{ROUNDED}",
                  sum(for_decoded) == 4 and for_decoded[1] != for_decoded[2]),
             ], "the docstring of VAE.reparameterize")


@task("1.1")
def test_forward_while_training(call):
    """In training mode forward decodes a sample z of N(mu, sigma²); encode's mu and logvar come with the image."""
    z, mu, logvar = run_forward(call)
    read = "the docstrings of VAE.forward and VAE.reparameterize"
    epsilon = (z - mu) / np.exp(logvar / 2)
    if np.abs(epsilon).max() < 0.01:
        fail("What VAE.forward decodes in training mode", "a sample of N(mu, sigma²)", "mu",
             [("forward decodes mu, no latent is drawn: reparameterize draws it", True)], read)
    # standard errors: 1 / sqrt(DRAWS) = 0.007, and 1 / sqrt(2 * DRAWS) = 0.005
    what = "of epsilon = (z - mu) / sigma, with the z that VAE.forward decodes"
    assert_close(epsilon.mean(0), np.zeros(L), f"The mean {what}", rtol=0, atol=0.05, read=read)
    assert_close(epsilon.std(0), np.ones(L), f"The standard deviation {what}", rtol=0, atol=0.035, read=read)


@task("1.1")
def test_forward_in_evaluation_mode(call):
    """In evaluation mode forward decodes mu."""
    z, mu, logvar = run_forward(call, training=False)
    assert_close(z, mu, "The z that VAE.forward decodes in evaluation mode, which is mu", [
        ("it is logvar", logvar),
        ("a sample is drawn in evaluation mode too", is_normal((z - mu) / np.exp(logvar / 2))),
    ], rtol=1e-3, atol=1e-3, read="the docstrings of VAE.forward and VAE.reparameterize")


if __name__ == "__main__":
    run_this_file(__file__)
