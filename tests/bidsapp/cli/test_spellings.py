"""Command lines written for other BIDS Apps: the same names, in any order, or a true answer."""

from pathlib import Path

import pytest

from brainseg.bidsapp.cli import bids
from brainseg.bidsapp.cli.bids import parse
from brainseg.bidsapp.config.settings import TEMPLATES
from brainseg.models.errors import UsageError

BASE = ["/data/bids", "/data/out", "participant"]
SPELLINGS = {
    "--participant_label 01": "--participant-label 01",
    "--participant_label=01": "--participant-label 01",
    "--session_label a": "--session-label a",
    "--session-id a": "--session-label a",
    "--skip_bids_validation": "--skip-bids-validation",
    "--n_cpus 1": "--nprocs 1",
    "--n-cpus 1": "--nprocs 1",
    "--nthreads 1": "--nprocs 1",
    "--n_procs 1": "--nprocs 1",
    "--omp_nthreads 1": "--omp-nthreads 1",
    "--mem 800": "--mem 800M",
    "--mem-mb 800": "--mem 800M",
    "--mem_mb 800": "--mem 800M",
    "--mem_gb 1": "--mem 1G",
    "--work_dir /data/w": "--work-dir /data/w",
    "--skull-strip-t1w force": "--skull-strip force",
    "--use-plugin /data/p.yml": "--nipype-plugin-file /data/p.yml",
    "--output_spaces MNI152NLin2009cAsym:res-1": "--output-spaces MNI152NLin2009cAsym",
    "-vvv": "--verbose --verbose --verbose",
}


@pytest.mark.parametrize("theirs", SPELLINGS)
def test_names_of_other_programs_mean_the_same(theirs):
    assert parse([*BASE, *theirs.split()]) == parse([*BASE, *SPELLINGS[theirs].split()])


@pytest.mark.parametrize(
    "argv",
    [
        "BIDS OUT --participant-label 01 02 participant group",
        "--participant_label 01 02 BIDS OUT participant group",
        "BIDS --participant-label 01 02 OUT participant group",
        "--sloppy BIDS OUT participant group --participant-label 01 02",
    ],
)
def test_the_level_may_follow_a_list_of_labels(argv):
    chosen = parse(argv.split())
    assert chosen.participant_label == ("01", "02")
    assert chosen.analysis_level == ("participant", "group")
    assert (chosen.bids_dir, chosen.output_dir) == (Path("BIDS").resolve(), Path("OUT").resolve())


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        ("participant", "no dataset (BIDS)"),
        ("BIDS participant", "no output folder (OUT)"),
        ("BIDS OUT", "no analysis level"),
        ("BIDS OUT participants", "'participants' is not an analysis level"),
    ],
)
def test_what_is_missing_of_the_three_names_is_named(argv, words):
    with pytest.raises(UsageError) as caught:
        parse(argv.split())
    assert words in str(caught.value)


def test_the_level_may_follow_the_quality_gate():
    chosen = parse(["BIDS", "OUT", "--quality-gate", "participant"])
    assert (chosen.quality_gate, chosen.analysis_level) == ("fail", ("participant",))


def test_longitudinal_says_what_it_does(app, fake, tmp_path, capsys):
    assert parse([*BASE, "--longitudinal"]).subject_anatomical_reference == "unbiased"
    bids_dir = fake.dataset(tmp_path / "bids", ["sub-01"])
    argv = ["--longitudinal", "--fs-license-file", "license.txt", "--fs-no-reconall"]
    assert app(bids_dir, tmp_path / "out", "participant", *argv, "--dry-run") == 0
    said = capsys.readouterr().out
    assert "--longitudinal: all sessions of a participant share one reference image" in said
    assert "--fs-license-file: ignored; no license file is needed" in said
    assert "--fs-no-reconall: ignored" in said
    assert app(bids_dir, tmp_path / "out", "participant", *argv) == 0
    assert "--longitudinal: all sessions" in capsys.readouterr().out


def test_native_spaces_are_always_written_and_surfaces_never():
    chosen = parse([*BASE, "--output-spaces", "anat", "T1w"])
    assert chosen.output_spaces == TEMPLATES
    assert "in the space of the image are always written" in chosen.notes[0]
    chosen = parse([*BASE, "--output-spaces", "anat", "MNIInfant:cohort-2"])
    assert chosen.output_spaces == ("MNIInfant:cohort-2",)
    for space, why in {
        "fsaverage:den-10k": "surfaces are not computed",
        "fsnative": "surfaces are not computed",
        "func": "functional images are not processed",
    }.items():
        with pytest.raises(UsageError) as caught:
            parse([*BASE, "--output-spaces", space])
        assert why in str(caught.value)
        assert "templateflow" not in str(caught.value).lower()


def test_a_number_of_gigabytes_is_not_taken_for_megabytes():
    with pytest.raises(UsageError, match="Give the unit, such as 8G"):
        parse([*BASE, "--mem", "8"])


def test_v_alone_is_the_version(capsys):
    with pytest.raises(SystemExit) as stop:
        bids.main(["-v"])
    assert stop.value.code == 0
    assert capsys.readouterr().out.startswith("brainseg-bids ")
