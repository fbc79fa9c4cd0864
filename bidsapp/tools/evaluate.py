"""``brainseg evaluate``: score segmentations or registrations against reference labels."""

from __future__ import annotations

import argparse
from pathlib import Path

from ...training.evaluation import plot, registration, segmentation


def run(args: argparse.Namespace) -> int:
    """Score one file or a folder against reference labels and print the means; return the exit code.

    Parameters
    ----------
    args : Namespace
        The arguments of ``brainseg evaluate``.
    """
    if args.registration:
        pairs = registration.evaluate_pairs(args.ref, args.pred, args.registration, args.out)
        print(registration.summary_text(pairs))
        return 0
    frame = segmentation.evaluate_paths(
        args.ref,
        args.pred,
        args.mapping,
        args.out,
        mapping_pred=args.mapping_pred,
        table=args.table,
        resampled=args.resample,
        surfaces=not args.no_surfaces,
    )
    if args.plot:
        plot.write_plot(frame, Path(args.plot))
    for note in frame.attrs["notes"]:
        print(f"note: {note}")
    mean = segmentation.summarize(frame)
    print(mean.to_string(float_format=lambda value: f"{value:.3f}", na_rep="n/a"))
    print(f"mean Dice {mean['dice'].mean():.4f} over {len(mean)} structures")
    return 0
