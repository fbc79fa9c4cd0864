"""The benchmarks' own arithmetic: tables between markers, the headline, and what a stage used."""

import doctest
import importlib
import json
import re

import nibabel as nib
import numpy as np
import pytest
import torch

from brainseg.bidsapp.config import measured
from brainseg.bidsapp.jobs import request
from brainseg.bidsapp.reports import derivatives
from brainseg.models.geometry.volume import Volume
from brainseg.training.evaluation import segmentation
from brainseg.workflows.common.resources import MEMORY
from helpers import ROOT

FOLDER = ROOT / "benchmarks"


@pytest.fixture
def scripts(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module


def test_tables_stand_between_their_markers(scripts, tmp_path):
    tables = scripts("tables")
    assert doctest.testmod(tables).failed == 0
    page = tmp_path / "page.md"
    page.write_text("# Title\n\n<!-- a: begin, written by the script -->\nold\n<!-- a: end -->\n\nafter\n")
    tables.put(page, "a", "new")
    tables.put(page, "b", "more")
    tables.put(page, "a", "newer")
    text = page.read_text()
    assert text.startswith("# Title") and "after" in text
    assert "old" not in text and "new\n" not in text
    assert text.count("newer") == text.count("more") == 1
    tables.put(page, "b", "more")
    assert page.read_text() == text


def test_the_simulated_schedule(scripts):
    found = doctest.testmod(scripts("throughput"))
    assert found.attempted and not found.failed


def test_page_has_a_place_for_every_table():
    page = (FOLDER / "README.md").read_text()
    found = re.findall(r"<!-- (.+): begin, written by the script -->", page)
    assert found == [
        "real_heads",
        "adult_manual chain",
        "adult_manual network",
        "learning segmentation",
        "learning segmentation-again",
        "learning segmentation-constant",
        "learning segmentation-contrasts",
        "learning segmentation-rest",
        "passes",
        "variants",
        "variants_longer",
        "learning skullstrip",
        "learning skullstrip-rest",
        "learning intracranial",
        "learning deep",
        "perturbations",
        "synthetic_heads",
        "contrasts",
        "intervals",
        "brain_mask",
        "intracranial",
        "stages",
        "throughput",
        "peers",
        "backends",
        "gpu",
        "overhead",
        "scale",
        "kill",
        "registration",
        "parcels",
        "parcels manual",
        "parcels freesurfer",
        "pseudolabels",
        "hippocampus",
        "hippocampus_variants",
        "lesion",
        "ibsr18",
        "ibsr18_tissues",
        "quality",
        "fetal",
        "fetal_perturbations",
    ]
    for name in found:
        assert f"<!-- {name}: end -->" in page
    for script in FOLDER.glob("*.py"):
        assert script.name in ("tables.py", "parcel_overlap.py") or f"`{script.name} " in page


def test_jobs_are_planned_with_the_figures_of_the_page(scripts):
    estimates = scripts("estimates")
    file = json.loads(measured.FILE.read_text())
    assert file["measured"] == estimates.of_page((FOLDER / "README.md").read_text())
    assert set(file["measured"]["stage_seconds"]) >= {"segmentation", "report"}
    # a job of the measured participant asks for more than it took
    known = measured.read()
    assert known.start_seconds + known.image_seconds == pytest.approx(file["measured"]["wall_seconds"])
    assert known.image_seconds > 0
    assert sum(known.shares.values()) == pytest.approx(1)
    step = max(fixed + more for fixed, more in MEMORY.values())
    assert (known.base_gb + step) * request.MARGIN > 0.9 * file["measured"]["peak_gib"]


def _scan(folder):
    """Manual labels, one block for every structure, and the same in our ids."""
    mapping = segmentation.read_mapping("neuromorphometrics")
    wanted = sorted({k for k, v in mapping.structure.items() if v > 0 and k < 102})
    theirs = np.zeros((20, 8 * len(wanted), 12), np.uint8)
    for place, label in enumerate(wanted):
        theirs[4:14, 8 * place + 1 : 8 * place + 7, 3:9] = label
    path = folder / "sub-01_dseg.nii.gz"
    nib.save(nib.Nifti1Image(theirs, np.diag([-1.0, 1, 1, 1])), path)
    ours = mapping.apply(theirs, path)
    return path, Volume(torch.from_numpy(ours), np.diag([-1.0, 1, 1, 1]))


@pytest.mark.slow
def test_headline(scripts, tmp_path):
    bench = scripts("adult_manual")
    path, ours = _scan(tmp_path)
    right = bench.score(path, ours)
    assert set(right) == set(bench.HEADLINE) | set(bench.SEPARATE)
    assert len(bench.HEADLINE) == 16
    assert all(value == (1, 0) for value in right.values())

    # a temporal horn called ventricle costs nothing in the headline
    joined = ours.data.clone()
    joined[joined == 5], joined[joined == 44] = 4, 43
    found = bench.score(path, ours.with_data(joined))
    assert found["lateral ventricle"][0] == 1 and found["temporal horn"][0] == 0
    assert found["lateral ventricle without temporal horn"][0] == pytest.approx(2 / 3)

    # sides exchanged: nothing paired is right
    swapped = {5: 44} | dict(v for v in bench.HEADLINE.values() if len(v) == 2)
    swapped |= {b: a for a, b in swapped.items()}
    turned = ours.data.clone()
    for one, other in swapped.items():
        turned[ours.data == one] = other
    found = bench.score(path, ours.with_data(turned), surfaces=False)
    assert found["brainstem"][0] == 1 and found["putamen"][0] == 0
    text = bench.report({"sub-01": right, "sub-02": found}, "chain", True)
    assert "| **headline mean** | **0.594** |" in text


def test_what_stages_used(scripts, tmp_path):
    bench = scripts("stages")
    used = {"start": bench.Use(1.0, 0.5, 2.0**30), "bias": bench.Use(3.0, 6.0, 2.0**31)}
    text = bench.table(used, {"bias": 2.9})
    assert "| bias | 3.0 | 2.9 | 6.0 | 2.0 |" in text and "**4.0**" in text
    assert "| start | 1.0 | – | 0.5 | 1.0 |" in text
    image = tmp_path / "sub-9_acq-x_FLAIR.nii.gz"
    nib.save(nib.Nifti1Image(np.zeros((4, 4, 4), np.uint8), np.eye(4)), image)
    made = bench.dataset(image, tmp_path / "bids")
    assert (made / "sub-01" / "anat" / "sub-01_FLAIR.nii.gz").is_file()


@pytest.mark.slow
def test_a_simulated_study(scripts, phantoms, tmp_path):
    """Every participant of it has the files of the model under its own name, and the program runs on them."""
    bench, results = scripts("scale"), tmp_path / "results"
    phantoms.participant_session(results, "sub-01", pictures=False, run="run1")
    (results / "logs" / "run1").mkdir()
    (results / "logs" / "run1" / "brainseg.toml").write_text('analysis_level = ["participant"]\n')
    (results / "logs" / "CITATION.md").write_text("Methods.\n")
    (results / "sub-01.html").write_text("<p>report</p>")
    page = tmp_path / "page.md"
    words = [str(results), "--participants", "12", "--work", str(tmp_path / "w"), "--out", str(page)]
    assert bench.main(words) == 0
    assert "| 12 participants | CPU (s) |" in page.read_text() and "--no-pages" in page.read_text()
    number, size = bench.footprint(results, "sub-01")
    assert f"{number} files of {size:.1f} MB" in page.read_text()
    bench.simulate(results, tmp_path / "study", 3)
    out = tmp_path / "study" / "out"
    found = [derivatives.load(out, f"sub-0000{n}").volumes["brain"] for n in range(3)]
    assert len(set(found)) == 3
    assert json.loads((out / "logs" / "status" / "sub-00002.json").read_text())["outputs"][0].startswith(
        "sub-00002/anat/sub-00002_"
    )


def test_scans_made_worse(scripts):
    bench = scripts("perturbations")
    torch.manual_seed(0)
    data = torch.zeros(20, 24, 30)
    data[4:16, 4:20, 4:28] = torch.rand(12, 16, 24) * 100 + 50
    scan = Volume(data, np.diag([1.0, 1.0, 1.0, 1.0]))
    for axis, kind in enumerate(("5 mm sagittal", "5 mm coronal", "5 mm axial")):
        made = bench.KINDS[kind](scan)
        assert made.grid.spacing[axis] == pytest.approx(5) and made.grid.shape[axis] == scan.grid.shape[
            axis
        ] // 5 + (scan.grid.shape[axis] % 5 > 0)
        # a slice lies where the five that it is made of lay
        assert made.affine[axis, 3] == pytest.approx(2.0)
        assert float(made.data.sum() * 5) == pytest.approx(float(data.sum()), rel=0.1)
    turned = bench.inverted(scan).data
    inside = data > 0
    assert bool((turned[~inside] == 0).all()) and bool((turned[inside] > 0).all())
    assert float(torch.corrcoef(torch.stack([turned[inside], data[inside]]))[0, 1]) == pytest.approx(-1)
    assert float((bench.noisy(scan).data - data)[inside].std()) == pytest.approx(14.5, rel=0.2)
    assert float(bench.noisy(scan).data[~inside].max()) == 0
    ratio = bench.biased(scan).data[inside] / data[inside]
    assert 0.1 < float(ratio.log().std()) < 1
    assert bench.cropped(scan).grid.shape == (20, 24, 21)


@pytest.mark.slow
def test_labels_of_thick_slices_and_lost_sides(scripts, tmp_path):
    bench = scripts("perturbations")
    path, ours = _scan(tmp_path)
    truth = segmentation.read_labels(path)
    grid = bench.thick_grid(truth.grid, 2)
    thick = bench.on_grid(truth, grid)
    assert set(thick.data.unique().tolist()) <= set(truth.data.unique().tolist())
    assert bench.on_grid(truth, truth.grid) is truth
    assert bench.sides_lost(truth, ours.canonical(), path) == pytest.approx(0)
    swapped = ours.data.clone()
    swapped[ours.data == 17], swapped[ours.data == 53] = 53, 17
    lost = bench.sides_lost(truth, ours.with_data(swapped).canonical(), path)
    assert 0.02 < lost < 0.2
    row = dict.fromkeys(bench.HEADLINE, 0.8) | {"hd95": 2.0, "sides": 0.0, "seconds": 9.0}
    text = bench.report({"bias": [row, row | {"amygdala": 0.4}]}, True)
    assert "| 0.775 | amygdala 0.60 | 2.000 | 0.000 | 9.000 |" in text


def test_tissues_of_ibsr18_are_scored_under_their_names(scripts, tmp_path):
    bench = scripts("ibsr18")
    truth = np.zeros((12, 12, 12), int)
    truth[2:10, 2:10, 2:10] = 2
    truth[4:8, 4:8, 4:8] = 3
    truth[5:7, 5:7, 5:7] = 1
    dseg = np.array([0, 3, 1, 2])[truth]
    right = bench.score(truth, dseg, np.ones(3))
    assert right == dict.fromkeys(("CSF", "GM", "WM"), (1.0, 0.0, 0.0))
    wrong = bench.score(truth, np.array([0, 1, 3, 2])[truth], np.ones(3))
    assert wrong["WM"][0] == 1 and wrong["CSF"][0] == 0 and wrong["GM"][2] > 0
    text = bench.report({"a": [right, wrong]}, {"a": "45"})
    assert "| a | 45 | 0.500 | 0.500 | 1.000 | **0.667** |" in text and "| 0.943 |" in text
    (tmp_path / "a.json").write_text(json.dumps({"hours": 0.25, "begun_from": [{"hours": 0.5}]}))
    assert bench.minutes(str(tmp_path / "a.safetensors")) == "45", "with the training that it began from"
    assert bench.row("a", "accurate") == "a, --effort accurate" and bench.row("a", "fast") == "a"


@pytest.mark.slow
def test_registrations_are_kept_and_those_of_ants_outlive_our_networks(scripts, tmp_path, monkeypatch):
    bench = scripts("registration")
    names = ("sub-01", "sub-02")
    for name in names:
        path, ours = _scan(tmp_path)
        folder = tmp_path / "data" / name
        folder.mkdir(parents=True)
        path.rename(folder / f"{name}_dseg.nii.gz")
        (folder / f"{name}_T1w.nii.gz").write_bytes(name.encode())
    calls = []

    def measure(_, moving, fixed, brain, labels):
        calls.append(len(moving.centroids))
        figures = {"dice": dict.fromkeys(bench.adult_manual.HEADLINE, 0.5), "figures": [0.0, 0.1, len(calls)]}
        return figures, (bench.Warp((np.eye(4),)), bench.Warp((np.eye(4),)))

    monkeypatch.setattr(bench, "measure", measure)
    found = bench.reference.anatomy(ours, ours, ours, {})
    monkeypatch.setattr(bench, "anatomy", lambda path, folder: (found, 3.0))
    monkeypatch.setattr(bench, "plain", lambda path: bench.Anatomy(ours, ours, ours, {}, {}))
    words = [str(tmp_path / "data"), "--cache", str(tmp_path / "kept"), "--template", "0"]
    assert bench.main(words) == 0
    # the others see our segmentation, SyN none of it
    assert len(calls) == 8 and calls.count(0) == 2
    assert bench.main(words) == 0 and len(calls) == 8
    for name in ("weights", "program"):
        monkeypatch.setattr(bench, name, lambda: "others")
    page = tmp_path / "page.md"
    assert bench.main([*words, "--kept", "SyN", "--out", str(page)]) == 0
    assert len(calls) == 14 and calls.count(0) == 2
    assert "| pairs: SyN | 2 | 0.5000 |" in page.read_text()
    assert "at least as good as SyN in 2 of 2" in page.read_text()
    words = [*words[:-1], "1", "--engines", "deep"]
    assert bench.main([*words, "--out", str(page)]) == 0 and len(calls) == 15
    assert "through the template" not in page.read_text()  # one scan has no other to go to
    words[-3] = "2"
    for _ in range(2):
        assert bench.main([*words, "--out", str(page)]) == 0 and len(calls) == 16
        assert "| through the template: deep | 2 | 1.0000 |" in page.read_text()


@pytest.mark.slow
def test_a_head_has_one_anatomy_in_every_contrast(scripts, toy_arrays, monkeypatch):
    bench = scripts("contrasts")
    monkeypatch.setattr(bench, "SHAPE", (96, 96, 96))
    names = ("T1w", "FLAIR", bench.ENHANCED, bench.LOW_FIELD)
    drawn = {name: bench.head(toy_arrays, 0, name) for name in names}
    first = drawn["T1w"]
    for name, one in drawn.items():
        assert np.array_equal(one.structures, first.structures), name
        assert one.scan.grid.shape == ((60, 60, 19) if name == bench.LOW_FIELD else (96, 96, 96))
    white, gray = (first.structures == 2, first.structures == 3)
    for name, brighter in (("T1w", True), ("FLAIR", False)):
        data = drawn[name].scan.data.numpy()
        assert (np.median(data[white]) > np.median(data[gray])) == brighter
    changed = drawn[bench.ENHANCED].scan.data != first.scan.data
    assert 0 < int(changed.sum()) < 0.2 * changed.numel()
    # low field covers the same field of view
    low, high = first.scan.grid, drawn[bench.LOW_FIELD].scan.grid
    np.testing.assert_allclose(low.affine[:3, 3] - 0.5, high.affine[:3, 3] - np.array(high.spacing) / 2)
    assert bench.spread([9.0, 10.0, 11.0]) == pytest.approx(10)


def test_spread_of_volumes_leaves_low_field_out(scripts):
    bench = scripts("contrasts")
    one = {
        name: {
            "volume": {"Putamen": 10.0 if name != bench.LOW_FIELD else 99.0, "speck": 1.0},
            "truth": {"Putamen": 10.0, "speck": 1.0},
            "dice": {"mean": 0.8},
        }
        for name in bench.CONTRASTS
    }
    text = bench.report({0: one})
    assert "| Putamen | 10.0 | 0.0 | 1.00 |" in text and "| 9.90 |" in text
    assert "speck" not in text and "0 of 1 structures vary" in text


def test_coverage_of_intervals(scripts):
    bench = scripts("intervals")
    inside = bench.Case("Putamen", 100.0, 80.4, 119.6, 110.0)
    outside = inside._replace(truth=130.0)
    assert (inside.error, outside.error) == (pytest.approx(-1.0), pytest.approx(-3.0))
    assert bench.covered([inside, outside]) == 0.5 and bench.covered([inside], 0.9) == 0
    text = bench.report({bench.SYNTHETIC: [[inside, outside]], bench.REAL: [[inside]]})
    assert "| Putamen | 20 | -16 | 1 of 2 | -9 | 1 of 1 |" in text
    assert "| synthetic | 1 | 2 | 50.0 |" in text


def test_regions_of_both_protocols(scripts):
    """Every parcel and every region counts once among the lobes; each label has its side."""
    overlap = scripts("parcel_overlap")
    assert doctest.testmod(overlap).failed == 0
    dk, nmm = overlap.ours(), overlap.manual()
    assert len(dk) == 68 and dk["L", "insula"] == 1035 and dk["R", "insula"] == 2035
    assert nmm["R", "ACgG"] == 100 and nmm["L", "ACgG"] == 101
    own = [word for first, _ in overlap.LOBES.values() for word in first.split()]
    other = [word for _, second in overlap.LOBES.values() for word in second.split()]
    assert sorted(own) == sorted(word for side, word in dk if side == "L")
    known = {word for side, word in nmm if side == "L"}
    assert len(other) == len(set(other)) and known <= {*other, *overlap.NOT_SCORED.split()}
    for first, second in overlap.SHARED.values():
        assert set(first.split()) <= set(own) and set(second.split()) <= set(other)


def test_dice_of_parcels_without_gaps_in_the_numbers(scripts):
    parcels = scripts("parcels")
    assert parcels.dice(np.array([0, 1001, 1001, 2035]), np.array([0, 1001, 2035, 2035])).tolist() == [
        pytest.approx(2 / 3),
        pytest.approx(2 / 3),
    ]
