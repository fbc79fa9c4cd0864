"""A figure of scores by structure."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ...models.io import atomic

PANELS = (
    ("dice", "Dice", (0.0, 1.0)),
    ("hd95_mm", "HD95 (mm)", None),
    ("assd_mm", "mean surface distance (mm)", None),
    ("volume_error_percent", "volume error (%)", None),
)


def write_plot(frame: pd.DataFrame, out: Path) -> Path:
    """Draw every case as a dot and the mean as a line: one row per structure, one panel per score.

    Parameters
    ----------
    frame : DataFrame
        Scores from :func:`brainseg.training.evaluation.segmentation.evaluate_paths`.
    out : Path
        File to write (.png, .svg or .pdf).

    Returns
    -------
    Path
        The file.
    """
    panels = [panel for panel in PANELS if frame[panel[0]].notna().any()]
    order = frame.groupby("name", sort=False)["dice"].mean().sort_values().index.tolist()
    rows = {name: row for row, name in enumerate(order)}
    size = (2.0 + 3.2 * max(len(panels), 1), 1.2 + 0.24 * len(order))
    figure = Figure(figsize=size)
    axes = figure.subplots(1, max(len(panels), 1), sharey=True, squeeze=False)
    spread = np.random.default_rng(0)
    for axis, (column, title, limits) in zip(axes[0], panels, strict=False):
        where = frame["name"].map(rows) + spread.uniform(-0.18, 0.18, len(frame))
        axis.scatter(frame[column], where, s=11, alpha=0.55, linewidths=0, color="#2b6cb0")
        mean = frame.groupby("name")[column].mean().reindex(order)
        axis.vlines(mean, np.arange(len(order)) - 0.35, np.arange(len(order)) + 0.35, color="#c53030")
        if column == "volume_error_percent":
            axis.axvline(0, color="0.5", linewidth=0.8)
        if limits:
            axis.set_xlim(*limits)
        axis.set_title(title, fontsize=9)
        axis.tick_params(labelsize=7)
        axis.grid(axis="x", color="0.9")
        axis.set_axisbelow(True)
    axes[0, 0].set_yticks(range(len(order)), order)
    axes[0, 0].set_ylim(-0.6, len(order) - 0.4)
    figure.suptitle(f"{frame['case'].nunique()} cases; lines are means", fontsize=9)
    figure.tight_layout()
    with atomic.replacing(out, keep_extension=True) as temporary:
        figure.savefig(temporary, dpi=130)
    return out
