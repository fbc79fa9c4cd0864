"""The parcels of Desikan and Killiany that come with the program: FreeSurfer's indices, sides and places."""

import numpy as np
import pytest

from brainseg.models.parcellation import atlas as atlases
from brainseg.models.parcellation import names, tables
from brainseg.models.population import labels
from brainseg.models.registration import reference
from brainseg.workflows.parcellation import init_parcellation_wf

NAME = "DesikanKilliany"


@pytest.fixture(scope="module")
def atlas():
    return atlases.load(names.parse(NAME))


@pytest.fixture(scope="module")
def template():
    return reference.load("MNI152NLin2009cAsym")


def test_indices_and_names_are_those_of_freesurfer(atlas):
    found = {parcel.index: parcel.name for parcel in atlas.parcels}
    assert len(found) == 68 and atlas.unnamed == () and atlas.whole
    numbers = [k for k in range(1, 36) if k != 4]  # 4 is the corpus callosum, which is no cortex
    assert list(found) == [1000 + k for k in numbers] + [2000 + k for k in numbers]
    known = {1001: "bankssts", 1005: "cuneus", 1024: "precentral", 1033: "temporalpole", 1035: "insula"}
    for index, name in known.items():
        assert (found[index], found[index + 1000]) == (f"ctx-lh-{name}", f"ctx-rh-{name}")
    table = labels.load(NAME)
    assert all(table[table[k].partner].partner == k and table[k].tissue == "gm" for k in found)


def test_methods_say_how_far_cortex_is_filled(atlas):
    text = " ".join(init_parcellation_wf(atlases_named=[NAME]).visit_desc().split())
    assert atlas.whole and "within 4 mm, or at any distance where an atlas divides the whole cortex" in text


def test_license_and_citation_are_named():
    about = tables.about(names.parse(NAME))
    assert about["license"] == "BSD-3-Clause" and "Ross Markello" in about["license_text"]
    assert "10.1016/j.neuroimage.2006.01.021" in about["cited"]


def test_parcels_divide_the_cortex_of_the_template(atlas, template):
    parcels, own = atlas.image.data.numpy(), template.structures.data.numpy()
    assert parcels.shape == own.shape and np.allclose(atlas.image.affine, template.structures.affine)
    for cortex, first in ((3, 1000), (42, 2000)):
        inside = parcels[own == cortex]
        assert (inside > 0).mean() > 0.99
        assert set(np.unique(inside)) <= {0, *range(first + 1, first + 36)}
    assert not parcels[~np.isin(own, (3, 42))].any()


def test_places_are_anatomical(atlas, template):
    """Left is left; poles are at the ends; the insula is within the temporal and frontal lobe."""
    data = atlas.image.data.numpy()

    def center(index):
        where = np.argwhere(data == index).mean(0)
        return atlas.image.affine[:3, :3] @ where + atlas.image.affine[:3, 3]

    for k in range(1, 36):
        if k != 4:
            left, right = center(1000 + k), center(2000 + k)
            assert left[0] < 0 < right[0]
            assert abs(left[0] + right[0]) < 10 and np.abs(left[1:] - right[1:]).max() < 12, k
    assert center(1032)[1] > center(1028)[1] > center(1024)[1] > center(1022)[1] > center(1011)[1]
    assert center(1033)[2] < center(1030)[2] < center(1031)[2] < center(1029)[2]
    assert abs(center(1023)[0]) < 12 and abs(center(1025)[0]) < 15, "medial"
    assert 30 < -center(1035)[0] < 45


def test_all_parcels_belong_to_the_cortex_of_their_side(atlas, template):
    found = atlases.places(atlas, template.structures, labels.load("adult"))
    assert set(found.structures) == {3, 42} == found.dense and found.elsewhere == ()
    assert all(index < 2000 for index in found.structures[3])
    assert all(index > 2000 for index in found.structures[42])
