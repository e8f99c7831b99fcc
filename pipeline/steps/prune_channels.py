"""Structured pruning: whole filters and neurons are removed, shapes shrink, then fine-tuning.

Filters are ranked by the L1 norm of their kernel (Li, Kadav, Durdanovic, Samet, Graf 2017,
"Pruning filters for efficient convnets", arXiv:1608.08710), scaled by the gamma of the batch
normalization behind them (Liu et al. 2017, "Learning efficient convolutional networks through
network slimming", arXiv:1708.06519). How many stay is given as one ratio, as a width for each
layer, or as a budget. A budget is met greedily: the next cut is the one that costs the least
validation loss for what it saves, as measured, before any fine-tuning, with that cut alone.

What is removed was not always zero, so the fine-tuning is a part of the technique. Magnitude
pruning comes after this step in a recipe, since fine-tuning would fill its zeros again.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, model_validator

from pipeline.errors import StepFailed
from pipeline.steps._fine_tuning import FineTuning

if TYPE_CHECKING:
    import numpy as np

    from pipeline.steps._channel_graph import ChannelGraph
    from pipeline.workload import Workload

CONSUMES = "keras"
PRODUCES = "keras"
LIBRARIES = ("tensorflow", "tf-keras", "numpy")

CHOICES = ("keep_ratio", "widths", "parameters_max", "multiply_accumulates_max")
SENSITIVITY_RATIOS = (0.875, 0.75, 0.625, 0.5, 0.375, 0.25, 0.125, 0.0625)


class Config(FineTuning):
    """How many channels stay, by exactly one of the first four fields, and the fine-tuning."""

    keep_ratio: float | None = Field(None, gt=0, lt=1, description="Share of the channels that every layer keeps.")
    widths: dict[str, Annotated[int, Field(gt=0)]] | None = Field(
        None, min_length=1, description="Channels that a layer keeps, by its name; layers left out keep all."
    )
    parameters_max: int | None = Field(None, gt=0, description="Most parameters that the Keras model may have.")
    multiply_accumulates_max: int | None = Field(
        None, gt=0, description="Most multiply-accumulates of convolutions and dense layers for one sample."
    )
    channels_multiple_of: int = Field(
        1, gt=0, le=1024, description="Widths are cut to multiples of this, as vector units like them."
    )
    epochs: int = Field(6, gt=0, le=10_000, description="Epochs of fine-tuning.")

    @model_validator(mode="after")
    def _one_choice(self) -> Config:
        given = [name for name in CHOICES if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"received {', '.join(given) or 'none'}; expected exactly one of {', '.join(CHOICES)}")
        odd = [name for name, width in (self.widths or {}).items() if width % self.channels_multiple_of]
        if odd:
            raise ValueError(
                f"the widths of {', '.join(odd)} are no multiples of channels_multiple_of {self.channels_multiple_of}"
            )
        return self


def run(source: Path, workload: Workload, config: Config, out: Path, report: Any) -> dict[str, Any]:
    """Write the narrower, fine-tuned `model.h5` into `out`; return widths, costs, sensitivity and losses.

    Raises StepFailed when no layer can be pruned, when `widths` do not fit the model, when the
    budget is out of reach, or when fine-tuning filled the zeros of an earlier pruning.
    """
    from pipeline.keras_legacy import make_repeatable
    from pipeline.steps._channel_graph import cut, importance, trace
    from pipeline.steps._fit import fit, load_model, save_model
    from pipeline.steps._promises import kernels_of, refuse_lost_zeros

    make_repeatable(config.seed)
    model = load_model(source)
    graph = trace(model)
    refuse_unprunable(graph)
    scores = importance(model, graph)
    full = [len(group.channels) for group in graph.groups]
    facts: dict[str, Any] = {}
    if config.widths:
        widths = given_widths(graph, config.widths)
    elif config.keep_ratio:
        widths = [width_for(config.keep_ratio, width, config.channels_multiple_of) for width in full]
    else:
        widths, curves = within_budget(model, graph, scores, workload, config)
        facts["sensitivity"] = [
            {"layers": group.layers, "validation_loss": {str(width): round(loss, 6) for width, loss in curve.items()}}
            for group, curve in zip(graph.groups, curves, strict=True)
        ]
    everything, kept = graph.kept(full, scores), graph.kept(widths, scores)
    pruned = cut(model, graph, kept)
    narrowed = kernels_of(pruned).values()
    facts.update(fit(pruned, workload, config.training(), config.seed, report))
    fix = "put the prune step behind prune_channels"
    refuse_lost_zeros("prune_channels", narrowed, kernels_of(pruned).values(), fix)
    save_model(pruned, out)
    return {
        "widths": _before_and_after(graph.widths(everything), graph.widths(kept)),
        "not_pruned": graph.obstacles,
        **_before_and_after(graph.cost(everything), graph.cost(kept)),
        **facts,
    }


def refuse_unprunable(graph: ChannelGraph) -> None:
    """Raise StepFailed, with each layer's reason, when no channel of the model can be removed."""
    if not graph.groups:
        raise StepFailed(
            "the model has no layer whose channels can be pruned",
            received="; ".join(f"{name}: {reason}" for name, reason in graph.obstacles.items()),
            expected="at least one convolution or dense layer before the last one",
            fix="take the prune_channels step out of the recipe",
        )


def width_for(ratio: float, width: int, multiple: int) -> int:
    """Return the multiple of `multiple` nearest to that share of `width`: at least one, at most all channels."""
    return min(width, max(1, int(ratio * width / multiple + 0.5)) * multiple)


def given_widths(graph: ChannelGraph, asked: dict[str, int]) -> list[int]:
    """Return the width of each group when the layers named in `asked` get theirs, and the others keep all."""
    places = {name: place for place, group in enumerate(graph.groups) for name in group.layers}
    widths = [len(group.channels) for group in graph.groups]
    said: dict[int, str] = {}
    for name, width in asked.items():
        if name not in places:
            raise StepFailed(
                f"the layer {name} cannot be pruned",
                received=f"{name}: {graph.obstacles.get(name, 'no layer of the model that has filters or neurons')}",
                expected=f"layers among {', '.join(places)}",
                fix="correct `widths` of the prune_channels step",
            )
        place = places[name]
        if width > len(graph.groups[place].channels):
            raise StepFailed(
                f"the layer {name} is narrower than the width that was asked for",
                received=f"{name} = {width}",
                expected=f"1 to {len(graph.groups[place].channels)}",
                fix="lower it in `widths` of the prune_channels step",
            )
        if place in said and widths[place] != width:
            raise StepFailed(
                f"the layers {said[place]} and {name} are tied: their channels are added or passed on one to one",
                received=f"{said[place]} = {widths[place]}, {name} = {width}",
                expected="one width for both",
                fix="name only one of them in `widths` of the prune_channels step",
            )
        said[place], widths[place] = name, width
    return widths


def within_budget(
    model: Any, graph: ChannelGraph, scores: np.ndarray, workload: Workload, config: Config
) -> tuple[list[int], list[dict[int, float]]]:
    """Return the width of each group within the config's budget, and the sensitivity that chose it."""
    metric = "parameters" if config.parameters_max else "multiply_accumulates"
    budget = getattr(config, f"{metric}_max")

    def cost(widths: list[int]) -> int:
        return graph.cost(graph.kept(widths, scores))[metric]

    tried = [tried_widths(len(group.channels), config.channels_multiple_of) for group in graph.groups]
    least = cost([min(widths) for widths in tried])
    if least > budget:
        raise StepFailed(
            "the budget is out of the reach of channel pruning",
            received=f"{metric}_max = {budget}",
            expected=f"at least {least}, which the narrowest widths cost: {SENSITIVITY_RATIOS[-1]:.0%} of the channels",
            fix="raise the budget of the prune_channels step, or lower its `channels_multiple_of`",
        )
    curves = sensitivity(model, graph, scores, workload, tried)
    return greedy_widths(curves, cost, budget, config.channels_multiple_of), curves


def tried_widths(width: int, multiple: int) -> list[int]:
    """Return the widths at which a layer's sensitivity is measured, all its channels first."""
    return list(dict.fromkeys([width, *(width_for(ratio, width, multiple) for ratio in SENSITIVITY_RATIOS)]))


def sensitivity(
    model: Any, graph: ChannelGraph, scores: np.ndarray, workload: Workload, tried: list[list[int]]
) -> list[dict[int, float]]:
    """Return the validation loss by width for each group, that group alone being cut."""
    from pipeline.data.streaming import chunks, is_lazy
    from pipeline.keras_legacy import keras
    from pipeline.steps._channel_graph import cut

    full = [widths[0] for widths in tried]
    samples, labels = workload.load("validation")
    # One model for all: to build and trace a narrow one for each width would take longer than to run it.
    probe = cut(model, graph, graph.kept(full, scores))
    loss_of = workload.task.learning(keras)["loss"]
    # In memory, preprocessed once for all widths; else anew for each, a part at a time.
    parts = [(part, None if is_lazy(samples) else workload.preprocess(samples)) for part in chunks(samples, workload)]

    def loss(widths: list[int]) -> float:
        for name, weights in graph.weights(model, graph.kept(widths, scores), zeros=True).items():
            probe.get_layer(name).set_weights(weights)
        total = 0.0
        for part, held in parts:
            prepared = workload.preprocess(samples[part]) if held is None else held
            targets = workload.task.targets(prepared, labels[part])
            total += float(loss_of(targets, probe.predict(prepared, batch_size=1000, verbose=0))) * len(prepared)
        return total / len(samples)

    return [
        {width: loss([*full[:place], width, *full[place + 1 :]]) for width in widths}
        for place, widths in enumerate(tried)
    ]


def greedy_widths(
    curves: list[dict[int, float]], cost: Callable[[list[int]], int], budget: int, multiple: int
) -> list[int]:
    """Return widths whose cost is within the budget, by the steps that lose least for what they save.

    curves: for each group, validation loss by width, the present width included; the narrowest
    of all must be within the budget.
    """
    widths = wider = [max(curve) for curve in curves]
    place = 0
    while cost(widths) > budget:
        steps = []
        for place, curve in enumerate(curves):
            width = max((width for width in curve if width < widths[place]), default=None)
            if width is not None:
                narrower = [*widths[:place], width, *widths[place + 1 :]]
                rise = curve[width] - curve[widths[place]]
                steps.append((rise / (cost(widths) - cost(narrower)), place, narrower))
        wider = widths
        _, place, widths = min(steps)
    # The last step goes only as far as it has to.
    between = (
        [*widths[:place], width, *widths[place + 1 :]]
        for width in range(wider[place] - 1, widths[place], -1)
        if width % multiple == 0
    )
    return next((enough for enough in between if cost(enough) <= budget), widths)


def _before_and_after(before: dict[str, int], after: dict[str, int]) -> dict[str, dict[str, int]]:
    return {name: {"before": before[name], "after": after[name]} for name in before}
