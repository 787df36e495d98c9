"""Train a GAN on a folder of images.

    python run_gan_training.py                          # the flowers, 500 epochs; results in results_gan/
    python run_gan_training.py --plain --output_dir results_gan_plain       # plain DCGAN training, no additions
    python run_gan_training.py --data_dir my_photos --output_dir results_gan_photos
    python run_gan_training.py --resume                 # continue a stopped run after its last finished epoch
"""
import sys

from lib.script import Parser, add_run_flags, file_name, integer, number, run_script, say


def main() -> None:
    parser = Parser(__doc__)
    parser.add_argument("--num_epochs", "--epochs", type=integer(1), default=500, metavar="N",
                        help="train until N epochs are finished (default: %(default)s)")
    parser.add_argument("--batch_size", type=integer(1), help="images per step (default: 32; 128 with --plain)")
    parser.add_argument("--latent_size", type=integer(1), default=64,
                        help="how many random numbers an image is generated from (default: %(default)s)")
    parser.add_argument("--ngf", type=integer(1), default=32, help="width of the generator (default: %(default)s)")
    parser.add_argument("--ndf", type=integer(1), default=32, help="width of the discriminator (default: %(default)s)")
    parser.add_argument("--lr", "--learning_rate", type=number(0, above=True), default=2e-4,
                        help="learning rate of both Adam optimizers (default: %(default)s)")
    parser.add_argument("--beta1", type=number(0, 0.999), default=0.5,
                        help="Adam's beta1: decay rate of its gradient average (default: %(default)s)")
    parser.add_argument("--plain", action="store_true", help="train like a plain DCGAN: no augmentation of "
                        "the discriminator's inputs, no moving average of the generator's weights, batches of 128")
    parser.add_argument("--ema_steps", "--average_over", type=number(1), default=500, metavar="STEPS",
                        help="length of the moving average of the generator's weights, in steps (default: %(default)s)")
    parser.add_argument("--data_dir", type=file_name, default="dataset_flowers_64px", metavar="DIR",
                        help="folder of images, searched recursively (default: %(default)s)")
    parser.add_argument("--skip_bad", action="store_true", help="skip images that cannot be used")
    parser.add_argument("--sample_every", type=integer(1), default=250, metavar="STEPS",
                        help="save generated images every STEPS steps, more often at first (default: %(default)s)")
    parser.add_argument("--evaluate_every", type=integer(1), default=50, metavar="EPOCHS",
                        help="measure the distance to the data every EPOCHS epochs and at the end "
                             "(default: %(default)s)")
    parser.add_argument("--no_images", action="store_true", help="save no figures and no video")
    parser.add_argument("--no_video", action="store_true", help="save no video")
    add_run_flags(parser, "results_gan")
    args = parser.parse_args()
    args.batch_size = args.batch_size or (128 if args.plain else 32)

    from lib.train_gan import run_gan_training
    folder = run_gan_training(args)
    say(f"results are in {folder}/")


if __name__ == "__main__":
    sys.exit(run_script(main, "--resume continues after the last finished epoch"))
