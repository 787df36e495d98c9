"""Task 3.1: the layers of the generator and of the discriminator, in lib/model_gan.py."""
import re
from collections import namedtuple

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from tests.support import When, assert_close, close, fail, fresh, run_this_file, task

B = 6
# Each network is built with two sets of sizes, neither the default: a number that stays the same was not computed from
# the arguments.
SIZES = {
    "Generator": [{"channels_multiplier": 4, "num_input_channels": 2, "latent_size": 5},
                  {"channels_multiplier": 6, "num_input_channels": 4, "latent_size": 7}],
    "Discriminator": [{"channels_multiplier": 4, "num_input_channels": 2},
                      {"channels_multiplier": 6, "num_input_channels": 4}]}
NAMES = {"ConvTranspose2d": "transposed convolution", "Conv2d": "convolution", "BatchNorm2d": "batch norm"}
WINDOW = "kernel size", "stride", "padding"
DEFAULTS = {"dilation": 1, "groups": 1, "output_padding": 0, "padding_mode": "zeros",
            "eps": 1e-5, "momentum": 0.1, "affine": True, "track_running_stats": True}
ADDED = {"original1": "weight_norm", "weight_g": "weight_norm", "_u": "spectral_norm", "weight_u": "spectral_norm"}
TENSORS = "weight", "bias", "running_mean", "running_var"
IN_PLAIN_LIST = ("PyTorch does not see layers in a plain list, tuple or dict, and no optimizer would train them: use "
                 "nn.ModuleList")
both = pytest.mark.parametrize("network", SIZES)


# The layers that each network must have

# One row per layer: kind, channels before and after it, window (kernel size, stride, padding), activation after it.
Layer = namedtuple("Layer", "kind channels window activation")
LEAKY = "a leaky ReLU with a slope of 0.2"


def generator_layers(channels_multiplier, num_input_channels, latent_size):
    w = channels_multiplier
    return [
        Layer("ConvTranspose2d", [latent_size, 8 * w],    [4, 1, 0], "no activation"),
        Layer("BatchNorm2d",     [8 * w],                 [],        "a ReLU"),
        Layer("ConvTranspose2d", [8 * w, 4 * w],          [4, 2, 1], "no activation"),
        Layer("BatchNorm2d",     [4 * w],                 [],        "a ReLU"),
        Layer("ConvTranspose2d", [4 * w, 2 * w],          [4, 2, 1], "no activation"),
        Layer("BatchNorm2d",     [2 * w],                 [],        "a ReLU"),
        Layer("ConvTranspose2d", [2 * w, w],              [4, 2, 1], "no activation"),
        Layer("BatchNorm2d",     [w],                     [],        "a ReLU"),
        Layer("Conv2d",          [w, num_input_channels], [3, 1, 1], "a tanh"),
    ]


def discriminator_layers(channels_multiplier, num_input_channels):
    w = channels_multiplier
    return [
        Layer("Conv2d",      [num_input_channels, w], [4, 2, 1], LEAKY),
        Layer("Conv2d",      [w, 2 * w],              [4, 2, 1], "no activation"),
        Layer("BatchNorm2d", [2 * w],                 [],        LEAKY),
        Layer("Conv2d",      [2 * w, 4 * w],          [4, 2, 1], "no activation"),
        Layer("BatchNorm2d", [4 * w],                 [],        LEAKY),
        Layer("Conv2d",      [4 * w, 1],              [4, 1, 0], "a sigmoid"),
    ]


EXPECTED_LAYERS = {"Generator": generator_layers, "Discriminator": discriminator_layers}


# The functions that touch lib

def new_network(network, sizes):
    from lib import model_gan
    return getattr(model_gan, network)(**sizes)


def kind_of(module):
    """Return the name of a module's PyTorch class; Module if a student wrote the class."""
    return next(base.__name__ for base in type(module).__mro__ if base.__module__.startswith("torch.nn.modules"))


def is_layer(module):
    """Return whether the tests check a module: no activation, no container, no part of weight_norm or spectral_norm."""
    if type(module).__module__.startswith("torch.nn.utils") and kind_of(module) in ("Module", "ModuleList"):
        return False
    return (bool(list(module.parameters(recurse=False)) + list(module.buffers(recurse=False)))
            or bool(re.search("Conv|Norm|Linear|Upsampl|Shuffle|Dropout|Pool", kind_of(module))))


def watch(model, x):
    """Return the output, or the exception that was raised, and the layers in the order they ran, with their data."""
    notes = []

    def before(module, inputs):
        if is_layer(module):
            notes.append({"module": module, "input": inputs[0].detach().clone()})

    def after(module, inputs, output):
        if is_layer(module):
            notes[-1]["output"] = output.detach().clone()  # the next module may work in place

    handles = [nn.modules.module.register_module_forward_pre_hook(before),
               nn.modules.module.register_module_forward_hook(after)]
    try:
        return model(x), notes
    except Exception as error:
        return error, notes
    finally:
        for handle in handles:
            handle.remove()


def find_layers(network, sizes, x, training):
    """Return the layers in the order in which they run; after an exception, the others in the order they are stored."""
    model = new_network(network, sizes).train(training)
    output, notes = watch(model, torch.tensor(x))
    ran, stored = [note["module"] for note in notes], [module for module in model.modules() if is_layer(module)]
    idle = [module for module in stored if module not in ran]
    if isinstance(output, Exception) and not ran + idle:
        raise output
    if isinstance(output, Exception):
        ran, idle = ran + idle, []
    return {"layers": [describe_layer(module) for module in ran], "idle": len(idle),
            "unseen": any(module not in stored for module in ran)}


def describe_layer(module):
    """Describe a layer in numbers and words."""
    kind, window = kind_of(module), []
    if "Conv" in kind:
        padding = {"same": tuple(length // 2 for length in module.kernel_size), "valid": 0}.get(
            module.padding, module.padding)
        window = [simple(value) for value in (module.kernel_size, module.stride, padding)]
    channels = [getattr(module, name) for name in ("in_channels", "out_channels", "num_features", "num_channels")
                if hasattr(module, name)]
    settings = [f"{name}={getattr(module, name)}" for name, value in DEFAULTS.items()
                if simple(getattr(module, name, value)) != value]
    others = {name.split(".")[-1] for name in module.state_dict()} - {*TENSORS, "num_batches_tracked"}
    others = {ADDED[name] for name in others if name in ADDED} or others
    return {"kind": kind if kind != "Module" else type(module).__name__, "channels": channels, "window": window,
            "bias": bool(window) and module.bias is not None, "settings": settings + sorted(others)}


def simple(values):
    """Return (4, 4) as 4; values that differ between height and width in words."""
    if not isinstance(values, (tuple, list)):
        return values
    return values[0] if len(set(values)) == 1 else str(tuple(values))


def count_parameters(network, sizes, x):
    """Return the number of parameters, and the number of those that training would change."""
    model = new_network(network, sizes)
    output, _ = watch(model, torch.tensor(x))  # a lazy layer has no parameters before it runs
    number = sum(parameter.numel() for parameter in model.parameters())
    if isinstance(output, Exception) and not number:
        raise output
    return number, sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


def run_network(network, sizes, x, seed, training, scale=1.0):
    """Return two outputs for one input, with weights that make every activation show, and what each layer does.

    Args:
        scale: of the numbers that the activations get.
    """
    torch.manual_seed(seed)
    model, x = new_network(network, sizes), torch.tensor(x)
    with torch.no_grad():
        model(x)
        for layer in model.modules():
            if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d)):
                layer.weight.normal_(0, scale * 1.5 * (layer.in_channels * layer.weight[0, 0].numel()) ** -0.5)
            elif isinstance(layer, nn.BatchNorm2d):
                for tensor in (layer.weight, layer.running_var):
                    tensor.uniform_(0.5, 1.5)
                layer.weight.mul_(scale)
                for tensor in (layer.bias, layer.running_mean):
                    tensor.normal_(0, 0.3)
        output, notes = watch(model.train(training), x)
        if isinstance(output, Exception):
            raise output
        return {"outputs": [output, model(x)], "layers": [
            [note["input"], note["output"]] + [getattr(note["module"], name) for name in TENSORS
                                               if getattr(note["module"], name, None) is not None] for note in notes]}


# The expected output, in float64

def random_inputs(network, sizes):
    rng = np.random.default_rng(fresh())
    if network == "Generator":
        return rng.standard_normal((B, sizes["latent_size"], 1, 1), dtype=np.float32)
    return rng.uniform(-1, 1, (B, sizes["num_input_channels"], 32, 32)).astype(np.float32)


def run_layer(layer, x, tensors, training):
    """Return the output of a convolution or a batch norm."""
    if layer.kind != "BatchNorm2d":
        function = F.conv2d if layer.kind == "Conv2d" else F.conv_transpose2d
        x, weight = (torch.from_numpy(np.asarray(array, dtype=np.float64)) for array in (x, tensors[0]))
        _, stride, padding = layer.window
        return function(x, weight, stride=stride, padding=padding).numpy()
    scale, shift, mean, variance = (np.asarray(tensor, dtype=np.float64)[:, None, None] for tensor in tensors)
    if training:
        mean, variance = x.mean((0, 2, 3), keepdims=True), x.var((0, 2, 3), keepdims=True)
    return (x - mean) / np.sqrt(variance + 1e-5) * scale + shift


def leaky(slope):
    return lambda x: np.maximum(x, 0) + slope * np.minimum(x, 0)


def sigmoid(x):
    return np.exp(-np.logaddexp(0, -x))             # does not overflow


ACTIVATIONS = {
    "no activation": lambda x: x, "a ReLU": leaky(0), LEAKY: leaky(0.2), "a tanh": np.tanh, "a sigmoid": sigmoid,
    "a softmax, which gives 1 for a single number": np.ones_like,
    "a ReLU6": lambda x: np.clip(x, 0, 6),
    "an ELU": lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))), "a SiLU": lambda x: x * sigmoid(x),
    "a softplus": lambda x: np.logaddexp(0, x), "a log-sigmoid": lambda x: -np.logaddexp(0, -x),
}
ACTIVATIONS.update({f"{first} before {second}": lambda x, one=ACTIVATIONS[first], two=ACTIVATIONS[second]: two(one(x))
                    for first in ("a ReLU", LEAKY, "a tanh", "a sigmoid") for second in ("a tanh", "a sigmoid")})


def activations_between(before, after):
    """Return the names of the known activations that turn one array into the other."""
    if not isinstance(after, np.ndarray) or before.shape != after.shape:
        return []
    negative = before < -0.1
    if not negative.any() or not (before > 0.1).any():      # too many activations would fit
        return []
    slope = float(np.median(after[negative] / before[negative]))
    if close(after, leaky(slope)(before)) and min(abs(slope - known) for known in (0, 0.2, 1)) > 1e-3:
        return [f"a leaky ReLU with a slope of {slope:.3g}"]
    with np.errstate(all="ignore"):
        return [name for name, function in ACTIVATIONS.items() if close(after, function(before))]


# Known mistakes in the layers

def in_words(layer):
    """Return a layer as the docstrings in lib write it, with its channels."""
    window = f"({', '.join(map(str, layer['window']))})" if layer["window"] else ""
    more = ["with a bias"] * layer["bias"] + layer["settings"]
    return " ".join([NAMES.get(layer["kind"], layer["kind"]), " -> ".join(map(str, layer["channels"])), window] +
                    [", ".join(more)]).strip()


def as_found(layer):
    """Return an expected layer in the form of describe_layer."""
    return {"kind": layer.kind, "channels": layer.channels, "window": layer.window, "bias": False, "settings": []}


def convolutions(layers):
    return [layer for layer in layers if layer["kind"] in ("Conv2d", "ConvTranspose2d")]


def kinds(layers):
    return [layer["kind"] for layer in layers]


def lacks(found, expected, kind):
    """Return whether there are fewer layers of a kind than expected."""
    return kinds(found).count(kind) < kinds(expected).count(kind)


def known_mistakes(network, expected, found):
    """Yield known mistakes in the layers, the likeliest first.

    Args:
        expected, found: the layers for each of the two SIZES, as dicts of describe_layer.
    """
    yield from mistakes_of_kind(expected[0], found[0])
    if any(layer["bias"] for layer in convolutions(found[0])):
        yield "the convolutions have biases: set bias=False"
    if len(convolutions(found[0])) != len(convolutions(expected[0])):
        yield wrong_number_of_convolutions(expected[0], found[0])
        return                          # no layer can be compared with the one that it should be
    yield from mistakes_of_batch_norm(network, expected[0], found[0])
    yield from mistakes_of_window(expected[0], found[0])
    yield from (f"{setting} is set, but this layer uses the default" for layer in found[0]
                for setting in layer["settings"])
    yield from mistakes_of_channels(network, expected, found)


def mistakes_of_kind(expected, found):
    """Yield layers of the wrong kind."""
    for kind in kinds(found):
        if ("Upsampl" in kind or "Shuffle" in kind) and lacks(found, expected, "ConvTranspose2d"):
            yield "there is upsampling and a convolution instead of a transposed convolution"
        if "Norm" in kind and kind != "BatchNorm2d" and lacks(found, expected, "BatchNorm2d"):
            yield f"there is {kind} instead of batch norm (BatchNorm2d)"
        if kind not in NAMES:
            yield f"{kind} does not belong in this network"
    if len(convolutions(found)) == len(convolutions(expected)):
        for layer, right in zip(convolutions(found), convolutions(expected)):
            if layer["kind"] != right["kind"]:
                yield f"there is a {NAMES[layer['kind']]} instead of a {NAMES[right['kind']]}"


def wrong_number_of_convolutions(expected, found):
    rows, right_rows = ([in_words(layer) for layer in convolutions(layers)] for layers in (found, expected))
    if rows == right_rows[:-1]:
        return "the last convolution is missing"
    return "a convolution is missing" if len(rows) < len(right_rows) else "there are too many convolutions"


def mistakes_of_batch_norm(network, expected, found):
    """Yield batch norms that are missing or too many."""
    if not any("Norm" in kind for kind in kinds(found)):
        yield "there is no batch norm"
    last = len(found) - found[::-1].index(convolutions(found)[-1])
    if "BatchNorm2d" in kinds(found)[last:]:
        yield "there is a batch norm after the last convolution"
    if network == "Discriminator" and "BatchNorm2d" in kinds(found)[1:2]:
        yield "there is a batch norm after the first convolution"
    if lacks(found, expected, "BatchNorm2d"):
        yield "a batch norm is missing"
    elif len(found) > len(expected):
        yield "there is one batch norm too many"


def mistakes_of_window(expected, found):
    """Yield kernel sizes, strides and paddings that differ."""
    for i, name in enumerate(WINDOW):
        for layer, right in zip(convolutions(found), convolutions(expected)):
            if layer["window"][i] != right["window"][i]:
                yield f"the {name} is {layer['window'][i]} instead of {right['window'][i]}"


def channels_of_convolutions(layers):
    """Return the channels before and after each convolution in one list."""
    return [number for layer in layers if layer["window"] for number in layer["channels"]]


def mistakes_of_channels(network, expected, found):
    """Yield mistakes in the numbers of channels, which depend on the SIZES."""
    right, right_with_others = map(channels_of_convolutions, expected)
    numbers, numbers_with_others = map(channels_of_convolutions, found)
    first = "latent_size" if network == "Generator" else "num_input_channels"
    last = "num_input_channels" if network == "Generator" else ""
    arguments = [first] + ["channels_multiplier"] * (len(right) - 2) + [last]
    for argument, one, other, found_one, found_other in zip(
            arguments, right, right_with_others, numbers, numbers_with_others):
        if one != other and found_one == found_other:
            yield f"a number is hard-coded instead of {argument}"
    for ratio, width in ((2, "twice"), (0.5, "half")):
        if all(number == ratio * correct for correct, number in zip(right[1:-1], numbers[1:-1])):
            yield f"the network is {width} as wide as it should be"
    if any(before["window"] and layer["kind"] == "BatchNorm2d" and layer["channels"] != before["channels"][1:]
           for layers in found for before, layer in zip(layers, layers[1:])):
        yield "a batch norm has a different number of channels from the convolution before it"
    if numbers != right and sorted(numbers) == sorted(right):
        yield "the channels are in the wrong order: the generator halves them, the discriminator doubles them"
    if numbers != right:
        yield "the numbers of channels differ from those in the docstring"


# Comparisons

def check_layers(call, network, training=True):
    """Compare the layers with those of the docstring; return the expected ones for the first of the SIZES."""
    results = [call(find_layers, network=network, sizes=sizes, x=random_inputs(network, sizes), training=training)
               for sizes in SIZES[network]]
    table = [EXPECTED_LAYERS[network](**sizes) for sizes in SIZES[network]]
    expected, found = [list(map(as_found, layers)) for layers in table], [result["layers"] for result in results]
    read = f"the docstring of {network}"
    if any(result["unseen"] for result in results):
        fail(what=f"The layers of {network}", expected="seen by PyTorch", got="hidden from it",
             hints=[When(IN_PLAIN_LIST, True)], read=read)
    for sizes, right, layers in zip(SIZES[network], expected, found):
        rows, right_rows = list(map(in_words, layers)), list(map(in_words, right))
        if rows != right_rows:
            arguments = ", ".join(f"{name}={number}" for name, number in sizes.items())
            place = next(i for i in range(len(right_rows) + 1) if right_rows[i:i + 1] != rows[i:i + 1])
            fail(what=f"The layers of {network}({arguments}), not counting activations",
                 expected=row_in_words(right_rows, place), got=row_in_words(rows, place),
                 hints=[When(mistake, True) for mistake in known_mistakes(network, expected, found)], read=read)
    if results[0]["idle"]:
        fail(what=f"Layers of {network} that the data do not go through", expected="none", got=results[0]["idle"],
             read=read)
    return table[0]


def row_in_words(rows, place):
    """Return the number of layers, and the one at a place if there is one."""
    return f"{len(rows)} layers" + (f", number {place + 1} is: {rows[place]}" if place < len(rows) else "")


def run_with_both_signs(call, network, sizes, training, tries, **options):
    """Return an input and the results of run_network, if possible with both signs before the output's activation."""
    for _ in range(tries):
        x = random_inputs(network, sizes)
        got = call(run_network, network=network, sizes=sizes, x=x, seed=fresh(), training=training,
                   **options)
        last = got["layers"][-1][1]
        if last.min() < -0.1 and last.max() > 0.1:
            break
    return x, got


def name_activation(call, network, training, place):
    """Return the name of the known activation that fits after a layer, for small and for large numbers; "" if none."""
    fitting = []
    for scale in (0.3, 1.0, 6.0):
        _, got = run_with_both_signs(call, network, SIZES[network][0], training, tries=100, scale=scale)
        after = [note[0] for note in got["layers"][1:]] + [np.reshape(got["outputs"][0], got["layers"][-1][1].shape)]
        fitting.append(activations_between(got["layers"][place][1], after[place]))
    return next((name for name in fitting[0] if all(name in names for names in fitting)), "")


def mode_in_words(training):
    return "training mode" if training else "evaluation mode"


def check_output(call, network, training):
    """Compare the output with what the weights give in float64, and each activation with the right one."""
    layers, sizes = check_layers(call, network, training), SIZES[network][0]
    x, got = run_with_both_signs(call, network, sizes, training, tries=20)
    output = check_activations(call, network, training, layers, got)
    expected = x.astype(np.float64)
    for layer, (_, _, *tensors) in zip(layers, got["layers"]):
        expected = ACTIVATIONS[layer.activation](run_layer(layer, expected, tensors, training))
    assert_close(what=f"The output of {network} in {mode_in_words(training)}", got=output, expected=expected,
                 rtol=1e-3, atol=1e-4, read=f"the docstring of {network}")
    _, with_large_numbers = run_with_both_signs(call, network, sizes, training, tries=20, scale=6.0)
    check_activations(call, network, training, layers, with_large_numbers)


def check_activations(call, network, training, layers, got):
    """Compare what comes after each layer with the right activation; name one that is wrong. Return the output."""
    output = got["outputs"][0]
    if network == "Discriminator" and np.size(output) == B:  # shapes B and B,1 are accepted too
        output = np.reshape(output, (B, 1, 1, 1))
    read = f"the docstring of {network}"
    after = [note[0] for note in got["layers"][1:]] + [output]
    for place, (layer, (_, before, *_), result) in enumerate(zip(layers, got["layers"], after)):
        right = ACTIVATIONS[layer.activation](before.astype(np.float64))
        if close(result, right):
            continue
        known = bool(activations_between(before, result))
        name = name_activation(call, network, training, place) if known else ""
        where = "on the output" if result is output else f"after the {in_words(as_found(layer))}"
        assert_close(
            what=f"The result {where} of {network} in {mode_in_words(training)}", got=result, expected=right, read=read,
            hints=[
                When("there is dropout or other noise, which does not belong in this network",
                     np.isfinite(got["outputs"]).all() and not close(*got["outputs"])),
                When("an activation comes before the batch norm instead of after it",
                     layer.activation == "no activation" and name not in ("", layer.activation)),
                When(f"expected {layer.activation} {where}, but there is {name}", name),
            ])
    return output


# The tests

@both
@task("3.1")
def test_number_of_parameters(call, network):
    """The convolutions without biases and the batch norms have this many parameters at multiplier 4."""
    number = {"Generator": 43748, "Discriminator": 3056}[network]
    x = random_inputs(network, dict(latent_size=64, num_input_channels=3))
    got, trainable = call(count_parameters, network=network, sizes={"channels_multiplier": 4}, x=x)
    assert_close(what=f"The number of parameters of {network}(channels_multiplier=4)", got=got, expected=number,
                 rtol=0, atol=0, read=f"the docstring of {network}",
                 hints=[When(f"there are no trainable weights. {IN_PLAIN_LIST}", got == 0)])
    if trainable != number:
        fail(what=f"The number of parameters of {network}(channels_multiplier=4) that training changes",
             expected=number, got=trainable, read=f"the docstring of {network}",
             hints=[When("requires_grad is switched off", True)])


@both
@task("3.1")
def test_layers(call, network):
    """The layers are exactly those of the docstring, with the given sizes."""
    check_layers(call, network)


@both
@task("3.1")
def test_output_while_training(call, network):
    """Batch norm uses the statistics of the batch; the activations come where the docstring has them."""
    check_output(call, network, training=True)


@both
@task("3.1")
def test_output_in_evaluation_mode(call, network):
    """Batch norm uses the running statistics."""
    check_output(call, network, training=False)


if __name__ == "__main__":
    run_this_file(__file__)
