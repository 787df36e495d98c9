"""Time the explorer: writing the page of five runs, opening it, and moving its models.

It makes the page of the runs at hand (by default, of five: three KL weights, one density and the GAN, trained here for
an epoch each at their default sizes, which is all that the times depend on), opens it in a headless Chromium, and
counts decoded digits and frames of a generation of 1,000 points: as many as fit into two seconds, computed and drawn.
"""
import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from lib.script import UserError

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
RUNS = [("run_vae_training.py", ("--kl_loss_weight", weight)) for weight in ("0", "1", "30")] + [
    ("run_diffusion_training.py", ("--no_video",)), ("run_gan_training.py", ("--no_video", "--sample_every", "1"))]
DECODES = """async () => {          // as if a hand moved over the planes: every frame moves all cursors
    const {views} = explorer.vae, planes = views.filter(view => view.plane), start = performance.now();
    let frames = 0;
    for (; performance.now() - start < 2000; frames++) {
        for (const {run, image, z} of planes) {
            z[0] = Math.sin(frames / 10);
            showImage(image, decode(run, z), 28, [0, 1]);
        }
        explorer.vae.draw();
        await new Promise(done => setTimeout(done));
    }
    return [frames / (performance.now() - start) * 1000, planes.length];
}"""
FRAMES = """async () => {
    const {run, plane} = explorer.diffusion, random = normal(0), start = performance.now();
    let x = normalArray(2000, random), frames = 0;
    for (; performance.now() - start < 2000; frames++) {
        x = stepDDPM(run, x, run.baralphas.length - 1 - frames % run.baralphas.length, random).x;
        plane.resize();
        plane.drawAxes();
        plane.points(x, "black", 3);
        await new Promise(done => setTimeout(done));
    }
    return frames / (performance.now() - start) * 1000;
}"""
IMAGES = """() => {
    const {run} = explorer.gan, [generator] = Object.values(run.generators), start = performance.now();
    const noise = normalArray(run.latent_size, normal(1));
    let images = 0;
    for (; performance.now() - start < 2000; images++) generate(generator, noise);
    return images / (performance.now() - start) * 1000;
}"""


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("runs", nargs="*", metavar="RUN", help="default: five new runs of an epoch each")
    parser.add_argument("--data_dir", default="data", help="folder with MNIST (default: %(default)s)")
    parser.add_argument("--small", action="store_true", help="smaller models and data, for a test of this command")
    parser.set_defaults(function=main)


def train(folder: Path, data_dir: str, small: bool) -> None:
    """Train the five runs for an epoch each, in results_* below a folder."""
    root = Path().resolve()
    for script, flags in RUNS:
        more = ["--epochs", "1"]
        if "vae" in script:
            more += ["--dataset", "mnist", "--data_dir", str(Path(data_dir).resolve())]
        elif small:
            more += ["--ngf", "4", "--ndf", "4"] if "gan" in script else ["--n_samples", "2000"]
        if "gan" in script:
            more += ["--data_dir", str(root / "dataset_flowers_64px")]
        subprocess.run([sys.executable, str(root / script), *flags, *more], check=True, cwd=str(folder),
                       stdout=subprocess.DEVNULL)


def main(args: argparse.Namespace) -> None:
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        raise UserError("Playwright is missing: pip install -r course/requirements.txt") from None
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if not program:
        raise UserError("found no Chromium (apt install chromium)")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if not args.runs:
            train(folder, args.data_dir, args.small)
        page_path, start = folder / "explorer.html", time.perf_counter()
        runs = [str(Path(run).resolve()) for run in args.runs]
        subprocess.run([sys.executable, str(Path("make_explorer.py").resolve()), *runs, "--output", str(page_path),
                        "--data_dir", str(Path(args.data_dir).resolve())], check=True, cwd=str(folder))
        print(f"written in {time.perf_counter() - start:.1f} s, {page_path.stat().st_size / 1e6:.2f} MB")
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=program, args=["--disable-gpu"])
            times = []
            for _ in range(3):
                page = browser.new_page(viewport={"width": 1280, "height": 900})
                page.goto(page_path.as_uri())
                page.wait_for_selector("html[data-ready]")
                times.append(float(page.get_attribute("html", "data-ready") or "nan"))
            print(f"usable {min(times):.0f} ms after the start of loading (the best of {len(times)})")
            if page.evaluate("explorer.vae !== undefined"):
                rate, planes = page.evaluate(DECODES)
                print(f"VAE: {rate:.0f} moves of the hand a second, each decoded by {planes} models")
            if page.evaluate("explorer.diffusion !== undefined"):
                print(f"diffusion: {page.evaluate(FRAMES):.1f} frames a second of 1,000 points")
            if page.evaluate("explorer.gan !== undefined"):
                print(f"GAN: {page.evaluate(IMAGES):.1f} images a second")
            browser.close()
