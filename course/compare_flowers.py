"""Painted flowers in numbers, side by side with photographs: python -m course.compare_flowers PAINTED PHOTOGRAPHS

Both folders hold {train,val,test}/CLASS/*.jpg. Classifiers learn from train and are counted on test; everything else is
measured on all pictures, class by class. A measure stands for the median of its pictures, since a few odd ones are
everywhere.
"""
import argparse
import sys
from pathlib import Path
from typing import Dict, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageOps
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from torch import Tensor, nn

SPLITS = ("train", "val", "test")
SEEDS = (0, 1, 2)   # of the convolutional classifier


class Pictures(NamedTuple):
    """The middles of N pictures, 64 by 64 pixels, in [0, 1]."""
    pixels: np.ndarray  # N,64,64,3
    label: np.ndarray   # N
    split: np.ndarray   # N


def read(folder: Path) -> Pictures:
    files = [(path, split) for split in SPLITS for path in sorted((folder / split).glob("*/*.jpg"))]
    if not files:
        raise SystemExit(f"{folder} holds no pictures of the form {{train,val,test}}/CLASS/*.jpg")
    names = sorted({path.parent.name for path, _ in files})
    images = (Image.open(str(path)).convert("RGB") for path, _ in files)
    pixels = np.stack([np.asarray(ImageOps.fit(image, (64, 64), Image.BICUBIC)) for image in images])
    return Pictures(pixels.astype(np.float32) / 255, np.array([names.index(path.parent.name) for path, _ in files]),
                    np.array([split for _, split in files]))


def halved(pixels: np.ndarray) -> np.ndarray:
    """N,32,32,3, each pixel the mean of four."""
    return (pixels[:, ::2, ::2] + pixels[:, 1::2, ::2] + pixels[:, ::2, 1::2] + pixels[:, 1::2, 1::2]) / 4


def network(classes: int) -> nn.Sequential:
    """Three convolutions, about 100,000 parameters."""
    layers, before = [], 3
    for channels in (32, 64, 128):
        layers += [nn.Conv2d(before, channels, 3, padding=1), nn.BatchNorm2d(channels), nn.ReLU(), nn.MaxPool2d(2)]
        before = channels
    layers += [nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Dropout(0.3), nn.Linear(4 * before, classes)]
    return nn.Sequential(*layers)


def shifted(images: Tensor, rng: np.random.Generator) -> Tensor:
    """Half of the B,3,32,32 images mirrored, all moved by up to 3 pixels."""
    flip = torch.from_numpy(rng.uniform(size=len(images)) < 0.5)[:, None, None, None]
    images = F.pad(torch.where(flip, images.flip(3), images), (3, 3, 3, 3), mode="reflect")
    y, x = rng.integers(0, 7, 2)
    return images[:, :, y:y + 32, x:x + 32]


def convolutional_accuracy(pictures: Pictures, seed: int, epochs: int = 60) -> float:
    """Of the small network, at 32 by 32 pixels: the part of test that it gets right."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    images = torch.from_numpy(halved(pictures.pixels)).permute(0, 3, 1, 2) * 2 - 1
    labels = torch.from_numpy(pictures.label)
    train, test = (torch.from_numpy(np.flatnonzero(pictures.split == split)) for split in ("train", "test"))
    model = network(int(labels.max()) + 1).to(memory_format=torch.channels_last)     # twice as fast on a CPU
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.05)
    batches = (len(train) + 31) // 32
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, epochs * batches)
    for _ in range(epochs):
        order = train[torch.from_numpy(rng.permutation(len(train)))]
        for batch in order.tensor_split(batches):
            seen = shifted(images[batch], rng).contiguous(memory_format=torch.channels_last)
            loss = F.cross_entropy(model(seen), labels[batch], label_smoothing=0.1)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    model.eval()
    with torch.no_grad():
        return float((model(images[test]).argmax(1) == labels[test]).float().mean())


def mean_colour_accuracy(pictures: Pictures) -> float:
    """Of a support vector machine (RBF) that knows a picture's mean colour and nothing else: the part of test."""
    colour = pictures.pixels.mean(axis=(1, 2))
    train, test = pictures.split == "train", pictures.split == "test"
    model = make_pipeline(StandardScaler(), SVC(C=10)).fit(colour[train], pictures.label[train])
    return float(model.score(colour[test], pictures.label[test]))


def edge_density(pixels: np.ndarray) -> np.ndarray:
    """N: the part of the pixels where the brightness changes by more than 0.1 a pixel (central differences)."""
    grey = pixels.mean(axis=-1)
    return (np.hypot(np.gradient(grey, axis=1), np.gradient(grey, axis=2)) > 0.1).mean(axis=(1, 2))


def colour_spread(pixels: np.ndarray) -> np.ndarray:
    """N: the root mean square distance of a picture's pixels from its mean colour, in RGB."""
    return np.sqrt(pixels.var(axis=(1, 2)).sum(axis=-1))


def chroma_spread(pixels: np.ndarray) -> np.ndarray:
    """N: the same of the pixels less their brightness, which leaves hue and saturation."""
    return colour_spread(pixels - pixels.mean(axis=-1, keepdims=True))


def spectrum_slope(pixels: np.ndarray) -> np.ndarray:
    """N: the slope of log power over log frequency (2 to 28 cycles a picture) of the brightness under a Hann window.

    Photographs of nature have about -2, a flower before a defocused background less.
    """
    window = np.hanning(64)
    grey = pixels.mean(axis=-1)
    power = np.abs(np.fft.fft2((grey - grey.mean(axis=(1, 2), keepdims=True)) * window[:, None] * window)) ** 2
    frequency = np.rint(64 * np.hypot(np.fft.fftfreq(64)[:, None], np.fft.fftfreq(64))).astype(int)
    rings = np.arange(2, 29)
    mean = np.stack([power[:, frequency == ring].mean(axis=1) for ring in rings], axis=1)
    return np.polyfit(np.log(rings), np.log(mean + 1e-9).T, 1)[0]


def nearest_neighbour(pixels: np.ndarray) -> np.ndarray:
    """N: the root mean square difference to the nearest other picture of the set, or its mirror image, at 32 by 32."""
    flat = torch.from_numpy(halved(pixels)).double()
    one, mirrored = flat.reshape(len(flat), -1), flat.flip(2).reshape(len(flat), -1)
    itself = torch.eye(len(flat), dtype=torch.bool)
    distance = torch.minimum(torch.cdist(one, one), torch.cdist(one, mirrored)).masked_fill(itself, np.inf)
    return (distance.min(dim=1).values / one.shape[1] ** 0.5).numpy()


MEASURES = {"edge density": edge_density, "colour spread": colour_spread, "chroma spread": chroma_spread,
            "spectrum slope": spectrum_slope, "nearest neighbour": nearest_neighbour}


def measure(pictures: Pictures) -> Dict[str, np.ndarray]:
    """Of each measure its value for every picture."""
    return {name: function(pictures.pixels) for name, function in MEASURES.items()}


def medians(values: np.ndarray, label: np.ndarray) -> np.ndarray:
    """Of each class."""
    return np.array([np.median(values[label == one]) for one in np.unique(label)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("painted", type=Path)
    parser.add_argument("photographs", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)                        # the same numbers however many cores are free; hardly slower
    sets = [read(args.painted), read(args.photographs)]
    print(f"{'':24} {'painted':>24} {'photographs':>24}")
    print(f"{'pictures':24} {len(sets[0].label):24} {len(sets[1].label):24}")
    texts = []
    for one in sets:
        accuracies = [convolutional_accuracy(one, seed) for seed in SEEDS]
        texts.append(f"{np.mean(accuracies):.1%} ({min(accuracies):.1%}, {max(accuracies):.1%})")
    print(f"{'convolutional, test':24} {texts[0]:>24} {texts[1]:>24}   mean of {len(SEEDS)} (least, most)")
    print(f"{'mean colour, test':24} {mean_colour_accuracy(sets[0]):24.1%} {mean_colour_accuracy(sets[1]):24.1%}")
    painted, photographs = (measure(one) for one in sets)
    print("\nmedian of all (classes from, to)")
    for name in MEASURES:
        ours, theirs = (medians(values[name], one.label) for values, one in zip((painted, photographs), sets))
        above = theirs.max() if name != "nearest neighbour" else np.inf     # further from each other is no fault
        inside = np.count_nonzero((ours >= theirs.min()) & (ours <= above))
        texts = [f"{np.median(values[name]):.3f} ({each.min():.3f}, {each.max():.3f})"
                 for values, each in ((painted, ours), (photographs, theirs))]
        print(f"{name:24} {texts[0]:>24} {texts[1]:>24}   {inside} of {len(ours)} classes within")
    closest = [values["nearest neighbour"] for values in (painted, photographs)]
    texts = ["{:.3f}, {:.3f}".format(*np.quantile(values, [0, 0.05])) for values in closest]
    print(f"{'  least, of 5% least':24} {texts[0]:>24} {texts[1]:>24}")


if __name__ == "__main__":
    sys.exit(main())
