"""Make pictures with a trained generator.

    python sample_gan.py                                # of the run in results_gan/: samples.png, saved there
    python sample_gan.py --temperature 0.5 --walk 6     # closer to the average picture; and a video from noise to noise
    python sample_gan.py --checkpoint docs/gan_generator.pt     # the one that comes with the project, or any year's
    python sample_gan.py --nearest dataset_flowers_64px         # has it learned, or copied?
"""
import sys

from lib.script import Parser, file_name, folder_name, integer, number, run_script, say


def main() -> None:
    parser = Parser(__doc__)
    parser.add_argument("--checkpoint", type=file_name, metavar="FILE", help="of a run, or of a generator "
                        "alone (default: that of the run in --output_dir)")
    parser.add_argument("--output_dir", type=folder_name, metavar="DIR",
                        help="folder of the run, and of the pictures (default: results_gan)")
    parser.add_argument("--num_images", type=integer(1, 1000), default=64, help="default: %(default)s")
    parser.add_argument("--temperature", type=number(0, 100), default=1.0,
                        help="variance T of the noise, which has mean 0 (default: %(default)s)")
    parser.add_argument("--seed", type=integer(0, 2 ** 32 - 1), default=0,
                        help="the same seed gives the same pictures (default: %(default)s)")
    parser.add_argument("--weights", choices=("average", "generator"), default="average",
                        help="which ones, if the run has both (default: %(default)s)")
    parser.add_argument("--batch_norm", choices=("measured", "stored", "batch"), default="measured",
                        help="where mean and variance come from: measured anew over 512 pictures; stored in the "
                        "checkpoint; or each batch's own, as in training (default: %(default)s)")
    parser.add_argument("--walk", type=integer(2, 100), metavar="N", help="make a video too: a walk from noise to "
                        "noise, N of them and back to the first")
    parser.add_argument("--nearest", type=file_name, metavar="DIR",
                        help="draw too, below the pictures, the nearest in this folder")
    parser.add_argument("--skip_bad", action="store_true", help="leave out pictures of it that cannot be used")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps (default: %(default)s)")
    args = parser.parse_args()

    from lib.sample_gan import run_sample_gan
    say(f"made {', '.join(map(str, run_sample_gan(args)))}")


if __name__ == "__main__":
    sys.exit(run_script(main))
