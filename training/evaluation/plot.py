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

COLORS = ("#2b6cb0", "#dd6b20", "#2f855a", "#805ad5", "#b83280", "#4a5568")
"""Colors of methods."""


def _methods(frame: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return the scores by method; those of one method have no name."""
    if "method" not in frame:
        return {"": frame}
    return {name: frame[frame["method"] == name] for name in dict.fromkeys(frame["method"])}


def write_plot(frame: pd.DataFrame, out: Path) -> Path:
    """Draw every case as a dot and the mean as a line: one row per structure, one panel per score.

    Parameters
    ----------
    frame : DataFrame
        Scores from :func:`brainseg.training.evaluation.segmentation.evaluate_paths`; with a column ``method``
        every method has its color and its place within the row.
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
    methods = _methods(frame)
    size = (2.0 + 3.2 * max(len(panels), 1), 1.2 + (0.12 + 0.12 * len(methods)) * len(order))
    figure = Figure(figsize=size)
    axes = figure.subplots(1, max(len(panels), 1), sharey=True, squeeze=False)
    spread = np.random.default_rng(0)
    for axis, (column, title, limits) in zip(axes[0], panels, strict=False):
        for place, (name, own) in enumerate(methods.items()):
            half = 0.35 / len(methods)
            shift = 2 * half * (len(methods) - 1 - 2 * place) / 2
            where = own["name"].map(rows) + shift + spread.uniform(-half / 2, half / 2, len(own))
            color = COLORS[place % len(COLORS)]
            axis.scatter(own[column], where, s=11, alpha=0.55, linewidths=0, color=color, label=name)
            mean = own.groupby("name")[column].mean().reindex(order)
            at = np.arange(len(order)) + shift
            axis.vlines(mean, at - half, at + half, color="#c53030" if len(methods) == 1 else color)
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
    if len(methods) > 1:
        handles, labels = axes[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="lower center", ncols=len(methods), fontsize=8, frameon=False)
    figure.tight_layout(rect=(0, 0.25 / size[1] if len(methods) > 1 else 0, 1, 1))
    with atomic.replacing(out, keep_extension=True) as temporary:
        figure.savefig(temporary, dpi=130)
    return out
