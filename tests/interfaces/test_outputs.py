"""The sink: names, types, geometry, sidecars and tables of the derivatives, and that none is ever partial."""

import doctest
import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest
from isal import isal_zlib

from brainseg.interfaces import intracranial
from brainseg.interfaces.io import dataset, derivatives, files, rounding
from brainseg.models.errors import BrainsegError
from brainseg.models.population import labels
from brainseg.models.templates import bundled
from helpers import DATA

UNITS = {"outputs_T1w": "sub-01_T1w", "outputs_ses_FLAIR": "sub-02_ses-1_acq-x_run-2_FLAIR"}


def write(participant_session, **more):
    """Run the sink on a participant-session; returns the paths that it says it wrote."""
    here = Path.cwd()
    os.chdir(participant_session.out.parent)
    try:
        return participant_session.write(**more)
    finally:
        os.chdir(here)


@pytest.fixture(scope="module", autouse=True)
def small_template(stages):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bundled, "load", stages.small_template)
        yield


@pytest.fixture(scope="module")
def participant_sessions(stages, tmp_path_factory):
    """A participant-session by each name, its derivatives written."""
    out = {}
    for tree, name in UNITS.items():
        participant_session = stages.participant_session(tmp_path_factory.mktemp(tree), name)
        out[tree] = participant_session, write(participant_session, num_threads=2)
    return out


@pytest.fixture
def participant_session(participant_sessions):
    return participant_sessions["outputs_T1w"][0]


@pytest.fixture
def path(participant_session):
    return lambda ending: participant_session.out / "sub-01" / "anat" / f"sub-01_{ending}"


@pytest.mark.parametrize("module", [files, derivatives, dataset])
def test_examples_in_the_documentation(module):
    assert doctest.testmod(module).failed == 0


@pytest.mark.parametrize("expected", UNITS)
def test_tree(participant_sessions, stages, expected):
    participant_session, outputs = participant_sessions[expected]
    assert stages.tree(participant_session.out) == (DATA / f"{expected}.txt").read_text().split()
    written = {str(path) for path in participant_session.out.rglob("anat/*")}
    assert set(outputs.out_files) == written
    assert outputs.notes == ["One thing.", "Another thing."]
    assert outputs.stripped is False


@pytest.mark.parametrize(
    "ending, dtype",
    [
        ("desc-preproc_T1w", "int16"),
        ("desc-brain_mask", "uint8"),
        ("dseg", "int16"),
        ("desc-aseg_dseg", "int16"),
        ("desc-tissue_dseg", "uint8"),
        *((f"label-{tissue}_probseg", "float32") for tissue in ("GM", "WM", "CSF")),
        ("space-MNI152NLin2009cAsym_desc-preproc_T1w", "int16"),
        ("space-MNI152NLin2009cAsym_desc-brain_mask", "uint8"),
        ("space-MNI152NLin2009cAsym_dseg", "int16"),
    ],
)
def test_types_and_geometry(participant_session, stages, path, ending, dtype):
    image = nib.load(path(f"{ending}.nii.gz"))
    assert image.get_data_dtype() == dtype
    header = image.header
    assert (image.dataobj.slope, image.dataobj.inter) == (1.0, 0.0)
    assert header.get_xyzt_units() == ("mm", "sec")
    np.testing.assert_allclose(header.get_qform(), header.get_sform(), atol=1e-4)
    if ending.startswith("space-"):
        grid = stages.small_template().image.grid
        assert int(header["sform_code"]) == int(header["qform_code"]) == 4
    else:
        source = nib.load(participant_session.source)
        grid = stages.Volume(stages.torch.empty(source.shape), source.affine).grid
        # the source has only an sform, of code 2
        assert int(header["sform_code"]) == int(header["qform_code"]) == 2
    assert image.shape == grid.shape
    np.testing.assert_array_equal(image.affine, grid.affine)


def test_values(participant_session, stages, path):
    def read(ending):
        return np.asarray(nib.load(path(ending)).dataobj)

    source = np.asarray(nib.load(participant_session.source).dataobj)
    np.testing.assert_array_equal(read("desc-preproc_T1w.nii.gz"), source)
    mask = read("desc-brain_mask.nii.gz")
    np.testing.assert_array_equal(mask, stages.mask_of(source))
    structures, table = read("desc-aseg_dseg.nii.gz"), labels.load("adult")
    assert set(np.unique(structures)) == set(table.by_index)
    np.testing.assert_array_equal(read("dseg.nii.gz"), table.lookup("dseg")[structures])
    np.testing.assert_array_equal(read("desc-tissue_dseg.nii.gz"), table.lookup("tissue")[structures])
    total = sum(read(f"label-{tissue}_probseg.nii.gz") for tissue in ("GM", "WM", "CSF"))
    np.testing.assert_allclose(total, mask, atol=1e-3)
    moved = {end: read(f"space-MNI152NLin2009cAsym_{end}.nii.gz") for end in ("desc-brain_mask", "dseg")}
    np.testing.assert_array_equal(moved["dseg"] > 0, moved["desc-brain_mask"] > 0)
    grown = moved["desc-brain_mask"].sum() * 5**3 / (mask.sum() * 4**3)
    assert grown == pytest.approx(np.linalg.det(stages.MATRIX), rel=0.03)


def test_volumes(participant_session, path):
    lines = [line.split("\t") for line in path("desc-aseg_volumes.tsv").read_text().splitlines()]
    assert lines[0] == [*derivatives.VOLUME_COLUMNS, *intracranial.COLUMNS]
    rows = {int(row[0]): dict(zip(lines[0], row, strict=True)) for row in lines[1:]}
    assert list(rows) == [label.index for label in labels.load("adult") if label.index]
    assert (rows[17]["name"], rows[17]["hemisphere"]) == ("Left-Hippocampus", "L")
    assert (rows[53]["hemisphere"], rows[16]["hemisphere"]) == ("R", "n/a")
    structures = np.asarray(nib.load(path("desc-aseg_dseg.nii.gz")).dataobj)
    hard = (structures == 17).sum() * 64
    assert float(rows[17]["label_volume_mm3"]) == hard
    assert float(rows[17]["volume_mm3"]) == pytest.approx(0.99 * hard, abs=0.01)
    brain = np.asarray(nib.load(path("desc-brain_mask.nii.gz")).dataobj).sum() * 64
    assert float(rows[17]["fraction_of_brain"]) == pytest.approx(0.99 * hard / brain, abs=1e-6)
    assert (rows[17]["uncertainty"], rows[53]["uncertainty"]) == ("0.0625", "n/a")
    assert {(row["intracranial_mm3"], row["fraction_of_intracranial"]) for row in rows.values()} == {
        ("n/a", "n/a")
    }
    ends = [[rows[k][f"volume_{end}_mm3"] for end in ("low", "high")] for k in (17, 53)]
    assert ends == [["1000.00", "1500.12"], ["n/a", "n/a"]]
    about = json.loads(path("desc-aseg_volumes.json").read_text())
    assert about["Notes"] == ["One thing.", "Another thing."]
    assert set(lines[0]) <= set(about)
    assert about["IntracranialVolume"] == {"Value": None, "Reason": intracranial.UNMEASURED.reason}


def test_intracranial_volume(stages, tmp_path):
    participant_session = stages.participant_session(tmp_path, "sub-01_T1w")
    mask = Path(participant_session.inputs["in_mask"])
    measured = intracranial.write(tmp_path / "measured.json", intracranial.Measured(1.5e6, "", 0.01))
    written = write(participant_session, in_intracranial=measured, in_intracranial_mask=str(mask))
    anat = participant_session.out / "sub-01" / "anat"
    image = nib.load(anat / "sub-01_label-intracranial_mask.nii.gz")
    assert str(anat / "sub-01_label-intracranial_mask.nii.gz") in written.out_files
    assert image.get_data_dtype() == "uint8"
    np.testing.assert_array_equal(image.affine, nib.load(participant_session.source).affine)
    brain = np.asarray(nib.load(anat / "sub-01_desc-brain_mask.nii.gz").dataobj)
    np.testing.assert_array_equal(np.asarray(image.dataobj), brain)
    about = json.loads((anat / "sub-01_label-intracranial_mask.json").read_text())
    assert about["Type"] == "ROI" and about["Sources"] == ["bids:raw:sub-01/anat/sub-01_T1w.nii.gz"]
    lines = [line.split("\t") for line in (anat / "sub-01_desc-aseg_volumes.tsv").read_text().splitlines()]
    for row in (dict(zip(lines[0], line, strict=True)) for line in lines[1:]):
        assert row["intracranial_mm3"] == "1500000.00"
        share = float(row["volume_mm3"]) / 1.5e6
        assert float(row["fraction_of_intracranial"]) == pytest.approx(share, abs=1e-6)
    about = json.loads((anat / "sub-01_desc-aseg_volumes.json").read_text())
    assert about["IntracranialVolume"] == {"Value": 1500000.0, "Units": "mm^3"}
    assert set(lines[0]) <= set(about)


def test_years_are_written_as_bids_names_them(stages, tmp_path):
    participant_session = stages.participant_session(tmp_path, "sub-01_T1w")
    measures = json.loads(Path(participant_session.inputs["in_measures"]).read_text())
    path = tmp_path / "with_age.json"
    path.write_text(json.dumps(measures | {"age": {"age": 40.0, "unit": "years"}}))
    write(participant_session, in_measures=str(path))
    anat = participant_session.out / "sub-01" / "anat"
    about = json.loads((anat / "sub-01_desc-aseg_volumes.json").read_text())
    assert (about["Age"]["Value"], about["Age"]["Units"]) == (40.0, "year")


def test_a_missing_intracranial_volume_has_a_reason(stages, tmp_path):
    participant_session = stages.participant_session(tmp_path, "sub-01_T1w")
    measured = intracranial.write(tmp_path / "measured.json", intracranial.Measured(None, "no skull"))
    write(participant_session, in_intracranial=measured)
    anat = participant_session.out / "sub-01" / "anat"
    assert not list(anat.glob("*intracranial*"))
    about = json.loads((anat / "sub-01_desc-aseg_volumes.json").read_text())
    assert about["IntracranialVolume"] == {"Value": None, "Reason": "no skull"}


@pytest.mark.parametrize("expected", UNITS)
def test_sidecars(participant_sessions, expected):
    participant_session, outputs = participant_sessions[expected]
    suffix = participant_session.source.name.split(".")[0].split("_")[-1]
    sidecars = [Path(name) for name in outputs.out_files if name.endswith(".json")]
    # The metrics of quality control stand alone.
    for sidecar in (path for path in sidecars if not path.name.endswith("_metrics.json")):
        about = json.loads(sidecar.read_text())
        described = [
            p for p in sidecar.parent.iterdir() if p.name.split(".")[0] == sidecar.stem and p != sidecar
        ]
        assert len(described) == 1
        if f"desc-preproc_{suffix}" in sidecar.name:
            assert about["SkullStripped"] is False
        if "_mask" in sidecar.name:
            assert about["Type"] == "Brain"
        if "space-" in sidecar.name:
            assert about["SpatialReference"].startswith("https://")
        assert about["Sources"]
        for uri in about["Sources"]:
            _, name, relative = uri.split(":", 2)
            assert (
                {"": participant_session.out, "raw": participant_session.bids}[name] / relative
            ).is_file(), uri
        for relative in about.get("RawSources", []):
            assert (participant_session.bids / relative).is_file()


def test_sloppy_results_say_so(stages, tmp_path):
    participant_session = stages.participant_session(tmp_path)
    write(participant_session, sloppy=True)
    sidecars = list(participant_session.out.rglob("anat/*.json"))
    assert all(json.loads(path.read_text())["Sloppy"] for path in sidecars)
    assert len(sidecars) > 10


def test_stripped_input_is_said_to_be(stages, tmp_path):
    participant_session = stages.participant_session(tmp_path)
    assert write(participant_session, stripped=True).stripped is True
    for path in participant_session.out.rglob("*desc-preproc_T1w.json"):
        assert json.loads(path.read_text())["SkullStripped"] is True


@pytest.mark.slow
def test_the_validator_finds_no_error(participant_sessions):
    program = shutil.which("bids-validator-deno", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if program is None:
        pytest.skip("bids-validator-deno is not installed")
    for participant_session, _ in participant_sessions.values():
        done = subprocess.run(
            [program, str(participant_session.out)], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("expected", UNITS)
def test_each_query_downstream_finds_one_file(participant_sessions, expected):
    from bids import BIDSLayout
    from niworkflows.data import load

    participant_session, _ = participant_sessions[expected]
    suffix = participant_session.source.name.split(".")[0].split("_")[-1]
    layout = BIDSLayout(participant_session.out, config=load("nipreps.json"), validate=False)
    image = {"datatype": "anat", "extension": [".nii.gz", ".nii"], "space": None}
    moved = {"datatype": "anat", "extension": [".h5", ".txt"], "suffix": "xfm", "mode": "image"}
    participant, _, session = participant_session.key.partition("_")
    entities = {"subject": participant[4:]} | ({"session": [session[4:]]} if session else {})
    queries = {
        f"desc-preproc_{suffix}.nii.gz": image | {"desc": "preproc", "suffix": suffix},
        "desc-brain_mask.nii.gz": image | {"desc": "brain", "suffix": "mask"},
        "dseg.nii.gz": image | {"desc": None, "suffix": "dseg"},
        **{
            f"label-{t}_probseg.nii.gz": image | {"label": t, "suffix": "probseg"}
            for t in ("GM", "WM", "CSF")
        },
        f"from-{suffix}_to-MNI152NLin2009cAsym_mode-image_xfm.h5": moved
        | {"from": suffix, "to": "MNI152NLin2009cAsym"},
        f"from-MNI152NLin2009cAsym_to-{suffix}_mode-image_xfm.h5": moved
        | {"from": "MNI152NLin2009cAsym", "to": suffix},
    }
    for ending, query in queries.items():
        found = layout.get(return_type="filename", **entities, **query)
        assert len(found) == 1, ending
        assert found[0].endswith(f"_{ending}")
    tissues = layout.get(**entities, **image | {"label": ["GM", "WM", "CSF"], "suffix": "probseg"})
    assert len(tissues) == 3


def test_transforms_are_read_by_itk_and_say_the_same(participant_session, stages, path):
    import SimpleITK as sitk

    names = ("from-T1w_to-MNI152NLin2009cAsym", "from-MNI152NLin2009cAsym_to-T1w")
    there, back = (sitk.ReadTransform(str(path(f"{name}_mode-image_xfm.h5"))) for name in names)
    flip = np.array([-1, -1, 1])
    point = np.array([12.0, -30.0, 25.0])
    moved = stages.MATRIX[:3, :3] @ point + stages.MATRIX[:3, 3]
    # what resamples the scan in the template's space takes points of the template to the scan
    np.testing.assert_allclose(there.TransformPoint(list(moved * flip)) * flip, point, atol=1e-6)
    np.testing.assert_allclose(back.TransformPoint(list(point * flip)) * flip, moved, atol=1e-6)
    moved = sitk.Resample(
        sitk.ReadImage(str(path("desc-brain_mask.nii.gz")), sitk.sitkFloat32),
        sitk.ReadImage(str(path("space-MNI152NLin2009cAsym_dseg.nii.gz"))),
        there,
    )
    ours = np.asarray(nib.load(path("space-MNI152NLin2009cAsym_desc-brain_mask.nii.gz")).dataobj)
    theirs = sitk.GetArrayFromImage(moved).T > 0.5
    assert 2 * (ours & theirs).sum() / (ours.sum() + theirs.sum()) > 0.98


def test_the_same_input_gives_the_same_bytes(participant_session, stages, tmp_path):
    again = stages.participant_session(tmp_path)
    write(again, num_threads=1)
    for name in stages.tree(participant_session.out):
        assert (participant_session.out / name).read_bytes() == (again.out / name).read_bytes(), name


def test_a_full_disk_leaves_nothing_partial(stages, tmp_path, monkeypatch):
    participant_session = stages.participant_session(tmp_path)
    room, compressor = [4000], isal_zlib.compressobj

    class Full:
        def __init__(self, *options):
            self.own = compressor(*options)

        def compress(self, data):
            room[0] -= len(data)
            if room[0] < 0:
                raise OSError(errno.ENOSPC, "No space left on device")
            return self.own.compress(data)

        def flush(self):
            return self.own.flush()

    monkeypatch.setattr(files, "isal_zlib", SimpleNamespace(compressobj=Full, DEFLATED=isal_zlib.DEFLATED))
    with pytest.raises(
        BrainsegError, match=r"sub-01_.*\.nii\.gz: the disk is full\. Free disk space"
    ) as caught:
        write(participant_session)
    assert Path(caught.value.path).parent == participant_session.out / "sub-01" / "anat"
    left = list((participant_session.out / "sub-01" / "anat").iterdir())
    assert not [path for path in left if path.name.endswith((".partial", ".nii.gz", ".json"))]


def test_a_folder_that_cannot_be_written_is_named(stages, tmp_path):
    participant_session = stages.participant_session(tmp_path)
    (participant_session.out / "sub-01").write_text("a file in the way")
    with pytest.raises(BrainsegError, match="cannot be written"):
        write(participant_session)


def test_what_a_killed_run_left_is_swept_away(stages, tmp_path):
    participant_session = stages.participant_session(tmp_path)
    folder = participant_session.out / "sub-01" / "anat"
    folder.mkdir(parents=True)
    mine, other = folder / ".sub-01_dseg.nii.gz.0123abcd.partial", folder / ".sub-011_dseg.nii.gz.0.partial"
    mine.touch()
    other.touch()
    write(participant_session)
    assert not mine.exists()
    assert other.exists()


def test_a_file_keeps_its_content_until_the_new_one_is_whole(tmp_path):
    path = tmp_path / "a.txt"
    files.write_text(path, "old")
    with pytest.raises(RuntimeError), files.whole(path) as file:
        file.write(b"new")
        raise RuntimeError
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("kind", ["float32", "uint8", "uint16"])
def test_preproc_is_stored_without_loss(stages, kind):
    data = stages.scan(dtype="float32") * {"float32": 1, "uint8": 0.2, "uint16": 1}[kind] + 0.25
    stored = rounding.as_stored(data, np.dtype(kind))
    assert stored.dtype == {"float32": "float32", "uint8": "float32", "uint16": "int16"}[kind]
    assert np.abs(stored - data).max() <= {"float32": 0, "uint8": 1 / 32, "uint16": 0.5}[kind]
    assert rounding.as_stored(data * 200, np.dtype("uint16")).dtype == "float32"


def test_a_sheared_affine_is_kept_in_the_sform(tmp_path):
    sheared = np.diag([1.0, 1.0, 2.0, 1.0])
    sheared[0, 2] = 0.4
    path = files.write_image(tmp_path / "a.nii.gz", np.zeros((4, 5, 6), np.uint8), sheared, 1)
    header = nib.load(path).header
    np.testing.assert_allclose(header.get_sform(), sheared, atol=1e-6)
    assert (int(header["sform_code"]), int(header["qform_code"])) == (1, 0)


def test_dataset_description(stages, tmp_path):
    participant_session = stages.participant_session(tmp_path)
    path = participant_session.out / "dataset_description.json"
    content = json.loads(path.read_text())
    assert content["DatasetType"] == "derivative"
    assert content["GeneratedBy"][0]["Name"] == "brainseg-bids"
    assert content["GeneratedBy"][0]["Version"] == "1.2.3"
    assert content["DatasetLinks"] == {"raw": "../bids"}
    assert content["SourceDatasets"] == [{"URL": "../bids", "DOI": "doi:10.1/x"}]
    assert content["License"] == "CC0"
    for name in ("desc-aseg_dseg.tsv", "desc-tissue_dseg.tsv", "dseg.tsv"):
        lines = (participant_session.out / name).read_text().splitlines()
        assert lines[0].split("\t") == ["index", "name", "abbreviation", "color", "mapping"]
    path.write_text(json.dumps(content | {"Funding": ["by the user"]}))
    before = path.with_name("README").stat().st_mtime_ns
    dataset.write_dataset_description(participant_session.out, participant_session.bids, "1.2.4")
    content = json.loads(path.read_text())
    assert content["Funding"] == ["by the user"]
    assert content["GeneratedBy"][0]["Version"] == "1.2.4"
    assert path.with_name("README").stat().st_mtime_ns > before
    before = path.stat().st_mtime_ns
    dataset.write_dataset_description(participant_session.out, participant_session.bids, "1.2.4")
    assert path.stat().st_mtime_ns == before
    fresh = participant_session.out.parent / "fresh"
    dataset.write_dataset_description(fresh, participant_session.bids, "1", label_files={"dseg.tsv"})
    assert [file.name for file in fresh.glob("*.tsv")] == ["dseg.tsv"]


def test_a_mask_beyond_the_structures_is_whole_in_template_space(stages, participant_session, tmp_path):
    """A precomputed segmentation may cover a part of the brain only."""
    other = stages.participant_session(tmp_path)
    path = Path(other.inputs["in_structures"])
    image = nib.load(path)
    data = np.array(image.dataobj)
    data[: data.shape[0] // 2] = 0
    nib.save(nib.Nifti1Image(data, image.affine), path)
    write(other)
    for ending in ("desc-brain_mask", "label-GM_probseg"):
        (name,) = (participant_session.out / "sub-01" / "anat").glob(f"*space-*_{ending}.nii.gz")
        again = other.out / name.relative_to(participant_session.out)
        assert np.array_equal(nib.load(name).get_fdata(), nib.load(again).get_fdata()), ending
