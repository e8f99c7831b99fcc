"""The doctor where everything is installed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_doctor_loads_tensorflow_with_keras_2() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "invoke", "doctor", "--json"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (found,) = [one for one in json.loads(done.stdout)["findings"] if one["name"] == "tensorflow"]
    assert found["state"] == "ok"
    assert "with Keras 2." in found["found"]
    assert "--quick" in done.stderr
