"""Make docs/explorer.html, the explorer of reference runs that comes with the project.

    python -m course.reference_explorer
    python -m course.reference_explorer --keep_runs     # after a change of lib/explorer_page/: no training

It trains three VAEs, the moons, and a GAN with a small generator, in results_reference/explorer/, where it keeps
finished runs and resumes interrupted ones: about a quarter of an hour on two CPU cores. The VAEs are trained on
scikit-learn's digits, because the page must not show images of MNIST, and all with a KL weight of 1, because it must
not answer task 1.4. With --small, it trains for one epoch each in results_reference/small/explorer/, and puts the page
there.
"""
import argparse
import re
import subprocess
import sys
from pathlib import Path

from lib.explorer import make_page
from lib.files import write_file

ROOT, PAGE = Path("results_reference"), Path("docs/explorer.html")
RUNS = [
    ("run_vae_training.py", "results_seed0", ("--dataset", "digits")),
    ("run_vae_training.py", "results_seed1", ("--dataset", "digits", "--seed", "1")),
    ("run_vae_training.py", "results_latents8", ("--dataset", "digits", "--latent_size", "8")),
    ("run_diffusion_training.py", "results_diffusion", ("--no_video", "--quiet")),
    ("run_gan_training.py", "results_gan", ("--ngf", "16", "--num_epochs", "800", "--no_video"))]
SMALL = {"run_vae_training.py": ("--hidden_size", "8"), "run_gan_training.py": ("--ngf", "4", "--ndf", "4"),
         "run_diffusion_training.py": ("--n_samples", "2000", "--diffusion_steps", "8")}


def keep_runs() -> None:
    """Put the runs of the committed page into today's page."""
    found = re.search(r'id="runs">(.*?)</script>\s*<script type="text/plain" id="arrays">(.*?)</script>',
                      PAGE.read_text(encoding="utf-8"))
    if not found:
        sys.exit(f"{PAGE} contains no runs: make it without --keep_runs")
    write_file(PAGE, make_page(*found.groups()))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m course.reference_explorer", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keep_runs", action="store_true", help="only renew the page around the runs in it")
    parser.add_argument("--small", action="store_true", help="a trial in a minute or two, which leaves docs/ alone")
    args = parser.parse_args()
    if args.keep_runs:
        return keep_runs()
    folder = ROOT / "small" / "explorer" if args.small else ROOT / "explorer"
    project = Path().resolve()
    for script, name, flags in RUNS:
        subprocess.run([sys.executable, script, "--output_dir", str(folder / name), "--resume", *flags,
                        *(("--epochs", "1", *SMALL[script]) if args.small else ())], check=True)
    # From the runs' own folder, so that the page shows their names without it.
    page = Path("explorer.html") if args.small else project / PAGE
    subprocess.run([sys.executable, str(project / "make_explorer.py"), *(name for _, name, _ in RUNS), "--output",
                    str(page), "--overwrite"], check=True, cwd=str(folder))


if __name__ == "__main__":
    main()
