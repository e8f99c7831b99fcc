#!/usr/bin/env bash
# An MLflow server for the tests, which start it themselves; its libraries do not go with the project's, so it has
# an environment of its own, tests/.mlflow.
set -euo pipefail
folder="$(cd "$(dirname "$0")/../.." && pwd)/tests/.mlflow"
[ ! -e "$folder/complete" ] || exit 0
rm -rf "$folder"
"$(command -v python3.11 || command -v python3)" -m venv "$folder"
"$folder/bin/python" -m pip install -q --disable-pip-version-check mlflow==3.17.2
touch "$folder/complete" # last: it says that the rest is whole
