"""Names of atlases: what may be written, which files are meant, and what is said of missing ones."""

import pytest

from brainseg.bidsapp.config import atlases as settings
from brainseg.models.errors import InputError, MissingFileError, UsageError
from brainseg.models.parcellation import names, tables

SPACES = ("MNI152NLin2009cAsym",)


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("TEMPLATEFLOW_HOME", str(tmp_path / "tf"))
    return tmp_path / "tf"


@pytest.mark.parametrize(
    ("text", "label", "space"),
    [
        ("Schaefer100", "Schaefer100", "MNI152NLin2009cAsym"),
        ("DKT31:MNI152NLin6Asym", "DKT31", "MNI152NLin6Asym"),
        ("Schaefer2018:desc-200Parcels7Networks", "Schaefer2018200Parcels7Networks", "MNI152NLin2009cAsym"),
        ("Lab=/a:b/c.nii.gz:MNIInfant:cohort-2", "Lab", "MNIInfant+2"),
        ("Lab=/a/c.nii", "Lab", "MNI152NLin2009cAsym"),
    ],
)
def test_names_are_read(text, label, space):
    found = names.parse(text)
    assert (found.label, found.space) == (label, space)


@pytest.mark.parametrize(
    "text", ["", "My-Atlas", "A=table.tsv", "=a.nii.gz", "A:desc-a:desc-b", "A:cohort-2"]
)
def test_what_is_no_name_is_refused(text):
    with pytest.raises(UsageError, match="--atlases"):
        names.parse(text)


def test_shipped_atlases_have_tables_and_licenses():
    assert names.shipped() == ["DesikanKilliany", "Schaefer100", "Schaefer400"]
    for name in names.shipped()[1:]:
        atlas = names.parse(name)
        parcels = tables.read_table(names.find(atlas).table)
        assert [parcel.index for parcel in parcels] == list(range(1, int(name[8:]) + 1))
        about = tables.about(atlas)
        assert about["license"] == "MIT" and "CBIG" in about["license_text"]
        assert "10.1093/cercor/bhx179" in about["cited"]


def test_files_of_a_user_and_of_templateflow(home, tmp_path):
    image, table = tmp_path / "lab_dseg.nii.gz", tmp_path / "lab_dseg.tsv"
    image.touch()
    atlas = names.parse(f"Lab={image}")
    with pytest.raises(MissingFileError, match="table of labels"):
        names.find(atlas)
    table.write_text("index\tname\tcolor\n0\tBackground\t\n2\tTwo\t#ff0000\n1\tOne\t\n")
    assert names.find(atlas).table == table
    assert [(p.index, p.name) for p in tables.read_table(table)] == [(1, "One"), (2, "Two")]
    before = tables.digest(atlas)
    image.write_bytes(b"other")
    assert tables.digest(atlas) != before
    folder = home / "tpl-MNI152NLin2009cAsym"
    folder.mkdir(parents=True)
    stem = "tpl-MNI152NLin2009cAsym"
    for name in (f"{stem}_res-01_atlas-DK_dseg.nii.gz", f"{stem}_res-02_atlas-DK_dseg.nii.gz"):
        (folder / name).write_bytes(b"x")
    (folder / f"{stem}_atlas-DK_dseg.tsv").write_text("index\tname\n1\tOne\n")
    assert names.find(names.parse("DK")).image.name == f"{stem}_res-01_atlas-DK_dseg.nii.gz"
    with pytest.raises(MissingFileError, match="here: DK") as caught:
        names.find(names.parse("Yeo:desc-7"))
    assert "brainseg templates get MNI152NLin2009cAsym --atlas Yeo:desc-7" in caught.value.remedy


def test_what_templateflow_has_but_was_not_fetched_is_not_here(home):
    folder = home / "tpl-MNI152NLin2009cAsym"
    folder.mkdir(parents=True)
    ends = ("DiFuMo_desc-64dimensions", "Schaefer2018_desc-200Parcels7Networks", "HOCPA_desc-th0")
    for number, end in enumerate(ends):
        path = folder / f"tpl-MNI152NLin2009cAsym_res-01_atlas-{end}_dseg.nii.gz"
        path.write_bytes(b"x" if number == 2 else b"")
    whole = "Schaefer2018:desc-200Parcels7Networks"
    fetch = "brainseg templates get MNI152NLin2009cAsym --atlas"
    remedies = {
        whole: f"Run: {fetch} {whole}",
        "Schaefer200": f"The nearest are {whole}; fetch with: {fetch} {whole}",
        "Shaefer100": "The nearest are Schaefer100, Schaefer400",
        "HOCPA": "The nearest are HOCPA:desc-th0",
        "Xyz": "TemplateFlow has in MNI152NLin2009cAsym: DiFuMo:desc-64dimensions, HOCPA:desc-th0, " + whole,
    }
    for text, remedy in remedies.items():
        with pytest.raises(MissingFileError, match=r"here: HOCPA:desc-th0\)") as caught:
            names.find(names.parse(text))
        assert caught.value.remedy == remedy


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name\nOne\n", "columns index and name"),
        ("index\tname\none\tOne\n", "no label"),
        ("index\tname\n1\tOne\n1\tTwo\n", "stands twice"),
    ],
)
def test_tables_that_cannot_be_used_are_told(tmp_path, text, said):
    path = tmp_path / "dseg.tsv"
    path.write_text(text)
    with pytest.raises(InputError, match=said):
        tables.read_table(path)


def test_atlases_lie_in_output_spaces():
    assert settings.choose(["Schaefer100", "Schaefer100"], SPACES) == ("Schaefer100",)
    with pytest.raises(UsageError, match="which is no output space") as caught:
        settings.choose(["Schaefer100"], ["MNI152NLin6Asym"])
    assert caught.value.remedy == "Add MNI152NLin2009cAsym to --output-spaces"
    with pytest.raises(UsageError, match="no output space"):
        settings.choose(["DKT31:MNI152NLin6Asym"], SPACES)


@pytest.mark.parametrize("text", ["T2w", "T2w=", "T-2=a.nii", "T2w={subject}.nii"])
def test_maps_are_names_and_paths(text):
    with pytest.raises(UsageError, match="--maps"):
        settings.maps([text])


def test_maps_need_parcels():
    given = {"maps": ["T2w={key}.nii"], "output_spaces": SPACES}
    assert settings.both(given)["maps"] == ("T2w={key}.nii",), "those of the cortex are on by default"
    with pytest.raises(UsageError, match="needs parcels"):
        settings.both(given | {"steps": ("parcels", "no-parcels")})
