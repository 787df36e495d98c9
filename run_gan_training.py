"""Train a GAN on a folder of pictures.

    python run_gan_training.py                          # the flowers, 500 epochs; results in results_gan/
    python run_gan_training.py --plain --output_dir results_gan_plain       # the assignment's training, nothing added
    python run_gan_training.py --data_dir my_photos --output_dir results_gan_photos
    python run_gan_training.py --resume                 # go on after the last finished epoch of a stopped run
"""
import sys

from lib.script import Parser, add_run_flags, file_name, integer, number, run_script, say


def main() -> None:
    parser = Parser(__doc__)
    parser.add_argument("--num_epochs", type=integer(1), default=500, help="default: %(default)s")
    parser.add_argument("--batch_size", type=integer(1), help="pictures in a step (default: 32; 128 with --plain)")
    parser.add_argument("--latent_size", type=integer(1), default=64,
                        help="numbers that a picture is made from (default: %(default)s)")
    parser.add_argument("--ngf", type=integer(1), default=32, help="width of the generator (default: %(default)s)")
    parser.add_argument("--ndf", type=integer(1), default=32, help="width of the discriminator (default: %(default)s)")
    parser.add_argument("--lr", type=number(0, above=True), default=2e-4,
                        help="learning rate of both Adams (default: %(default)s)")
    parser.add_argument("--beta1", type=number(0, 0.999), default=0.5,
                        help="how long Adam remembers gradients (default: %(default)s)")
    parser.add_argument("--plain", action="store_true", help="the assignment's training: no augmentation of what the "
                        "discriminator sees, no average of the generator's weights, batches of 128")
    parser.add_argument("--average_over", type=number(1), default=500, metavar="STEPS",
                        help="steps that the average of the generator's weights is over (default: %(default)s)")
    parser.add_argument("--data_dir", type=file_name, default="dataset_flowers_64px", metavar="DIR",
                        help="folder of pictures, class folders and all (default: %(default)s)")
    parser.add_argument("--skip_bad", action="store_true", help="leave out pictures that cannot be used")
    parser.add_argument("--sample_every", type=integer(1), default=250, metavar="STEPS",
                        help="draw what is generated so often; more often at first (default: %(default)s)")
    parser.add_argument("--evaluate_every", type=integer(1), default=50, metavar="EPOCHS",
                        help="measure the distance to the data so often, and at the end (default: %(default)s)")
    parser.add_argument("--no_images", action="store_false", dest="images", help="draw no pictures, make no video")
    parser.add_argument("--no_video", action="store_false", dest="video", help="make no video")
    add_run_flags(parser, "results_gan")
    args = parser.parse_args()
    args.batch_size = args.batch_size or (128 if args.plain else 32)

    from lib.train_gan import run_gan_training
    folder = run_gan_training(args)
    say(f"results are in {folder}/")


if __name__ == "__main__":
    sys.exit(run_script(main, "--resume goes on after the last finished epoch"))
