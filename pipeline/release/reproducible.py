"""What a full rebuild of a release may change: what measures time, memory or a device, and nothing else."""

from __future__ import annotations

from typing import Any

from pipeline.verdict import DEVICE_BUDGETS

# Figures that follow from the file's bytes alone; the others are times and the like, which vary.
EXACT_FIGURES = tuple(sorted(set(DEVICE_BUDGETS.values())))
# Fields of build.json, and through it of the manifest, the card and the bill of materials.
MEASURED_FIELDS = (
    "stages[].state",  # from the store, or made by the build
    "stages[].seconds",
    "latency",
    "device.memory_bytes",
    "device.peak_resident_bytes",
    "device.conditions",
    "device.measured_at",
    "device.reused",
    f"device.figures other than {', '.join(EXACT_FIGURES)}",
    "verdicts[latency_p50_ms]",
    "verdicts[latency_p90_ms]",
    "verdicts[speedup_min]",
    "verdicts[memory_bytes]",
    "verdict",
)
_MEASURED_VERDICTS = frozenset(name[9:-1] for name in MEASURED_FIELDS if name.startswith("verdicts["))


def without_measured(build: dict[str, Any]) -> dict[str, Any]:
    """Return what has to be equal in the `build.json` of two builds of one commit, whenever and wherever they ran.

    build: the parsed document.
    """
    kept = {name: value for name, value in build.items() if name not in ("latency", "verdict")}
    kept["stages"] = [
        {name: value for name, value in stage.items() if name not in ("state", "seconds")} for stage in build["stages"]
    ]
    varying = {name[7:] for name in MEASURED_FIELDS if name.startswith("device.")}
    kept["device"] = {name: value for name, value in build["device"].items() if name not in varying}
    figures = build["device"]["figures"].items()
    kept["device"]["figures"] = {name: figure for name, figure in figures if name in EXACT_FIGURES}
    kept["verdicts"] = [one for one in build["verdicts"] if one["metric"] not in _MEASURED_VERDICTS]
    return kept
