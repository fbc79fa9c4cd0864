"""The label tables: complete, consistent, in BIDS form, and the arrays that are derived from them."""

import re

import numpy as np
import pytest

from brainseg.models.population import labels
from brainseg.training.data.sources import source_table


@pytest.fixture(params=["adult", "tissue"])
def table(request):
    return labels.load(request.param)


def test_rows_are_unique_and_in_order(table):
    rows = list(table)
    assert [r.index for r in rows] == sorted({r.index for r in rows})
    assert len({r.name for r in rows}) == len({r.abbreviation for r in rows}) == len(rows)
    assert rows[0].index == 0
    for row in rows:
        assert re.fullmatch(r"#[0-9a-f]{6}", row.color)
        assert row.tissue in labels.TISSUES
        assert row.partner in table.by_index


def test_tissue_table_is_the_decoders_order():
    assert tuple(row.name for row in labels.load("tissue")) == labels.TISSUES


def test_partners_are_mutual_and_named_alike():
    table = labels.load("adult")
    for row in table:
        partner = table[row.partner]
        assert partner.partner == row.index
        assert partner.tissue == row.tissue
        if row.name.startswith("Left-"):
            assert partner.name == row.name.replace("Left-", "Right-")
            assert row.index < partner.index
        elif not row.name.startswith("Right-"):
            assert row.partner == row.index


def test_unsided_views_agree():
    table = labels.load("adult")
    assert len(table.unsided) == len(table.right_of) == len(table.tissue_of) == 19
    assert table.unsided[0] == 0
    position = table.lookup("unsided")
    for k, (left, right) in enumerate(zip(table.unsided, table.right_of, strict=True)):
        assert position[left] == position[right] == k
        assert labels.TISSUES[table.tissue_of[k]] == table[left].tissue


def test_lookups():
    table = labels.load("adult")
    tissue, dseg = table.lookup("tissue"), table.lookup("dseg")
    for row in table:
        assert labels.TISSUES[tissue[row.index]] == row.tissue
        assert dseg[row.index] == labels.DSEG[row.tissue]
    assert dseg[[3, 2, 4, 24, 10]].tolist() == [1, 2, 3, 3, 1]
    assert table.lookup("tissue", 1000).shape == (1000,)
    with pytest.raises(ValueError, match="column"):
        table.lookup("color")


@pytest.mark.parametrize("name", ["adult", "fetal", "fetal-callosum"])
def test_totals_hold_the_structures_of_their_maps(name):
    table = labels.load(name)
    for total in labels.totals().values():
        if not total.map:
            continue
        value = labels.DSEG_NAMES.index(total.map) + 1
        in_map = {label.index for label in table if labels.DSEG[label.tissue] == value}
        assert {label.index for label in table if label.total in total.parts} == in_map


def test_cortex_has_no_cerebellum_and_no_deep_structure():
    found = labels.add_up({3: 1.0, 42: 1.0, 8: 10.0, 10: 100.0, 24: 1000.0}, labels.load("adult"))
    assert (found["cortex_gm"], found["cerebellar_gm"], found["subcortical_gm"]) == (2.0, 10.0, 100.0)
    assert (found["total_gm"], found["total_csf"], found["total_wm"]) == (112.0, 1000.0, 0.0)


def test_source_table_trains_what_the_label_table_holds():
    source, table = source_table(), labels.load("adult")
    assert set(source.structure.tolist()) == set(table.unsided)
    for value, structure, side in zip(source.values, source.structure, source.side, strict=True):
        paired = structure > 0 and table[int(structure)].partner != structure
        assert (side >= 0) == paired, value
        if paired and value in table.by_index:
            assert table[int(value)].name.startswith("Left-" if side == 1 else "Right-")
    # both sides of a structure look alike
    contrast = dict(zip(source.values.tolist(), source.contrast.tolist(), strict=True))
    for row in table:
        assert contrast[row.index] == contrast[row.partner]
    for means in source.means.values():
        known = means[~np.isnan(means)]
        assert known.min() >= 0 and known.max() <= 255
