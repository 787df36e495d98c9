#!/usr/bin/env bash
# Gradescope unpacks the archive in /autograder/source and runs this there once, to build the autograder's image.
set -e
cd "$(dirname "$0")"
apt-get update
apt-get install -y git python3 python3-venv
python3 -m venv ../env
../env/bin/python -m pip install --extra-index-url https://download.pytorch.org/whl/cpu -r requirements.txt
