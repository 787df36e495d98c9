"""Fixtures of several proofs: a small dataset, and a finished run."""
import signal

import pytest

from course.tests.support import TRAIN, assert_done, run, small_mnist, write_mnist

# In the background of a shell script Ctrl-C is ignored, and the scripts that the proofs start would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def small_data(tmp_path_factory):
    """A folder with a small dataset in MNIST's layout."""
    data_dir = tmp_path_factory.mktemp("data")
    write_mnist(data_dir, small_mnist())
    return data_dir


@pytest.fixture(scope="session")
def small(small_data):
    """The flags that train a small model on it; an epoch takes a fraction of a second."""
    return ("--dataset", "mnist", "--data_dir", small_data, "--hidden_size", 50, "--batch_size", 64)


@pytest.fixture(scope="session")
def trained(tmp_path_factory, small):
    """The folder of a finished run of two epochs. Copy it; do not change it."""
    cwd = tmp_path_factory.mktemp("trained")
    assert_done(run(TRAIN, *small, "--num_epochs", 2, cwd=cwd))
    return cwd / "results_kl1.0"
