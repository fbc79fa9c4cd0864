"""Slices of the figures."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np

from brainseg.bidsapp.reports.mosaic import PLANES, Mosaic

BOX = ((0, 100), (0, 120), (0, 90))


def slices(*rows):
    return [(panel.plane, panel.index) for panel in Mosaic(np.eye(4), BOX, BOX, list(rows), 600).panels]


def test_a_single_sagittal_slice_is_beside_the_fissure():
    found = dict(slices([(plane, 1) for plane in PLANES]))
    assert 54 <= found["sagittal"] <= 58  # mm; the midline is at 50
    assert abs(found["axial"] - 45) <= 1 and abs(found["coronal"] - 60) <= 1


def test_several_slices_are_symmetric_about_the_midline():
    found = [index for _, index in slices([("sagittal", 6)])]
    assert all(abs(a + b - 99) <= 1 for a, b in zip(found, reversed(found), strict=True))


def test_positions_beside_the_origin_have_no_sign():
    affine, written = np.eye(4), []
    frame = Mosaic(affine, BOX, BOX, [[("axial", 1)]], 600)
    affine[2, 3] = -frame.panels[0].index - 0.3
    frame._write(SimpleNamespace(text=lambda at, words, *_, **__: written.append(words)))
    assert "z 0" in written and "z -0" not in written
