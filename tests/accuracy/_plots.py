"""Plots for docs/. Matplotlib is needed only here, and only when a plot is asked for."""

from __future__ import annotations


def reliability_plot(path: str, bins: list[tuple[float, float, int]], title: str) -> None:
    """Write a reliability diagram (mean confidence against the share that was right) as PNG."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (axes, counts) = pyplot.subplots(
        2, 1, figsize=(6, 7), layout="constrained", sharex=True, height_ratios=(5, 1)
    )
    middle, right = [b[0] for b in bins], [b[1] for b in bins]
    around = [_wilson(share, n) for _, share, n in bins]
    below = [max(0.0, share - low) for share, (low, _) in zip(right, around, strict=True)]
    above = [max(0.0, high - share) for share, (_, high) in zip(right, around, strict=True)]
    axes.plot([0, 1], [0, 1], color="0.55", linewidth=1, linestyle="--", label="as it should be")
    axes.errorbar(
        middle, right, yerr=(below, above), fmt="o-", color="#1f5fa8", capsize=3, label="measured, 90 % interval"
    )
    lowest = max(0.0, min(*middle, *right) - 0.1)
    axes.set(xlim=(lowest, 1.01), ylim=(lowest, 1.01), ylabel="share that was right", title=title)
    axes.legend(loc="upper left", frameon=False)
    counts.bar(middle, [b[2] for b in bins], width=0.008, color="#1f5fa8")
    counts.set(xlabel="published confidence", ylabel="samples")
    for one in (axes, counts):
        one.grid(alpha=0.25)
        one.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def _wilson(share: float, n: int, z: float = 1.645) -> tuple[float, float]:
    """Wilson's score interval of a share of n samples."""
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * (share * (1 - share) / n + z * z / (4 * n * n)) ** 0.5
    return middle - half, middle + half
