"""The group level: the study's tables, who is missing, and the pages."""

import csv
import json
import re
import shutil

import pytest

from brainseg.bidsapp.reports import derivatives
from brainseg.bidsapp.reports.cohort import Cohort
from brainseg.bidsapp.reports.group import run_group, write_index
from brainseg.bidsapp.reports.group_quality import Outliers
from brainseg.bidsapp.reports.sections import study_columns
from brainseg.bidsapp.status import records
from brainseg.models.errors import DatasetError, ReportError, UsageError
from brainseg.models.population import labels

HOSTILE = "</script><script>document.title='taken'</script>"


@pytest.fixture(scope="module")
def built(phantoms, tmp_path_factory):
    """Nine participant-sessions: six done, one failed, one interrupted, one not begun."""
    out = tmp_path_factory.mktemp("derivatives")
    for i, scale in enumerate((1.0, 0.94, 1.04, 0.97, 1.01)):
        phantoms.participant_session(
            out, f"sub-0{i + 1}", scale=scale, age=20 + 7 * i, sex="FM"[i % 2], pictures=i == 0
        )
    phantoms.participant_session(out, "sub-06_ses-b", scale=0.99, age=44, sex="F", pictures=False)
    phantoms.failed(out, "sub-07", reason="it is 5 voxels wide", remedy="Leave it out")
    phantoms.status(out, "sub-08", "running", stage="bias")
    (out / "participants.tsv").write_text("participant_id\tage\tsex\nsub-01\t99\tM\nsub-09\t33\tM\n")
    return out


@pytest.fixture(scope="module")
def tree(built, tmp_path_factory):
    """The same, after the group level."""
    out = shutil.copytree(built, tmp_path_factory.mktemp("group") / "out")
    assert run_group(out) == out / "group.html"
    return out


@pytest.fixture
def copy(built, tmp_path):
    """The tree, to be damaged."""
    return shutil.copytree(built, tmp_path / "out")


def rows_of(path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file, delimiter="\t"))


def test_one_row_a_participant_session(tree):
    rows = rows_of(tree / "group_volumes.tsv")
    assert [row["participant_id"] for row in rows] == [f"sub-0{i}" for i in range(1, 10)]
    assert [row["session_id"] for row in rows] == ["n/a"] * 5 + ["ses-b"] + ["n/a"] * 3
    assert [row["state"] for row in rows] == ["done"] * 6 + ["failed", "running", "missing"]
    assert rows[0]["age"] == "20" and rows[0]["sex"] == "F"  # the status file goes before the list
    assert rows[8]["age"] == "33"
    volumes = derivatives.load(tree, "sub-02").volumes
    assert float(rows[1]["Left-Hippocampus"]) == pytest.approx(volumes["Left-Hippocampus"])
    assert float(rows[1]["brain"]) == pytest.approx(volumes["brain"], abs=0.01)
    assert set(list(rows[6].values())[5:]) == {"n/a"}


def test_intervals_have_a_table_of_their_own(tree):
    rows, volumes = rows_of(tree / "group_intervals.tsv"), rows_of(tree / "group_volumes.tsv")
    assert [row["participant_id"] for row in rows] == [row["participant_id"] for row in volumes]
    for end, share in (("low", 0.9), ("high", 1.1)):
        found = float(rows[1][f"Left-Hippocampus_{end}"])
        assert found == pytest.approx(share * float(volumes[1]["Left-Hippocampus"]), abs=0.02)
        assert rows[6][f"Left-Hippocampus_{end}"] == "n/a", "it failed"


def test_totals_add_up(tree):
    row = rows_of(tree / "group_volumes.tsv")[0]
    names = [label.name for label in labels.load("adult") if label.name in row]
    parts = sum(float(row[name]) for name in ("total_gm", "total_wm", "total_csf"))
    gray = sum(float(row[name]) for name in ("cortex_gm", "subcortical_gm", "cerebellar_gm"))
    assert gray == pytest.approx(float(row["total_gm"]), abs=0.1)
    assert parts == pytest.approx(sum(float(row[name]) for name in names), abs=0.1)
    assert parts == pytest.approx(float(row["brain"]), rel=1e-3)


@pytest.mark.parametrize("name", ["group_volumes", "group_intervals", "group_missing"])
def test_every_column_is_described(tree, name):
    columns = (tree / f"{name}.tsv").read_text().splitlines()[0].split("\t")
    dictionary = json.loads((tree / f"{name}.json").read_text())
    assert list(dictionary) == columns
    assert all(entry["Description"] for entry in dictionary.values())
    for column in columns:
        known = column == "brain" or column in labels.totals() or column.startswith(("Left-", "Right-"))
        assert not known or dictionary[column]["Units"] == "mm^3"


def test_what_made_the_masks_is_told_where_it_differs(copy):
    changed = {"sub-01": "deepbet", "sub-02": "deepbet", "sub-03": "skullstrip", "sub-04": "extent"}
    for key, source in changed.items():
        records.write(copy, key, records.read(copy, key) | {"mask_source": source})
    page = run_group(copy).read_text()
    for name in ("group_volumes", "group_quality"):
        column = [row["mask_source"] for row in rows_of(copy / f"{name}.tsv")]
        assert column == [*changed.values(), *["n/a"] * 5]
        entry = json.loads((copy / f"{name}.json").read_text())["mask_source"]
        assert set(entry["Levels"]) == {"extent", "precomputed"}
    assert "2 × network deepbet, 1 × network skullstrip, 1 × extent of the skull-stripped image" in page
    assert '<option value="study:mask_source">' in page, "plots are split by it"


def test_one_source_of_masks_is_no_news(tree):
    page = (tree / "group.html").read_text()
    assert "Brain masks have several sources" not in page and "study:mask_source" not in page


def test_missing_says_why(tree):
    rows = {row["participant_id"]: row for row in rows_of(tree / "group_missing.tsv")}
    assert list(rows) == ["sub-07", "sub-08", "sub-09"]
    assert rows["sub-07"]["reason"] == "it is 5 voxels wide" and rows["sub-07"]["remedy"] == "Leave it out"
    assert rows["sub-08"]["stage"] == "n/a" and "did not finish" in rows["sub-08"]["reason"]
    page = (tree / "group.html").read_text()
    assert "it is 5 voxels wide" in page and 'href="sub-07.html"' in page


def test_every_table_is_linked(tree):
    text = (tree / "group.html").read_text()
    for path in tree.glob("group_*.tsv"):
        assert f'href="{path.name}"' in text


def test_links_lead_somewhere(tree):
    for name in ("group.html", "index.html"):
        page = (tree / name).read_text()
        targets = re.findall(r'(?:href|src)="([^"#]+)"', page)
        assert any(target.endswith("sub-06_ses-b.html") for target in targets)
        for target in targets:
            assert target == "data:," or (tree / target).is_file(), target


def test_reports_know_the_others_afterwards(tree):
    page = (tree / "sub-01.html").read_text()
    assert "n = 6" in page and 'href="index.html"' in page


@pytest.mark.slow
def test_vanished_files_are_told(copy):
    next((copy / "sub-03" / "anat").glob("*_desc-aseg_dseg.nii.gz")).unlink()
    run_group(copy)
    rows = {row["participant_id"]: row for row in rows_of(copy / "group_missing.tsv")}
    assert "outputs are missing" in rows["sub-03"]["reason"]


def test_without_ages_and_sessions_no_such_columns(phantoms, tmp_path):
    phantoms.participant_session(tmp_path, "sub-01", pictures=False)
    run_group(tmp_path)
    columns = (tmp_path / "group_volumes.tsv").read_text().splitlines()[0].split("\t")
    assert columns[:3] == ["participant_id", "state", "brain"]
    assert 'id="age-plot"' not in (tmp_path / "group.html").read_text()


def test_only_failures_make_a_page_too(phantoms, tmp_path):
    phantoms.failed(tmp_path, "sub-01")
    page = run_group(tmp_path).read_text()
    assert "the file is truncated" in page and 'id="overview-plot"' not in page
    assert (tmp_path / "sub-01.html").is_file()


def test_nothing_there_is_an_error(tmp_path):
    with pytest.raises(DatasetError, match="Run the participant level first"):
        run_group(tmp_path)


def test_page_that_cannot_be_written(copy):
    (copy / "group.html").mkdir()
    (copy / "group.html" / "x").touch()
    with pytest.raises(ReportError, match="could not be written"):
        run_group(copy)


@pytest.mark.slow
def test_damaged_tables_cost_one_unit_only(copy):
    path = next((copy / "sub-02" / "anat").glob("*_volumes.tsv"))
    path.write_text("index\tname\nx\ty\n3\n")
    run_group(copy)
    rows = rows_of(copy / "group_volumes.tsv")
    assert rows[1]["brain"] == "n/a" and rows[0]["brain"] != "n/a"


@pytest.mark.slow
def test_texts_of_others_are_shown_not_obeyed(copy, phantoms):
    phantoms.failed(copy, "sub-07", reason=HOSTILE + "\tand\na line", file=HOSTILE, remedy=HOSTILE)
    phantoms.status(copy, "sub-01", age=30, sex=HOSTILE)
    (copy / "dataset_description.json").write_text(json.dumps({"Name": HOSTILE}))
    run_group(copy)
    for name in ("group.html", "index.html"):
        assert "<script>document" not in (copy / name).read_text()
    assert len(rows_of(copy / "group_missing.tsv")) == 3


def test_outliers_need_enough_participants():
    def cohort(count):
        others = {f"sub-{i}": {"Brain-Stem": 20e3 + 100 * (i % 5)} for i in range(count)}
        return Cohort(others | {"sub-x": {"Brain-Stem": 26e3}})

    assert Outliers(cohort(20), {}).words("sub-x") == ["Brain Stem +29 %"]
    assert Outliers(cohort(20), {}).words("sub-1") == []
    assert Outliers(cohort(5), {}).words("sub-x") == []


def test_index_alone(copy):
    page = write_index(copy).read_text()
    assert "sub-06 · ses-b" in page and "it is 5 voxels wide" in page and "group page" not in page


@pytest.mark.browser
def test_in_a_browser(tree, browser):
    browser.visit(tree / "group.html")
    browser.until("document.body.dataset.ready")
    dots = browser.run("document.querySelectorAll('#overview-plot .dot').length")
    assert dots % 6 == 0 and dots > 60
    assert browser.run("document.querySelectorAll('#age-plot .dot').length") == 6

    browser.run("document.querySelector('#strip-plot .dot[data-key=\"sub-03\"]').parentNode.focus()")
    tip = "document.querySelector('#tip')"
    assert browser.run(f"{tip}.textContent").startswith("sub-03") and not browser.run(f"{tip}.hidden")
    assert browser.run("document.querySelector('tr.lit').dataset.key") == "sub-03"
    link = "document.querySelector('#overview-plot .dot[data-key=\"sub-06_ses-b\"]').parentNode"
    assert browser.run(f"{link}.href.baseVal ?? {link}.getAttribute('href')") == "sub-06_ses-b.html"

    browser.click("label:has(input[value=relative])")
    assert "%" in browser.run("document.querySelector('#summary-words').textContent")
    browser.click("#sides")
    assert "Left Hippocampus" in browser.run("document.querySelector('#overview-plot').textContent")
    browser.run(
        "(() => { const s = document.querySelector('#split'); s.value = 'sex';"
        " s.dispatchEvent(new Event('change')); })()"
    )
    assert "sex F (n = 4)" in browser.run("document.querySelector('#strip-plot').textContent")

    order = "[...document.querySelectorAll('#table tbody tr:not([hidden])')].map((row) => row.dataset.key)"
    brain = "#table thead th:nth-of-type(6) button"
    browser.click(brain)
    browser.click(brain)
    assert browser.run(order)[0] == "sub-03"
    browser.type("#find", "failed")
    assert browser.run(order) == ["sub-07"]
    assert browser.complaints() == [] and browser.outside() == []


@pytest.mark.browser
def test_hostile_group_in_a_browser(copy, phantoms, browser):
    phantoms.failed(copy, "sub-07", reason=HOSTILE)
    phantoms.status(copy, "sub-01", age=30, sex=HOSTILE)
    for page in (run_group(copy), copy / "index.html", copy / "sub-07.html", copy / "sub-01.html"):
        browser.visit(page)
        assert browser.run("document.title") != "taken"
        assert browser.complaints() == [] and browser.outside() == []


@pytest.fixture(scope="module")
def study(built, tmp_path_factory):
    """The tree with columns of the study: by participant in the table, by session in a status file."""
    out = shutil.copytree(built, tmp_path_factory.mktemp("study") / "out")
    lines = ["participant_id\tage\tgroup\tBMI\tbrain\tcomment"]
    lines += [
        f"sub-0{i}\tn/a\t{'patient' if i % 2 else 'control'}\t{20 + i}.5\tyes\tn/a" for i in range(1, 7)
    ]
    (out / "participants.tsv").write_text("\n".join(lines) + "\n")
    (out / "participants.json").write_text('{"BMI": {"Description": "Body mass index", "Units": "kg/m^2"}}')
    status = out / "logs" / "status" / "sub-06_ses-b.json"
    content = json.loads(status.read_text())
    content |= {"columns": {"group": "treated", "arm": "B"}, "notes": ["3 voxels were NaN: set to 0."]}
    status.write_text(json.dumps(content))
    run_group(out)
    return out


def test_tables_have_the_columns_of_the_study_and_notes(study):
    rows = rows_of(study / "group_volumes.tsv")
    assert [row["group"] for row in rows[:6]] == ["patient", "control"] * 2 + ["patient", "treated"]
    assert rows[0]["BMI"] == "21.5" and rows[5]["arm"] == "B" and rows[0]["arm"] == "n/a"
    assert rows[0]["study_brain"] == "yes" and float(rows[0]["brain"]) > 1000
    assert "comment" not in rows[0]
    described = json.loads((study / "group_volumes.json").read_text())
    assert described["BMI"]["Units"] == "kg/m^2" and "source dataset" in described["group"]["Description"]
    quality = rows_of(study / "group_quality.tsv")
    assert quality[5]["notes"] == "3 voxels were NaN: set to 0." and quality[5]["group"] == "treated"
    assert list(json.loads((study / "group_quality.json").read_text())) == list(quality[0])


def test_the_page_can_split_by_the_columns_of_the_study(study):
    page = (study / "group.html").read_text()
    assert '<option value="study:group">' in page and '<option value="study:BMI">' in page
    assert "3 voxels were NaN: set to 0." in page and "<summary>1 note</summary>" in page
    assert re.search(r"<details class=.files.><summary>Further tables \(\d+\)", page), "folded"
    assert "No readable age for" in page


def test_volumes_are_summed_up_by_a_column(study, tmp_path):
    out = shutil.copytree(study, tmp_path / "out")
    page = run_group(out, "group").read_text()
    assert '<option value="study:group" selected>' in page
    rows = {(row["group"], row["measure"]): row for row in rows_of(out / "group_summary.tsv")}
    volumes = [float(row["brain"]) for row in rows_of(out / "group_volumes.tsv") if row["group"] == "patient"]
    patients = rows["patient", "brain"]
    assert patients["n"] == "3" and float(patients["max"]) == pytest.approx(max(volumes), abs=0.02)
    assert float(patients["mean"]) == pytest.approx(sum(volumes) / 3, abs=0.02)
    assert rows["treated", "brain"]["sd"] == "n/a"
    assert patients["n_participants"] == "3" and not study_columns.repeated(out)
    assert list(json.loads((out / "group_summary.json").read_text())) == list(
        rows_of(out / "group_summary.tsv")[0]
    )
    with pytest.raises(UsageError, match=r"no column 'nobody'. There are .*'group'"):
        run_group(out, "nobody")
    run_group(out)
    assert not (out / "group_summary.tsv").exists()


def test_sessions_are_not_counted_as_people(built, phantoms, tmp_path):
    out = shutil.copytree(built, tmp_path / "out")
    phantoms.participant_session(out, "sub-06_ses-c", scale=0.98, age=45, sex="F", pictures=False)
    lines = ["participant_id\tgroup", *(f"sub-0{i}\t{'a' if i < 5 else 'b'}" for i in range(1, 7))]
    (out / "participants.tsv").write_text("\n".join(lines) + "\n")
    assert "7 sessions of 6 participants" in run_group(out, "group").read_text()
    rows = {row["group"]: row for row in rows_of(out / "group_summary.tsv") if row["measure"] == "brain"}
    assert [rows[name]["n"] for name in "ab"] == ["4", "3"]
    assert [rows[name]["n_participants"] for name in "ab"] == ["4", "2"]
    assert "some participants have several sessions" in study_columns.repeated(out)


@pytest.mark.browser
def test_a_column_of_the_study_in_a_browser(study, browser):
    browser.visit(study / "group.html")
    browser.until("document.body.dataset.ready")
    choose = (
        "(() => {{ const s = document.querySelector('{}'); s.value = '{}';"
        " s.dispatchEvent(new Event('change')); }})()"
    )
    browser.run(choose.format("#split", "study:group"))
    labels_of = "[...document.querySelectorAll('#strip-plot text.label')].map((t) => t.textContent).join()"
    assert browser.run(labels_of) == "group control (n = 2),group patient (n = 3),group treated (n = 1)"
    browser.run(choose.format("#against", "study:BMI"))
    assert browser.run("document.querySelectorAll('#age-plot .dot').length") == 6
    assert "Against BMI" in browser.run("document.querySelector('#summary-words').textContent")
    browser.run(choose.format("#column", "BMI"))
    cell = "document.querySelector('tr[data-key=\"sub-01\"] .study')"
    assert browser.run(f"{cell}.textContent") == "21.5" and not browser.run(f"{cell}.hidden")
    assert browser.complaints() == []


@pytest.mark.browser
def test_a_narrow_window_shows_names_and_points(tree, browser):
    size = browser.driver.get_window_size()
    browser.driver.set_window_size(500, 900)
    try:
        browser.visit(tree / "group.html")
        browser.until("document.body.dataset.ready")
        assert browser.run("document.documentElement.scrollWidth <= window.innerWidth")
        tall = "document.querySelector('#overview-plot .label').getBoundingClientRect().height"
        assert browser.run(tall) >= 9  # pixels; legible
    finally:
        browser.driver.set_window_size(size["width"], size["height"])
