"""Turn warnings into errors in all tests of this repository.

This file is not part of the handout: right code of a student may warn, for example about a function that a newer
PyTorch deprecates.
"""
collect_ignore = ["handed_in", "scores"]  # the submissions that are graded, which have tests too


def pytest_configure(config):
    config.addinivalue_line("filterwarnings", "error")
    # Python reports an unclosed file or socket when it collects garbage, in whichever test that happens to be.
    config.addinivalue_line("filterwarnings", "ignore::ResourceWarning")
