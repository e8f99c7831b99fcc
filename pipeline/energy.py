"""Energy of an invocation where this machine's processor counts it (RAPL, through powercap).

The counters are the whole package's, so the figure is a difference: of one run with many rounds and one
with few, over the invocations that lie between. What else the machine does in that time counts as well.
Documented in the kernel's Documentation/power/powercap.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import ModuleType

from pipeline.runner import Figure, Settings

POWERCAP = Path("/sys/class/powercap")
FEW_ROUNDS, MANY_ROUNDS = 5, 50


def read_microjoules(root: Path = POWERCAP) -> dict[str, tuple[int, int]] | None:
    """Return each package's counter and where it wraps, in microjoules; None where none can be read."""
    found = {}
    for zone in sorted(root.glob("intel-rapl:[0-9]")):
        try:
            name = (zone / "name").read_text().strip()
            limit = int((zone / "max_energy_range_uj").read_text())
            found[name] = (int((zone / "energy_uj").read_text()), limit)
        except (OSError, ValueError):
            return None
    return found or None


def energy_of(runner: ModuleType, model: Path, settings: Settings, root: Path = POWERCAP) -> Figure | None:
    """Return microjoules an invocation of a model that runs on this machine; None where it does not tell.

    Raises what the runner raises.
    """
    spent: list[tuple[int, int]] = []
    for rounds in (FEW_ROUNDS, MANY_ROUNDS):
        before = read_microjoules(root)
        if before is None:
            return None
        result = runner.run({"model": model}, None, replace(settings, rounds=rounds, outputs=False))
        after = read_microjoules(root)
        if after is None:
            return None
        joules = sum((after[name][0] - before[name][0]) % (before[name][1] + 1) for name in before)
        spent.append((joules, result.models["model"].times_ns.size))
    (few, few_invocations), (many, many_invocations) = spent
    each = (many - few) / (many_invocations - few_invocations)
    return Figure(value=round(each, 3), note="whole processor package, with what else it did meanwhile")
