"""How steady a measurement was: what is named before anybody trusts its last digit.

    outlier share   invocations that took more than 1.5 times the median
    drift           change of the rounds' medians from the first to the last, by the Theil-Sen slope, where
                    Kendall's test says with 99% that there is a trend; else 0 (Sen 1968, doi:10.2307/2285891)
    other load      share of all cores' time that others used, and that the hypervisor took (steal)
    governor        of the cores' frequency, where the system tells

A measurement is unstable when one of these lies beyond the limits below; the reasons are in words.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field

if TYPE_CHECKING:
    import numpy as np

OUTLIER = 1.5  # times the median
OUTLIER_SHARE_MAX = 0.05
DRIFT_MAX = 0.05
TREND_P = 0.01
OTHER_LOAD_MAX = 0.2
STEAL_MAX = 0.02
INTERVAL_MAX = 0.1  # width of the median's interval, as a share of the median


class Noise(BaseModel):
    """What made a latency vary."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    outlier_share: float = Field(description="Share of the invocations that took over 1.5 times the median, 0 to 1.")
    drift: float = Field(description="Change of the rounds' medians over the measurement, as a share; 0: no trend.")
    other_load: float | None = Field(description="Share of the device's cores that others used, 0 to 1.")
    steal: float | None = Field(description="Share of its time that a hypervisor gave to others, 0 to 1.")
    governor: str | None = Field(description="Frequency governor; null where the device does not tell.")
    unstable: list[str] = Field(description="Why the measurement is unstable; empty where it is not.")


def noise_of(blocks: Sequence[np.ndarray], interval_share: float, conditions: Sequence[dict[str, str]]) -> Noise:
    """Return the noise of times, int64 [rounds, invocations] of each block, each measured under its conditions.

    interval_share: width of the median's interval over the median. What the runner does not tell is null.
    """
    import numpy as np

    times = np.concatenate([block.ravel() for block in blocks])
    outliers = float((times > OUTLIER * np.median(times)).mean())
    drift = drift_of([float(np.median(row)) for block in blocks for row in block])
    load, steal = (_mean_of(conditions, name) for name in ("other_load", "steal"))
    reasons = {
        f"{outliers:.0%} of the invocations took over {OUTLIER:g} times the median": outliers > OUTLIER_SHARE_MAX,
        f"the medians drift by {drift:+.0%}": abs(drift) > DRIFT_MAX,
        f"other programs used {load or 0:.0%} of the cores": (load or 0) > OTHER_LOAD_MAX,
        f"the hypervisor took {steal or 0:.0%} of the time": (steal or 0) > STEAL_MAX,
        f"the median's interval is {interval_share:.0%} wide": interval_share > INTERVAL_MAX,
    }
    governors = sorted({value for told in conditions for name, value in told.items() if name.startswith("governor")})
    return Noise(
        outlier_share=round(outliers, 6),
        drift=round(drift, 6),
        other_load=load,
        steal=steal,
        governor=", ".join(governors) or None,
        unstable=[reason for reason, holds in reasons.items() if holds],
    )


def _mean_of(conditions: Sequence[dict[str, str]], name: str) -> float | None:
    told = [float(block[name]) for block in conditions if name in block]
    return round(sum(told) / len(told), 4) if told else None


def drift_of(medians: Sequence[float]) -> float:
    """Return the change from the first round to the last as a share of the typical round; 0 without a sure trend."""
    if len(medians) < 5 or min(medians) == max(medians):
        return 0.0
    from scipy.stats import kendalltau, theilslopes

    numbers = range(len(medians))
    if kendalltau(numbers, medians).pvalue > TREND_P:
        return 0.0
    typical = sorted(medians)[len(medians) // 2]
    return float(theilslopes(medians, numbers)[0]) * (len(medians) - 1) / typical
