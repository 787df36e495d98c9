"""Compare painted flowers with photographs in numbers: python -m course.compare_flowers PAINTED PHOTOGRAPHS

Both folders contain {train,val,test}/CLASS/*.jpg. Classifiers are trained on train and evaluated on test. Everything
else is measured on all images of a class, and summarised by the median, which a few unusual images do not change.
"""
import argparse
from pathlib import Path
from typing import Dict, List, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageOps
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from torch import Tensor, nn

SPLITS = ("train", "val", "test")
SEEDS = (0, 1, 2)   # for the convolutional classifier


class Images(NamedTuple):
    """The central squares of N images, resized to 64 by 64 pixels, with values in [0, 1]."""
    pixels: np.ndarray  # N,64,64,3
    label: np.ndarray   # N
    split: np.ndarray   # N


def read(folder: Path) -> Images:
    """Read the images of a folder."""
    files = [(path, split) for split in SPLITS for path in sorted((folder / split).glob("*/*.jpg"))]
    if not files:
        raise SystemExit(f"{folder} contains no images of the form {{train,val,test}}/CLASS/*.jpg")
    names = sorted({path.parent.name for path, _ in files})
    images = (Image.open(str(path)).convert("RGB") for path, _ in files)
    pixels = np.stack([np.asarray(ImageOps.fit(image, (64, 64), Image.Resampling.BICUBIC)) for image in images])
    return Images(pixels.astype(np.float32) / 255, np.array([names.index(path.parent.name) for path, _ in files]),
                  np.array([split for _, split in files]))


def halve(pixels: np.ndarray) -> np.ndarray:
    """Downsample N,64,64,3 images to N,32,32,3, each pixel the mean of four."""
    return (pixels[:, ::2, ::2] + pixels[:, 1::2, ::2] + pixels[:, ::2, 1::2] + pixels[:, 1::2, 1::2]) / 4


def make_classifier(classes: int) -> nn.Sequential:
    """Return a network of three convolutions with about 100,000 parameters."""
    layers: List[nn.Module] = []
    before = 3
    for channels in (32, 64, 128):
        layers += [nn.Conv2d(before, channels, 3, padding=1), nn.BatchNorm2d(channels), nn.ReLU(), nn.MaxPool2d(2)]
        before = channels
    layers += [nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Dropout(0.3), nn.Linear(4 * before, classes)]
    return nn.Sequential(*layers)


def augment(batch: Tensor, rng: np.random.Generator) -> Tensor:
    """Mirror half of the B,3,32,32 images, and shift all of them by up to 3 pixels."""
    flip = torch.from_numpy(rng.uniform(size=len(batch)) < 0.5)[:, None, None, None]
    batch = F.pad(torch.where(flip, batch.flip(3), batch), (3, 3, 3, 3), mode="reflect")
    y, x = rng.integers(0, 7, 2)
    return batch[:, :, y:y + 32, x:x + 32]


def convolutional_accuracy(images: Images, seed: int, epochs: int) -> float:
    """Train the small network on 32 by 32 pixels and return its accuracy on test."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    pixels = torch.from_numpy(halve(images.pixels)).permute(0, 3, 1, 2) * 2 - 1
    labels = torch.from_numpy(images.label)
    train, test = (torch.from_numpy(np.flatnonzero(images.split == split)) for split in ("train", "test"))
    model = make_classifier(int(labels.max()) + 1).to(memory_format=torch.channels_last)     # twice as fast on a CPU
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.05)
    batches = (len(train) + 31) // 32
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, epochs * batches)
    for _ in range(epochs):
        order = train[torch.from_numpy(rng.permutation(len(train)))]
        for batch in order.tensor_split(batches):
            seen = augment(pixels[batch], rng).contiguous(memory_format=torch.channels_last)
            loss = F.cross_entropy(model(seen), labels[batch], label_smoothing=0.1)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    model.eval()
    with torch.no_grad():
        return float((model(pixels[test]).argmax(1) == labels[test]).float().mean())


def mean_colour_accuracy(images: Images) -> float:
    """Train a support vector machine (RBF kernel) on each image's mean colour alone and return its accuracy on test."""
    colour = images.pixels.mean(axis=(1, 2))
    train, test = images.split == "train", images.split == "test"
    model = make_pipeline(StandardScaler(), SVC(C=10)).fit(colour[train], images.label[train])
    return float(model.score(colour[test], images.label[test]))


def edge_density(pixels: np.ndarray) -> np.ndarray:
    """Return for each image the fraction of pixels where the brightness gradient exceeds 0.1 per pixel."""
    grey = pixels.mean(axis=-1)
    return (np.hypot(np.gradient(grey, axis=1), np.gradient(grey, axis=2)) > 0.1).mean(axis=(1, 2))


def colour_spread(pixels: np.ndarray) -> np.ndarray:
    """Return for each image the root mean square distance of its pixels from its mean colour, in RGB."""
    return np.sqrt(pixels.var(axis=(1, 2)).sum(axis=-1))


def chroma_spread(pixels: np.ndarray) -> np.ndarray:
    """Return the same after subtracting the brightness of each pixel, which leaves hue and saturation."""
    return colour_spread(pixels - pixels.mean(axis=-1, keepdims=True))


def spectrum_slope(pixels: np.ndarray) -> np.ndarray:
    """Return for each image the slope of log power over log frequency (2 to 28 cycles per image) of the brightness.

    The image is multiplied by a Hann window. Photographs of nature have a slope of about -2, a flower in front of a
    defocused background a smaller one.
    """
    window = np.hanning(64)
    grey = pixels.mean(axis=-1)
    power = np.abs(np.fft.fft2((grey - grey.mean(axis=(1, 2), keepdims=True)) * window[:, None] * window)) ** 2
    frequency = np.rint(64 * np.hypot(np.fft.fftfreq(64)[:, None], np.fft.fftfreq(64))).astype(int)
    rings = np.arange(2, 29)
    mean = np.stack([power[:, frequency == ring].mean(axis=1) for ring in rings], axis=1)
    return np.polyfit(np.log(rings), np.log(mean + 1e-9).T, 1)[0]


def nearest_neighbour(pixels: np.ndarray) -> np.ndarray:
    """Return for each image the root mean square difference to the nearest other one, or its mirror image, at 32 px."""
    flat = torch.from_numpy(halve(pixels)).double()
    one, mirrored = flat.reshape(len(flat), -1), flat.flip(2).reshape(len(flat), -1)
    itself = torch.eye(len(flat), dtype=torch.bool)
    distance = torch.minimum(torch.cdist(one, one), torch.cdist(one, mirrored)).masked_fill(itself, np.inf)
    return (distance.min(dim=1).values / one.shape[1] ** 0.5).numpy()


MEASURES = {"edge density": edge_density, "colour spread": colour_spread, "chroma spread": chroma_spread,
            "spectrum slope": spectrum_slope, "nearest neighbour": nearest_neighbour}


def measure(images: Images) -> Dict[str, np.ndarray]:
    """Compute every measure for every image."""
    return {name: function(images.pixels) for name, function in MEASURES.items()}


def medians(values: np.ndarray, label: np.ndarray) -> np.ndarray:
    """Return the median for each class."""
    return np.array([np.median(values[label == one]) for one in np.unique(label)])


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m course.compare_flowers", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("painted", type=Path, help="folder of painted flowers")
    parser.add_argument("photographs", type=Path, help="folder of photographs")
    parser.add_argument("--small", action="store_true", help="a trial in seconds: classifiers of one epoch")
    args = parser.parse_args()
    torch.set_num_threads(1)    # so the numbers do not depend on the number of cores; hardly slower
    sets = [read(args.painted), read(args.photographs)]
    print(f"{'':24} {'painted':>24} {'photographs':>24}")
    print(f"{'images':24} {len(sets[0].label):24} {len(sets[1].label):24}")
    texts = []
    for one in sets:
        accuracies = [convolutional_accuracy(one, seed, 1 if args.small else 60) for seed in SEEDS]
        texts.append(f"{np.mean(accuracies):.1%} ({min(accuracies):.1%}, {max(accuracies):.1%})")
    print(f"{'convolutional, test':24} {texts[0]:>24} {texts[1]:>24}   mean of {len(SEEDS)} (min, max)")
    print(f"{'mean colour, test':24} {mean_colour_accuracy(sets[0]):24.1%} {mean_colour_accuracy(sets[1]):24.1%}")
    painted, photographs = (measure(one) for one in sets)
    print("\nmedian of all (range of the classes)")
    for name in MEASURES:
        ours, theirs = (medians(values[name], one.label) for values, one in zip((painted, photographs), sets))
        above = theirs.max() if name != "nearest neighbour" else np.inf  # larger distances are fine
        inside = np.count_nonzero((ours >= theirs.min()) & (ours <= above))
        texts = [f"{np.median(values[name]):.3f} ({each.min():.3f}, {each.max():.3f})"
                 for values, each in ((painted, ours), (photographs, theirs))]
        print(f"{name:24} {texts[0]:>24} {texts[1]:>24}   {inside} of {len(ours)} classes within")
    closest = [values["nearest neighbour"] for values in (painted, photographs)]
    texts = ["{:.3f}, {:.3f}".format(*np.quantile(values, [0, 0.05])) for values in closest]
    print(f"{'  minimum, 5% quantile':24} {texts[0]:>24} {texts[1]:>24}")


if __name__ == "__main__":
    main()
