"""What a reader meets on the pages: pictures first, visible borders, whole tables, distinct ticks."""

import io
import shutil

import numpy as np
import pytest
from PIL import Image

from brainseg.bidsapp.reports import derivatives, mosaic
from brainseg.bidsapp.reports.group import run_group
from brainseg.bidsapp.reports.participant import write_participant
from brainseg.bidsapp.reports.sections.quality import short_name
from brainseg.models.quality import iqm

SETTINGS = 'analysis_level = ["{}"]\n'


@pytest.fixture(scope="module")
def built(phantoms, tmp_path_factory):
    """Three participants whose volumes hardly differ."""
    out = tmp_path_factory.mktemp("derivatives")
    for i, scale in enumerate((1.0, 1.0003, 0.9997)):
        key = f"sub-0{i + 1}"
        phantoms.participant_session(
            out, key, scale=scale, age=30.001 + i / 1000, sex="FM"[i % 2], verdict="pass", pictures=i == 0
        )
    write_participant(out, "sub-01")
    run_group(out)
    return out


@pytest.fixture
def tree(built, tmp_path):
    return shutil.copytree(built, tmp_path / "out")


@pytest.mark.slow
def test_pictures_stand_before_the_tables_of_quality(built):
    page = (built / "sub-01.html").read_text()
    places = [
        page.index(f'id="{name}"') for name in ("summary", "mask", "segmentation", "alignment", "quality")
    ]
    assert places == sorted(places)
    menu = [page.index(f'href="#{name}"') for name in ("mask", "segmentation", "alignment", "volumes")]
    assert menu == sorted(menu)


@pytest.mark.slow
def test_outlines_show_the_border_of_gray_and_white_matter(built, phantoms):
    figure = io.BytesIO(phantoms.figures(built, "sub-01")["sub-01_desc-tissuelines_dseg.png"])
    pixels = np.asarray(Image.open(figure).convert("RGBA"))
    drawn = {tuple(int(c) for c in color[:3]) for color in np.unique(pixels[pixels[..., 3] > 0], axis=0)}
    assert mosaic.WHITE_LINE in drawn
    assert not [color for color in drawn if min(color) > mosaic.LIGHT]
    page = (built / "sub-01.html").read_text()
    tissues = page[page.index('id="tissues"') :]
    assert "checked" in tissues.split('data-layer="lines"')[1].split(">")[0]


def test_metrics_have_their_known_names():
    names = {short_name(name) for name in iqm.DEFINITIONS}
    assert {"CJV", "CNR", "EFC", "FBER", "SNR total", "SNRd total", "INU range", "QI 1", "WM2MAX"} <= names
    assert {"FWHM mean", "ICVs CSF", "rPVE GM", "TPM overlap WM"} <= names
    assert len(names) == len(iqm.DEFINITIONS)


def test_a_chosen_subset_is_complete(tree):
    (tree / "participants.tsv").write_text("participant_id\nsub-01\nsub-02\nsub-03\nsub-04\nsub-05\n")
    log = tree / "logs" / "20260101-000000_aaaa"
    log.mkdir(parents=True)
    (log / "brainseg.toml").write_text(
        SETTINGS.format("participant") + 'participant_label = ["01", "02", "03"]\n'
    )
    group = log.with_name("20260102-000000_bbbb")
    group.mkdir()
    (group / "brainseg.toml").write_text(SETTINGS.format("group"))
    page = run_group(tree).read_text()
    assert "Incomplete" not in page and "Not processed" not in page
    assert "2 participants of participants.tsv were not selected" in page
    assert len((tree / "group_missing.tsv").read_text().splitlines()) == 1
    assert [result.key for result in derivatives.load_all(tree)] == ["sub-01", "sub-02", "sub-03"]
    # A run of all participants that did not come to two of them is not complete.
    (group / "brainseg.toml").write_text(SETTINGS.format("participant"))
    assert "Incomplete" in run_group(tree).read_text()
    assert len((tree / "group_missing.tsv").read_text().splitlines()) == 3


@pytest.mark.browser
@pytest.mark.parametrize("page", ["sub-01.html", "group.html"])
def test_no_table_is_cut_at_1400_pixels(built, browser, page):
    browser.visit(built / page)
    cut = "[...document.querySelectorAll('.scroll')].filter((box) => box.scrollWidth > box.clientWidth + 1)"
    assert browser.run(f"{cut}.map((box) => box.closest('section').id)") == []
    assert browser.run("document.documentElement.scrollWidth <= innerWidth")


@pytest.mark.browser
def test_ticks_of_an_axis_differ(built, browser):
    browser.visit(built / "group.html")
    browser.until("document.body.dataset.ready")
    assert (
        browser.run(
            "(() => { const select = document.querySelector('#measure'), out = [];"
            " for (const option of select.options) { select.value = option.value;"
            " select.dispatchEvent(new Event('change'));"
            " for (const plot of ['#strip-plot', '#age-plot']) for (const end of ['end', 'middle']) {"
            " const texts = [...document.querySelectorAll(`${plot} text:not(.label)[text-anchor=${end}]`)]"
            ".map((text) => text.textContent);"
            " if (new Set(texts).size < texts.length) out.push(option.text); } }"
            " return out; })()"
        )
        == []
    )
    spill = "document.querySelector('#overview-plot').getBoundingClientRect().left"
    lefts = (
        "[...document.querySelectorAll('#overview-plot .label')].map((x) => x.getBoundingClientRect().left)"
    )
    assert browser.run(f"Math.min(...{lefts}) >= {spill} - 1")


@pytest.mark.browser
def test_the_viewer_is_no_black_block_without_its_data(tree, browser):
    for script in tree.glob("sub-01/figures/*_desc-viewer_dseg.js"):
        script.unlink()
    browser.visit(tree / "sub-01.html", "#segmentation")
    browser.until("document.querySelector('#readout').textContent.includes('missing')")
    assert browser.run("document.querySelector('.planes').offsetHeight") == 0


@pytest.mark.browser
def test_figures_are_shown_and_missing_ones_are_told(tree, browser):
    browser.visit(tree / "sub-01.html")
    images = "[...document.querySelectorAll('img[data-figure]')]"
    browser.until(f"{images}.length > 8 && {images}.every((image) => image.naturalWidth > 100)")
    assert browser.run("document.querySelector('#pack').offsetHeight") == 0
    (tree / "sub-01" / "figures" / "sub-01_desc-figures.js").rename(tree / "figures.js")
    browser.visit(tree / "sub-01.html")
    browser.until("document.querySelector('#pack').offsetHeight > 0")
    (tree / "figures.js").rename(tree / "sub-01" / "figures" / "sub-01_desc-figures.js")
