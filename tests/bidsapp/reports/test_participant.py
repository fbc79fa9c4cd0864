"""The participant's report: what it shows, that it shows it the right way round, and that it asks nobody."""

import html
import io
import json
import re
import shutil
import time

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from brainseg.bidsapp.reports import derivatives, drawing, mosaic, provenance, scans
from brainseg.bidsapp.reports.canvas import Canvas
from brainseg.bidsapp.reports.cohort import Cohort
from brainseg.bidsapp.reports.participant import write_participant
from brainseg.bidsapp.status import records
from brainseg.models.errors import ReportError
from brainseg.models.intracranial import intracranial

HOSTILE = "<script>document.title='taken'</script><img src=x onerror=alert(1)>"
IN_SPACE = [
    f"space-MNI152NLin2009cAsym_{ending}"
    for ending in ("desc-preproc_*.nii.gz", "desc-brain_mask.nii.gz", "dseg.nii.gz")
]
OUTSIDE = re.compile(
    r"""(?:src|srcset|data|poster|action)\s*=\s*["']?\s*(?:https?:|//)|url\(\s*["']?\s*(?:https?:|//)|@import"""
)


@pytest.fixture(scope="module")
def tree(phantoms, tmp_path_factory):
    """Three participant-sessions that are done, one that failed."""
    out = tmp_path_factory.mktemp("derivatives")
    phantoms.participant_session(
        out,
        "sub-01",
        age=31,
        sex="F",
        notes=["The field of view ends in the cerebellum."],
        left_out=["/data/sub-01/anat/sub-01_T2w.nii.gz"],
        volume_notes=["Left-Amygdala is small."],
    )
    phantoms.participant_session(out, "sub-02_ses-a", scale=0.94, axcodes="PSR")
    phantoms.participant_session(out, "sub-03", scale=1.03, axcodes="RAS")
    phantoms.failed(out, "sub-04")
    return out


@pytest.fixture
def copy(tree, tmp_path):
    """The tree, to be damaged."""
    return shutil.copytree(tree, tmp_path / "out")


def text_of(page) -> str:
    """What a reader sees of a page."""
    body = re.sub(r"<(script|style)[^>]*>.*?</\1>", "", page.read_text(), flags=re.DOTALL)
    return " ".join(re.sub(r"<[^>]+>", " ", body).split())


@pytest.mark.slow
def test_page_tells_what_was_done(tree):
    page = write_participant(tree, "sub-01")
    assert page == tree / "sub-01.html"
    text = text_of(page)
    for heading in (
        "Overview",
        "Brain mask",
        "Bias field",
        "Segmentation",
        "Tissues",
        "Registration",
        "Volumes",
        "Methods",
    ):
        assert heading in text
    for fact in ("60 × 66 × 58", "2.5 × 2.5 × 2.5 mm", "LAS", "31 years", "removed here"):
        assert fact in text
    assert "The field of view ends in the cerebellum." in text and "Left-Amygdala is small." in text
    assert "sub-01/anat/sub-01_T2w.nii.gz" in text and "/data/" not in text
    assert "n = 3" in text and "Apache-2.0" in text
    found = derivatives.load(tree, "sub-01")
    left = found.volumes["Left-Hippocampus"]
    both = found.volumes["Right-Hippocampus"] + left
    for share in (0.9, 1.1):  # the ends of the interval
        assert f'value="{share * both:.1f}"' in page.read_text()
    assert f'value="{left:.1f}"' in page.read_text()


@pytest.mark.slow
@pytest.mark.parametrize("source", ["deepbet", "skullstrip", "precomputed"])
def test_page_tells_what_made_the_mask(copy, source):
    records.write(copy, "sub-01", records.read(copy, "sub-01") | {"mask_source": source})
    text = text_of(write_participant(copy, "sub-01"))
    words = source if source == "precomputed" else f"network {source}"
    assert f"Source of the mask: {words}." in text
    listed = [card["name"] for card in provenance.cards(derivatives.load(copy, "sub-01"))]
    assert {"head-coarse", "segmentation"} <= {*listed}
    expected = {"deepbet": {"deepbet", "skullstrip"}, "skullstrip": {"skullstrip"}, "precomputed": set()}
    assert {*listed} & {"deepbet", "skullstrip"} == expected[source]


@pytest.mark.slow
def test_every_picture_is_there_and_described(tree, phantoms):
    page = write_participant(tree, "sub-02_ses-a")
    images = re.findall(r"<img[^>]*>", page.read_text())
    assert len(images) > 8
    packed = phantoms.figures(tree, "sub-02_ses-a")
    for image in images:
        assert 'alt="' in image
        if name := re.search(r'data-figure="([^"]+)"', image):
            assert Image.open(io.BytesIO(packed[name[1]])).width > 100
        else:
            assert (tree / re.search(r'src="([^"]+)"', image)[1]).is_file()
    assert len(packed) > 8
    files = {path.name.removeprefix("sub-02_ses-a_") for path in (tree / "sub-02" / "figures").iterdir()}
    assert {"desc-thumbnail_dseg.webp", "desc-figures.js", "desc-viewer_dseg.js"} < files and len(files) == 4


@pytest.mark.slow
def test_figures_of_earlier_versions_are_replaced_and_no_other_file(copy):
    """They were one file each; names from outside of the folder are those of somebody else."""
    write_participant(copy, "sub-01")
    folder = copy / "sub-01" / "figures"
    facts = folder / "sub-01_desc-report_facts.json"
    content = json.loads(facts.read_text())
    old, kept = folder / "sub-01_desc-brain_mask.png", [copy / "precious.png", folder / "mine.png"]
    for path in (old, *kept):
        path.write_bytes(b"x")
    content["figures"]["mask"] |= {"more": "../../precious.png", "mine": "mine.png"}
    del content["files"]
    facts.write_text(json.dumps(content))
    write_participant(copy, "sub-01")
    assert not old.exists() and all(path.exists() for path in kept)
    assert "sub-01_desc-figures.js" in json.loads(facts.read_text())["files"]


@pytest.mark.slow
def test_small_enough(tree):
    page = write_participant(tree, "sub-01")
    drawn = list((tree / "sub-01" / "figures").iterdir())
    assert sum(path.stat().st_size for path in [page, *drawn]) <= 8e6
    assert not [path.name for path in drawn if path.name.startswith(".")]


@pytest.mark.slow
def test_made_within_fifteen_seconds_at_1_mm(phantoms, tmp_path):
    data = phantoms.phantom((192, 224, 192), (1.0, 1.0, 1.0))
    grid = phantoms.phantom((197, 233, 189), (1.0, 1.0, 1.0), origin=(-98, -134, -72))
    phantoms.participant_session(tmp_path, "sub-01", data=data, template=grid)
    start = time.process_time()
    page = write_participant(tmp_path, "sub-01")
    assert time.process_time() - start < 15
    drawn = (tmp_path / "sub-01" / "figures").iterdir()
    assert sum(path.stat().st_size for path in [page, *drawn]) <= 8e6


@pytest.mark.slow
@pytest.mark.parametrize("axcodes", ["RAS", "LAS", "LIA", "PSR", "SPL"])
def test_orientation_of_the_grid_does_not_matter(phantoms, tmp_path, axcodes):
    phantoms.participant_session(tmp_path, "sub-01", axcodes=axcodes)
    canvas = Canvas(derivatives.load(tmp_path, "sub-01"))
    image, aseg, _ = phantoms.phantom()
    assert np.allclose(canvas.image.data, image)
    assert np.array_equal(canvas.structures, canvas.position[aseg])
    frame = canvas.brain
    drawn, labels = (
        np.asarray(frame.gray(canvas.image.data, (0, 250), letters=False)),
        frame.labels(canvas.structures),
    )
    names = [label.name for label in canvas.table]
    for panel in frame.panels:
        part = labels[panel.top : panel.top + panel.height, panel.left : panel.left + panel.width]
        if panel.plane == "sagittal":
            continue
        left, right = (
            np.argwhere(part == names.index(f"{side}-Cerebral-Cortex")) for side in ("Left", "Right")
        )
        if len(left) and len(right):
            assert left[:, 1].mean() < right[:, 1].mean()
    assert drawn.shape == labels.shape == (frame.height, frame.width)


def test_top_is_up_and_front_is_right(phantoms, tmp_path):
    phantoms.participant_session(tmp_path, "sub-01", axcodes="LIA")
    canvas = Canvas(derivatives.load(tmp_path, "sub-01"))
    image = canvas.image
    mark = np.argwhere(image.data > 230).mean(0)  # right, in front, on top
    view = tuple((0, n) for n in image.data.shape)
    span = tuple((round(m) - 1, round(m) + 2) for m in mark)
    frame = mosaic.Mosaic(image.affine, view, span, [[(plane, 1) for plane in mosaic.PLANES]])
    drawn = np.asarray(frame.gray(image.data, (0, 250), letters=False)).astype(float)
    for panel in frame.panels:
        part = drawn[panel.top : panel.top + panel.height, panel.left : panel.left + panel.width]
        row, column = np.argwhere(part > 215).mean(0)
        assert row < 0.42 * panel.height and column > 0.58 * panel.width, panel.plane


def test_a_millimeter_is_as_long_in_every_direction():
    x, y, z = np.meshgrid(*[np.arange(-64, 64, step) for step in (1, 2, 4)], indexing="ij")
    ball = ((x**2 + y**2 + z**2) < 40**2).astype(np.uint8)
    whole = tuple((0, n) for n in ball.shape)
    frame = mosaic.Mosaic(np.diag([1.0, 2, 4, 1]), whole, whole, [[(plane, 1) for plane in mosaic.PLANES]])
    labels = frame.labels(ball)
    for panel in frame.panels:
        part = labels[panel.top : panel.top + panel.height, panel.left : panel.left + panel.width]
        rows, columns = np.ptp(np.argwhere(part), axis=0) + 1
        assert rows == pytest.approx(columns, rel=0.06), panel.plane
        assert columns / frame.scale == pytest.approx(80, abs=5)


def test_contours_lie_on_their_own_side():
    labels = np.zeros((20, 20), np.uint8)
    labels[5:15, 5:10], labels[5:15, 10:15] = 1, 2
    line = mosaic.edges(labels, 1)
    assert set(np.unique(line)) == {0, 1, 2}
    assert np.all((line == 0) | (line == labels))
    assert line[10, 7] == 0 and line[10, 9] == 1 and line[10, 10] == 2


def test_layers_are_clear_but_for_their_labels():
    labels = np.zeros((4, 6), np.uint8)
    labels[1, 2] = 3
    picture = np.asarray(mosaic.layer(labels, {0: (9, 9, 9), 3: (10, 20, 30)}, 200).convert("RGBA"))
    assert tuple(picture[1, 2]) == (10, 20, 30, 200)
    assert picture[..., 3].astype(bool).sum() == 1


@pytest.mark.slow
def test_field_of_the_bias_is_found(phantoms, tmp_path):
    image, aseg, affine = phantoms.phantom()
    field = np.exp(np.linspace(-0.2, 0.2, image.shape[0], dtype=np.float32))[:, None, None]
    source = tmp_path / "sub-01_T1w.nii.gz"
    nib.save(nib.Nifti1Image(image * field, affine), source)
    phantoms.participant_session(
        tmp_path / "out", "sub-01", axcodes="RAS", data=(image, aseg, affine), inputs={"path": str(source)}
    )
    facts = drawing.draw(derivatives.load(tmp_path / "out", "sub-01"))
    assert set(facts["figures"]["bias"]) == {"before", "after", "field"}
    low, high = facts["bias_range"]
    assert low == pytest.approx(np.exp(-0.2 * 62 / 75), abs=0.06) and high == pytest.approx(
        np.exp(0.2 * 62 / 75), abs=0.06
    )
    source.unlink()
    for path in (tmp_path / "out" / "sub-01" / "figures").iterdir():
        path.unlink()
    assert set(drawing.draw(derivatives.load(tmp_path / "out", "sub-01"))["figures"]["bias"]) == {"after"}


@pytest.mark.slow
def test_second_page_reads_no_image(copy, monkeypatch):
    write_participant(copy, "sub-01")
    monkeypatch.setattr(scans, "read", lambda *_: pytest.fail("an image was read"))
    assert "Hippocampus" in text_of(write_participant(copy, "sub-01"))
    monkeypatch.undo()
    facts = copy / "sub-01" / "figures" / "sub-01_desc-report_facts.json"
    before = json.loads(facts.read_text())
    image = copy / "sub-01" / "anat" / "sub-01_dseg.nii.gz"
    image.write_bytes(image.read_bytes() + b"\0")
    write_participant(copy, "sub-01")
    assert json.loads(facts.read_text())["derivatives"] != before["derivatives"]


def test_failed_unit_gets_a_page(copy, phantoms):
    crash = copy / "logs" / "run" / "crash-1.txt"
    crash.parent.mkdir(parents=True)
    crash.write_text("Traceback\nOSError: it ends early\n")
    words = 'bids_dir = "/data/my study"\nwork_dir = "/scratch/w"\n'
    command = '[record]\ncommand = "brainseg-bids in out participant -w /scratch/w"\n'
    (copy / "logs" / "run" / "brainseg.toml").write_text(words + command)
    path = phantoms.failed(copy, "sub-04", crash="logs/run/crash-1.txt")
    path.write_text(json.dumps(json.loads(path.read_text()) | {"run": "run"}))
    text = text_of(write_participant(copy, "sub-04"))
    for part in (
        "Failed at conform",
        "the file is truncated",
        "Fetch it again",
        "sub-04_T1w.nii.gz",
        "it ends early",
    ):
        assert part in text
    assert "brainseg-bids &#39;/data/my study&#39;" in text
    assert "participant --participant-label 04 -w /scratch/w" in text
    (copy / "logs" / "run" / "brainseg.toml").write_text(words)
    assert "/scratch/w" not in text_of(write_participant(copy, "sub-04")), "the default is not named"
    assert "removed here" not in text
    assert "planned processing. It was not all done: this participant failed at conform." in text


def test_crash_file_of_a_known_fault_is_linked_only(copy, phantoms):
    crash = copy / "logs" / "run" / "crash-1.txt"
    crash.parent.mkdir(parents=True)
    crash.write_text("Traceback\nInputError: it ends early\n")
    for kind, shown in (("InputError", False), ("ValueError", True)):
        phantoms.failed(copy, "sub-04", crash="logs/run/crash-1.txt", kind=kind)
        text = write_participant(copy, "sub-04").read_text()
        assert 'href="logs/run/crash-1.txt"' in text and ("it ends early" in text) == shown


def test_what_was_refused_for_its_age_is_not_run_again_alike(copy, phantoms):
    remedy = "Leave it out, or insist with --population fetal"
    phantoms.failed(copy, "sub-04", stage="dataset", remedy=remedy)
    text = text_of(write_participant(copy, "sub-04"))
    assert "Run again after the remedy" in text
    assert "--participant-label 04 --population fetal" in text


def test_a_population_that_was_assumed_is_told_so(copy, phantoms):
    assumed = "adult (assumed: no age is known)"
    for key, wanted, shown in (
        ("sub-03", "auto", True),
        ("sub-03", "adult", False),
        ("sub-01", "auto", False),
    ):
        status = records.read(copy, key) | {"population": "adult", "settings": {"population": wanted}}
        records.write(copy, key, status)
        assert (assumed in text_of(write_participant(copy, key))) == shown


def test_crash_file_elsewhere_is_not_shown(copy, phantoms, tmp_path):
    secret = tmp_path / "secret.txt"
    secret.write_text("not for the page")
    for name in (str(secret), "../secret.txt"):
        phantoms.failed(copy, "sub-04", crash=name)
        assert "not for the page" not in write_participant(copy, "sub-04").read_text()


def test_texts_of_others_are_shown_not_obeyed(copy, phantoms):
    phantoms.status(
        copy,
        "sub-01",
        notes=[HOSTILE],
        left_out=[HOSTILE],
        image=HOSTILE,
        version=HOSTILE,
        stage=HOSTILE,
        sex=HOSTILE,
    )
    phantoms.failed(copy, "sub-04", reason=HOSTILE, remedy=HOSTILE, file=HOSTILE, node=HOSTILE)
    (copy / "logs" / "CITATION.md").write_text(
        f"<!-- a comment -->\n{HOSTILE}\n\n![x](https://example.org/x.png) [y](javascript:alert(1)) *yes*"
    )
    for key in ("sub-01", "sub-04"):
        page = write_participant(copy, key).read_text()
        assert "<script>document" not in page and "<img src=x" not in page
        assert not OUTSIDE.search(page)
        assert 'href="javascript:' not in page
        assert "<em>yes</em>" in page and "a comment" not in page


@pytest.mark.parametrize(
    "status", ["", "[1, 2]", "{", '{"error": "text", "notes": {"a": 1}, "seconds": 3, "inputs": []}']
)
def test_damaged_status_is_no_reason_to_fail(copy, status):
    (copy / "logs" / "status" / "sub-01.json").write_text(status)
    assert "Hippocampus" in text_of(write_participant(copy, "sub-01"))


@pytest.mark.parametrize(
    "ending",
    [
        *(pytest.param(name, marks=pytest.mark.slow) for name in (*drawing.IMAGES, *IN_SPACE)),
        "desc-aseg_volumes.tsv",
        "desc-aseg_volumes.json",
    ],
)
def test_page_without_one_of_the_derivatives(copy, ending, monkeypatch):
    monkeypatch.setattr(mosaic, "ROWS", [[("axial", 2)]])  # quick pictures
    for path in (copy / "sub-01" / "anat").glob(f"sub-01_{ending}"):
        path.unlink()
    text = text_of(write_participant(copy, "sub-01"))
    assert "sub-01" in text and "Methods" in text
    assert "Outputs are missing" in text


@pytest.mark.slow
@pytest.mark.parametrize("space, label", [("Mine", "Mine"), ("MNIInfant_cohort-2", "MNIInfant+2")])
def test_another_space_is_shown(copy, phantoms, space, label):
    write_participant(copy, "sub-01")  # pictures of another space are there already
    for path in (copy / "sub-01" / "anat").glob("*MNI152NLin2009cAsym*"):
        name = path.name.replace("space-MNI152NLin2009cAsym", f"space-{space}")
        path.rename(path.with_name(name.replace("MNI152NLin2009cAsym", label)))
    phantoms.relist(copy, "sub-01")
    page = write_participant(copy, "sub-01")
    assert "Registration to the template" in page.read_text() and space.split("_")[0] in text_of(page)
    assert f"sub-01_space-{space}_desc-image.webp" in phantoms.figures(copy, "sub-01")


def test_damaged_derivative_is_named(copy):
    path = copy / "sub-01" / "anat" / "sub-01_desc-aseg_dseg.nii.gz"
    path.write_bytes(path.read_bytes()[:2000])
    text = text_of(write_participant(copy, "sub-01"))
    assert "could not be drawn" in text and "Brain mask" in text


@pytest.mark.slow
def test_alone_there_is_no_place(phantoms, tmp_path):
    phantoms.participant_session(tmp_path, "sub-01")
    assert "no other participant to compare with" in text_of(write_participant(tmp_path, "sub-01"))


def test_place_among_many():
    cohort = Cohort({f"sub-{i:03d}": {"brain": 1e6 + i} for i in range(500)} | {"sub-x": {}})
    assert len(cohort) == 500
    place = cohort.place("sub-100", ("brain",))
    assert place["percentile"] == 20 and place["dots"].count("M") <= 120
    assert cohort.place("sub-x", ("brain",)) is None


def test_errors_say_what_to_do(copy, tmp_path):
    with pytest.raises(ReportError, match="neither sub-LABEL"):
        write_participant(copy, "../sub-01")
    (copy / "sub-01.html").unlink(missing_ok=True)
    (copy / "sub-01.html").mkdir()
    (copy / "sub-01.html" / "x").touch()
    with pytest.raises(ReportError, match="could not be written"):
        write_participant(copy, "sub-01")


def test_source_holds_nothing_from_outside(tree):
    page = write_participant(tree, "sub-01").read_text()
    assert not OUTSIDE.search(page)
    assert "default-src 'none'" in html.unescape(page) and '<link rel="stylesheet"' not in page


@pytest.mark.browser
def test_in_a_browser(tree, browser):
    browser.visit(write_participant(tree, "sub-01"))
    assert browser.run("document.title").startswith("sub-01")
    browser.click("#viewer .legend button[data-index='53']")  # also brings the viewer into view
    browser.until("document.querySelector('#viewer').dataset.ready")
    if "Right Hippocampus" not in browser.run("document.querySelector('#readout').textContent"):
        browser.click("#viewer .legend button[data-index='53']")
    browser.until("document.querySelector('#readout').textContent.startsWith('Right Hippocampus')")
    seen = browser.run(
        "(() => { const c = document.querySelector('canvas'); const d = c.getContext('2d')"
        ".getImageData(0, 0, c.width, c.height).data; return d.reduce((a, b) => Math.max(a, b), 0); })()"
    )
    assert seen > 200
    browser.click("#viewer input[name=show][value=tissues] + *, #viewer label:has(input[value=tissues])")
    text = "document.querySelector('#readout').textContent"
    before = browser.run(text)
    browser.type("canvas[data-plane=axial]", *"\ue012" * 3)
    browser.until(f"{text} !== {json.dumps(before)}")
    browser.type("canvas[data-plane=axial]", *"\ue014" * 3)
    browser.until(f"{text} === {json.dumps(before)}")

    layer = "document.querySelector('[data-view=mask] img[data-layer=contour]')"
    assert browser.run(f"{layer}.naturalWidth") > 0
    browser.click("[data-view=mask] input[data-layer=contour]")
    assert browser.run(f"{layer}.offsetParent === null")

    assert browser.run("document.querySelector('data.volume').textContent").endswith("mL")
    browser.click("[data-units] label:has(input[value='mm³'])")
    assert browser.run("document.querySelector('#volumes data.volume').textContent").endswith("mm³")

    browser.click("[data-view=mask] [data-enlarge]")
    assert browser.run("document.querySelector('dialog').open")
    browser.click("dialog button")
    assert browser.complaints() == [] and browser.outside() == []


@pytest.mark.browser
def test_flicker_can_be_stopped(tree, browser):
    browser.visit(write_participant(tree, "sub-01"))
    if not browser.run("document.querySelector('.blink')"):
        pytest.skip("the template is not to be had here")
    running = "getComputedStyle(document.querySelector('.blink')).animationName"
    assert browser.run(running) == "blink"
    browser.type("[data-pause]", " ")
    assert browser.run(running) == "none"
    browser.click(".flicker label:has(input[name=blend][value='100'])")
    assert browser.run("getComputedStyle(document.querySelector('.blink')).opacity") == "1"
    browser.type("[data-pause]", " ")
    assert browser.run(running) == "blink"
    assert browser.complaints() == [] and browser.outside() == []


@pytest.mark.browser
def test_failed_page_in_a_browser(tree, browser):
    browser.visit(write_participant(tree, "sub-04"))
    assert browser.run("document.querySelector('[role=alert]').innerText").startswith("Failed at conform")
    assert browser.complaints() == [] and browser.outside() == []


@pytest.mark.parametrize("width", [500, 1000, 1300])
def test_a_window_is_not_scrolled_sideways(tree, browser, width):
    page = write_participant(tree, "sub-01")
    size = browser.driver.get_window_size()
    browser.driver.set_window_size(width, 900)
    try:
        browser.visit(page)
        assert browser.run("document.documentElement.scrollWidth <= window.innerWidth")
        menu = "document.querySelector('.bar nav')"
        assert width < 701 or browser.run(f"{menu}.scrollWidth <= {menu}.clientWidth"), "no entry is cut off"
    finally:
        browser.driver.set_window_size(size["width"], size["height"])


def test_only_the_networks_that_were_used_are_described(copy):
    status = copy / "logs" / "status" / "sub-01.json"

    def networks(**settings):
        content = json.loads(status.read_text()) | {"settings": settings}
        status.write_text(json.dumps(content))
        return [card["name"] for card in provenance.cards(derivatives.load(copy, "sub-01"))]

    assert networks() == ["head-coarse", "skullstrip", "deepbet", "segmentation", "registration"]
    assert networks(registration="none", steps=["lesion"])[-2:] == ["segmentation", "lesion"]
    assert not [
        name for name in networks(steps=["posteriors"]) if name.startswith(("fetal", "hippo", "lesion"))
    ]


def test_network_of_the_cranial_cavity_is_described_where_it_saw_the_image(copy):
    about = copy / "sub-01" / "anat" / "sub-01_desc-aseg_volumes.json"
    for reason, there in ((intracranial.PARTIAL, True), (intracranial.STRIPPED, False)):
        about.write_text(json.dumps({"IntracranialVolume": {"Value": None, "Reason": reason}}))
        found = [card["name"] for card in provenance.cards(derivatives.load(copy, "sub-01"))]
        assert ("intracranial" in found) == there


def test_scores_of_networks_have_names_of_structures(copy):
    found = {card["name"]: dict(card["facts"]) for card in provenance.cards(derivatives.load(copy, "sub-01"))}
    term = "Scores of the network alone (Dice, unless named otherwise)"
    ((data, scores),) = found["segmentation"][term].items()
    assert "synthetic images in all contrasts" in data
    assert {"Hippocampus", "Cerebral White Matter", "mean"} <= set(scores)
    assert not any(name.isdecimal() for name in scores)


def with_volume(out):
    """Add an intracranial volume of twice the brain to a participant-session, and a mask."""
    anat = out / "sub-01" / "anat"
    table = anat / "sub-01_desc-aseg_volumes.tsv"
    volume = 2 * derivatives.load(out, "sub-01").volumes["brain"]
    head, *rows = table.read_text().splitlines()
    table.write_text("\n".join([f"{head}\tintracranial_mm3", *(f"{row}\t{volume}" for row in rows)]) + "\n")
    shutil.copy(anat / "sub-01_desc-brain_mask.nii.gz", anat / "sub-01_label-intracranial_mask.nii.gz")
    return volume


def test_intracranial_volume_is_shown(copy, phantoms):
    def page():
        write_participant(copy, "sub-01")
        return (copy / "sub-01.html").read_text()

    assert "Intracranial volume" not in page() and "Inside the skull" not in page()
    about = copy / "sub-01" / "anat" / "sub-01_desc-aseg_volumes.json"
    about.write_text(json.dumps({"IntracranialVolume": {"Value": None, "Reason": "there is no skull"}}))
    assert "n/a: there is no skull" in page()
    volume = with_volume(copy)
    phantoms.relist(copy, "sub-01")
    text = page()
    assert f"{volume / 1000:,.0f} mL" in text and "Share of intracranial volume" in text
    assert "50.00 %" in text, "the brain mask is half of it"
    assert "Inside the skull" in text and "inner surface of the skull" in text
