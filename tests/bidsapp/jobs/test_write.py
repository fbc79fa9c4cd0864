"""Jobs of batch systems: everyone is processed once, with the options of the user; then the group level."""

import os
import re
import subprocess

import pytest

from brainseg.bidsapp.cli.bids import parse
from brainseg.bidsapp.config.batch import SYSTEMS
from brainseg.bidsapp.jobs import request, scripts, write
from brainseg.bidsapp.status import claims, records
from helpers import fake_batch

NAMES = ["sub-01", "sub-02_ses-1", "sub-02_ses-2", "sub-03", "sub-04", "sub-05"]


@pytest.fixture
def bids(fake, tmp_path):
    return fake.dataset(tmp_path / "my bids", NAMES)


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with stand-ins for batch systems and for the program, which notes its arguments."""
    folder = fake_batch.install(tmp_path / "bin")
    program = folder / "program"
    program.write_text(f'#!/bin/sh\nprintf "%s|" "$@" >> {folder / "ran"}; echo >> {folder / "ran"}\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setattr(scripts, "program", lambda: [str(program)])
    monkeypatch.setattr("brainseg.bidsapp.config.batch.largest_index", lambda: 1000)
    return folder


def _job(out):
    return max((out / "logs" / "jobs").iterdir())


def _submit(out, *options):
    subprocess.run(["bash", str(_job(out) / "submit.sh"), *options], check=True, capture_output=True)


def _ran(place):
    return [line.strip("|").split("|") for line in (place / "ran").read_text().splitlines()]


def _labels(words):
    return words[words.index("--participant-label") + 1 :]


@pytest.mark.parametrize("system", SYSTEMS)
def test_every_participant_once_and_the_group_level_last(app, bids, out, place, system):
    options = ["--per-task", "2", "--max-array", "2", "--output-spaces", "MNI152NLin2009cAsym", "--sloppy"]
    assert app(bids, out, "participant", "--write-job", system, *options) == 0
    assert not (out / "logs" / "status").exists()
    _submit(out, "-q", "short")
    *tasks, group = _ran(place)
    assert [_labels(task) for task in tasks] == [["01", "02"], ["03", "04"], ["05"]]
    assert group[:3] == [str(bids), str(out), "group"]
    # options of the user, and explicit CPUs and memory
    settings = parse([*tasks[0], "--mem", "1G"])
    assert settings.sloppy
    assert settings.output_spaces == ("MNI152NLin2009cAsym",)
    assert tasks[0][tasks[0].index("--nprocs") + 1] == "2"
    assert re.fullmatch(r"\d+M", tasks[0][tasks[0].index("--mem") + 1])
    calls = (place / "calls").read_text().splitlines()
    assert len(calls) == 3
    assert all("-q short" in call for call in calls)
    assert re.search(r"afterany:1\S*:2|-hold_jid 1,2|ended\(1\) && ended\(2\)", calls[-1])


def test_an_index_beyond_the_list_is_an_error(app, bids, out, place):
    assert app(bids, out, "participant", "--write-job", "slurm") == 0
    script = _job(out) / "array-001.sh"
    for index in ("0", "6"):
        env = os.environ | {"SLURM_ARRAY_TASK_ID": index}
        done = subprocess.run(["bash", str(script)], env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 2
        assert f"task {index}: this array has the tasks 1 to 5" in done.stderr
    done = subprocess.run(["bash", str(script)], capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "submit this script with sbatch" in done.stderr


def test_a_container_is_given_folders_resources_and_its_job(app, bids, out, place, tmp_path):
    image = tmp_path / "my image.sif"
    assert app(bids, out, "participant", "--write-job", "slurm", "--image", image) == 126
    image.touch()
    assert app(bids, out, "participant", "--write-job", "slurm", "--image", image, "--device", "cuda") == 0
    _submit(out)
    first, *_, group = [line for line in (place / "calls").read_text().splitlines() if "apptainer" in line]
    assert first.startswith("apptainer run --cleanenv --nv ")
    assert f"--bind {bids}:{bids}:ro --bind {out}:{out}" in first
    assert "--env SLURM_ARRAY_TASK_ID=1" in first
    assert f"{image} {bids} {out} participant" in first
    assert "--nprocs 2 --mem" in first
    assert " group --nprocs 2" in group
    assert "#SBATCH --gres=gpu:1" in (_job(out) / "array-001.sh").read_text()
    assert "--gres" not in (_job(out) / "group.sh").read_text()


def test_options_of_the_group_level_are_not_for_the_tasks(app, bids, out, place):
    (bids / "participants.tsv").write_text("participant_id\tgroup\nsub-01\ta\n")
    words = ["participant", "group", "--write-job", "slurm", "--group-by", "group", "--no-pages"]
    assert app(bids, out, *words) == 0
    _submit(out)
    *tasks, group = _ran(place)
    assert [parse(task).no_pages for task in tasks] == [False] * len(tasks)
    assert parse(group).no_pages and parse(group).group_by == "group"


@pytest.mark.slow
def test_only_what_is_left_to_do(app, bids, out, place, capsys):
    assert (
        app(bids, out, "participant", "--participant-label", "01", "03", sub_03={"segmentation": "raise"})
        == 1
    )
    records.write(out, "sub-04", {"state": "running", "stage": "bias"})
    assert app(bids, out, "participant", "--write-job", "slurm") == 0
    assert (_job(out) / write.LIST).read_text().split() == ["02", "03", "04", "05"]
    assert app(bids, out, "participant", "--write-job", "slurm", "--only-failed") == 0
    assert (_job(out) / write.LIST).read_text().split() == ["03", "04"]
    assert "3 left out: not failed (--only-failed)" in capsys.readouterr().out
    with claims.Claims(out) as others:
        assert others.take("sub-04")
        assert app(bids, out, "participant", "--write-job", "slurm", "--only-failed") == 0
        assert (_job(out) / write.LIST).read_text().split() == ["03"]


@pytest.mark.slow
def test_memory_and_time_follow_from_the_images(nifti, bids, tmp_path):
    def needs(*argv, shape, count=1):
        path = nifti(tmp_path / f"sub-01_T1w_{shape[0]}.nii.gz", shape=shape)
        ps = request.ParticipantSession("01", None, path, "T1w")
        return request.of(
            parse([str(bids), "/o", "participant", "--write-job", "sge", *argv]), [[ps] * count]
        )

    small, large = needs(shape=(24, 24, 24)), needs(shape=(256, 256, 200))
    assert small.memory_mib < large.memory_mib
    assert (small.minutes, small.cpus) == (20, 2)
    assert needs(shape=(256, 256, 200), count=40).minutes > 2 * large.minutes
    of_ants = needs("--registration", "ants", shape=(256, 256, 200), count=40)
    assert of_ants.minutes > needs(shape=(256, 256, 200), count=40).minutes
    more = needs("--nprocs", "1", "--mem", "2G", shape=(24, 24, 24))
    assert more.cpus == 1
    assert (more.memory_mib, more.usable_mb) == (1908, 1800)


def test_the_largest_index_is_that_of_slurm(tmp_path, monkeypatch):
    from brainseg.bidsapp.config import batch

    scontrol = tmp_path / "scontrol"
    scontrol.write_text('#!/bin/sh\necho "MaxArraySize            = 501"\n')
    scontrol.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert batch.largest_index() == 500
    scontrol.write_text("#!/bin/sh\nexit 1\n")
    assert batch.largest_index() == batch.LARGEST
