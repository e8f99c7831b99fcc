"""The lines that tell of the device a file was measured on."""

from __future__ import annotations

from typing import Any

from pipeline.learning_task import in_words


def device_lines(latency: Any, device: Any) -> list[str]:
    """Return the latency, and what else the device told."""
    reused = f", reused from {device.measured_at}" if device.reused else ""
    lines = [f"device      {device.device.name} ({device.device.device_class}), which gives no times{reused}"]
    if latency:  # whose line names the device as well
        lines = [f"latency     {_latency(latency)}"]
        if latency.first_answer_ms and latency.first_inference_ms:
            lines.append(
                f"cold start  first answer {latency.first_answer_ms.value:.2f} ms after the file is opened, "
                f"{latency.first_inference_ms.value:.2f} ms of them the first inference"
            )
        if latency.noise:
            lines.append(f"steadiness  {_noise(latency.noise)}")
    if device.memory_bytes:
        peak = f", {device.peak_resident_bytes.value:,.0f} at the peak" if device.peak_resident_bytes else ""
        lines.append(f"memory      {device.memory_bytes.value:,.0f} bytes over the process without the file{peak}")
    for name, figure in device.figures.items():
        kind = " (estimate)" if figure.estimated else ""
        note = f"; {figure.note}" if figure.note else ""
        lines.append(f"{name:<11} {number(figure.value)}{kind}{note}")
    if check := device.device_check:
        lines.append(
            f"on device   {in_words(check.metric, check.score)} of {check.test_samples:,} test samples, "
            f"host {in_words(check.metric, check.host_score)}; "
            f"{check.differences} of {check.samples:,} validation answers differ"
        )
    if device.files:
        lines.append(f"beside it   {', '.join(device.files)}")
    if device.conditions:
        lines.append(f"conditions  {', '.join(f'{name} {value}' for name, value in device.conditions.items())}")
    return lines


def _noise(noise: Any) -> str:
    """Return how steady it was: "unstable" only with its reasons."""
    told = [f"{noise.outlier_share:.1%} outliers", f"drift {noise.drift:+.1%}" if noise.drift else "no drift"]
    told += [f"others used {noise.other_load:.0%} of the cores"] if noise.other_load is not None else []
    told += [f"governor {noise.governor}"] if noise.governor else []
    return ", ".join(told) + (f"; unstable: {'; '.join(noise.unstable)}" if noise.unstable else "")


def _latency(latency: Any) -> str:
    speedup = f", {latency.speedup.value:.2f}× as fast as the float32 file" if latency.speedup else ""
    reused = f", reused from {latency.measured_at}" if latency.reused else ""
    threads = f"{latency.threads} thread" + ("s" if latency.threads > 1 else "")
    return (
        f"p50 {latency.p50_us:.1f} µs, p90 {latency.p90_us:.1f}, p99 {latency.p99_us:.1f} on {latency.device.name} "
        f"({latency.device.device_class}), {threads}, {latency.kernels}{speedup}{reused}"
    )


def number(value: Any) -> str:
    if isinstance(value, dict):
        return f"{value['limit']:g} on {value['device_class']}"
    return f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"
