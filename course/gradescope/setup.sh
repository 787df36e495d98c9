#!/usr/bin/env bash
# Gradescope runs this once, in /autograder/source, where it unpacks the archive to build the autograder's image.
set -e
cd "$(dirname "$0")"
apt-get update
apt-get install -y git python3 python3-venv
python3 -m venv ../env
../env/bin/python -m pip install --extra-index-url https://download.pytorch.org/whl/cpu -r requirements.txt
git init --quiet  # the handout is cut from what git tracks
git add --all -- ':!/setup.sh' ':!/run_autograder'
