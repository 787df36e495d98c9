"""Generate images with a trained generator.

    python sample_gan.py                                # the run in results_gan/; saves samples.png there
    python sample_gan.py --temperature 0.5 --interpolate 6      # less varied images, and a video
    python sample_gan.py --checkpoint docs/gan_generator.pt --output_dir results_gan_reference  # the project's own
    python sample_gan.py --nearest dataset_flowers_64px         # has it learned, or copied?
"""
import sys

from lib.script import Parser, file_name, folder_name, integer, number, run_script, say


def main() -> None:
    parser = Parser(__doc__)
    parser.add_argument("--checkpoint", type=file_name, metavar="FILE", help="checkpoint of a run, or of a generator "
                        "alone (default: that of the run in --output_dir)")
    parser.add_argument("--output_dir", type=folder_name, metavar="DIR",
                        help="folder of the run, where images are also saved (default: results_gan)")
    parser.add_argument("--num_images", type=integer(1, 1000), default=64, metavar="N",
                        help="number of images (default: %(default)s)")
    parser.add_argument("--temperature", type=number(0, 100), default=1.0,
                        help="variance of the noise, which has mean 0 (default: %(default)s)")
    parser.add_argument("--seed", type=integer(0, 2 ** 32 - 1), default=0,
                        help="random seed; the same seed gives the same images (default: %(default)s)")
    parser.add_argument("--weights", choices=("ema", "generator", "average"), default="ema",
                        help="which generator weights to load, if the checkpoint has both; average is an old name for "
                             "ema (default: %(default)s)")
    parser.add_argument("--batch_norm", choices=("measured", "stored", "batch"), default="measured",
                        help="mean and variance to use: measured again on 512 images, stored in the checkpoint, or "
                             "each batch's own as in training (default: %(default)s)")
    parser.add_argument("--interpolate", "--walk", type=integer(2, 100), metavar="N",
                        help="also save a video that interpolates between N random latents and back to the first")
    parser.add_argument("--nearest", type=file_name, metavar="DIR",
                        help="also save each image above its nearest neighbour from this folder")
    parser.add_argument("--skip_bad", action="store_true", help="skip unreadable images in the --nearest folder")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1 or mps (default: %(default)s)")
    args = parser.parse_args()
    args.weights = "ema" if args.weights == "average" else args.weights

    from lib.sample_gan import run_sample_gan
    say(f"saved {', '.join(map(str, run_sample_gan(args)))}")


if __name__ == "__main__":
    sys.exit(run_script(main))
