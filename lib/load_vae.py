"""Loading the VAE of a run."""
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, Tuple, Union

from lib.checkpoint import CHECKPOINT, check_history, load_checkpoint, load_part
from lib.script import UserError

if TYPE_CHECKING:
    from lib.model_vae import VAE


def load_vae(folder: Union[str, Path], to_draw: bool = False) -> Tuple["VAE", Dict[str, Any]]:
    """Load the model of a run, in evaluation mode on the CPU, and its checkpoint.

    Args:
        to_draw: accept only two latents.

    Raises:
        UserError: the folder does not contain a run of run_vae_training.py, or its checkpoint is damaged.
    """
    checkpoint = load_checkpoint(folder)
    settings = checkpoint["settings"]
    kinds: Dict[str, Any] = {"hidden_size": int, "latent_size": int, "dataset": str, "kl_loss_weight": float}
    if not kinds.keys() <= settings.keys():
        raise UserError(f"{folder} is not a run of run_vae_training.py")
    for name, kind in kinds.items():
        value = settings[name]
        if type(value) is not kind or kind is int and value < 1 or kind is str and value not in ("mnist", "digits"):
            raise UserError(f"{Path(folder) / CHECKPOINT} is damaged: its {name} is {settings[name]!r}")
    if to_draw and settings["latent_size"] != 2:
        raise UserError(f"the latent space of {folder} has {settings['latent_size']} dimensions, but only two can be "
                        "drawn: train with --latent_size 2")
    check_history(checkpoint["history"], [("train_reconstruction", "train_kl", "test_reconstruction", "test_kl")],
                  folder)
    from lib.model_vae import VAE  # here: the tests of task 1.3 must work without task 1.1
    try:
        model = VAE(hidden_size=settings["hidden_size"], latent_size=settings["latent_size"])
    except (TypeError, RuntimeError):
        raise UserError(f"{Path(folder) / CHECKPOINT} is damaged: its hidden_size is {settings['hidden_size']}, its "
                        f"latent_size {settings['latent_size']}") from None
    load_part(model, checkpoint, "model", folder)
    return model.eval(), checkpoint
