"""Plots for docs/. Matplotlib is needed only here, and only when a plot is asked for."""

from __future__ import annotations


def reliability_plot(path: str, bins: list[tuple[float, float, int]], title: str) -> None:
    """Write a reliability diagram (mean confidence against the share that was right) as PNG."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(5, 5), layout="constrained")
    axes.plot([0, 1], [0, 1], color="0.6", linewidth=1, label="perfect")
    axes.plot([b[0] for b in bins], [b[1] for b in bins], "o-", color="tab:blue", label="measured")
    axes.set(xlim=(0, 1.01), ylim=(0, 1.01), xlabel="published confidence", ylabel="share right", title=title)
    axes.legend(loc="upper left")
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
