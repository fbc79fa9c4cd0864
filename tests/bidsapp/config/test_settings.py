"""Settings: from command line and TOML to one value, and back."""

import platform
import tomllib
from pathlib import Path

import pytest

from brainseg.bidsapp.cli.bids import parse
from brainseg.bidsapp.config import resources, settings
from brainseg.models.errors import UsageError

BASE = ["/data/bids", "/data/out", "participant"]


def test_defaults_suit_the_machine():
    chosen = parse(BASE)
    assert chosen.nprocs == resources.cpus()
    assert 1 <= chosen.omp_nthreads <= min(settings.MAX_THREADS, chosen.nprocs)
    assert 0 < chosen.mem_gb <= resources.memory_gb()
    assert chosen.resume
    assert chosen.suffixes[0] == "T1w"


def test_labels_with_and_without_prefix():
    chosen = parse([*BASE, "--participant-label", "sub-01", "02,sub-03", "01", "--session-label", "ses-a"])
    assert chosen.participant_label == ("01", "02", "03")
    assert chosen.session_label == ("a",)


@pytest.mark.parametrize(
    "argv",
    [
        *(["--participant-label", text] for text in ("", " ", "sub-", "01,,02", ",")),
        *(["--participant-label", "01", ""], ["--session-label", "ses-"], ["--modalities", ""]),
        *(["-w", ""], ["--mem", ""], ["--steps", ""], ["--bids-database-dir", " "]),
    ],
)
def test_an_empty_value_never_means_everything(argv):
    with pytest.raises(UsageError, match="is empty") as refused:
        parse([*BASE, *argv])
    assert refused.value.exit_code == 2
    with pytest.raises(UsageError, match="BIDS is empty"):
        parse(["", *BASE[1:]])


def test_options_may_stand_between_the_names():
    chosen = parse(["/b", "--nprocs", "1", "/o", "--debug", "participant", "group"])
    assert chosen.analysis_level == ("participant", "group")
    assert chosen.plugin == "linear"


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--mem", "8"], ["--mem 8", "8G"]),
        (["--mem", "900T"], ["more than this process may use"]),
        (["--nprocs", "0"], ["--nprocs 0"]),
        (["--modalities", "bold"], ["'bold'", "T1w"]),
        (["--population", "infant"], ["infant", "Use auto, adult or fetal."]),
        (["--population", "martian"], ["martian"]),
        (["--output-spaces", "MNI-152"], ["MNI-152", "MNI152NLin2009cAsym"]),
        (["--registration-refine", "-1"], ["--registration-refine"]),
        (["--output-spaces", "MNI152NLin2009cAsym:res-3"], ["res-1", "res-2"]),
    ],
)
def test_impossible_values_are_refused_by_name(argv, words):
    with pytest.raises(UsageError) as caught:
        parse([*BASE, *argv])
    assert all(word in str(caught.value) for word in words), caught.value


def test_nothing_is_asked_of_those_who_forget_a_name():
    for argv in ([], ["/b"], ["/b", "/o"], ["/b", "/o", "subject"]):
        with pytest.raises(UsageError):
            parse(argv)


def test_toml_comes_back_as_it_went(tmp_path, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)  # a note on it is of this run, no setting
    argv = [
        *BASE,
        "--participant-label",
        "01",
        "02",
        "--mem",
        "1500M",
        "--no-resume",
        "-vv",
        "--skull-strip",
        "force",
    ]
    chosen = parse([*argv, "--write-graph", "--n-gpus", "0", "-w", str(tmp_path / 'a "quoted" name')])
    path = tmp_path / "brainseg.toml"
    path.write_text(settings.to_toml(chosen, {"command": "x 'y' \\ \"z\""}))
    assert tomllib.loads(path.read_text())["record"]["command"] == "x 'y' \\ \"z\""
    assert parse(["--config-file", str(path)]) == chosen


def test_defaults_of_a_machine_are_not_stored():
    names = {"nprocs", "omp_nthreads", "mem"}
    assert not names & set(tomllib.loads(settings.to_toml(parse(BASE))))
    given = parse([*BASE, "--nprocs", "1", "--omp-nthreads", "1", "--mem", "500M"])
    stored = tomllib.loads(settings.to_toml(given))
    assert {name: stored[name] for name in names} == {"nprocs": 1, "omp_nthreads": 1, "mem": "500M"}


def test_what_is_reduced_or_has_no_effect_is_told(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    chosen = parse([*BASE, "--nprocs", "2", "--omp-nthreads", "8"])
    assert chosen.omp_nthreads == 2
    assert chosen.notes == ("--omp-nthreads 8 is reduced to 2, the number of CPUs (--nprocs)",)
    idle = parse([*BASE, "--reports-only", "--stop-after", "skullstrip"])
    assert "--stop-after is ignored: --reports-only computes nothing" in idle.notes


def test_the_command_line_overrides_the_file(tmp_path):
    path = tmp_path / "my.toml"
    path.write_text(
        'bids_dir = "/b"\noutput_dir = "/o"\nanalysis_level = "participant"\n'
        'skull-strip = "skip"\nresume = false\n'
    )
    assert parse(["--config-file", str(path)]).skull_strip == "skip"
    chosen = parse(["/c", "/p", "group", "--config-file", str(path), "--skull-strip", "force", "--resume"])
    assert (chosen.bids_dir, chosen.output_dir) == (Path("/c"), Path("/p"))
    assert (chosen.analysis_level, chosen.skull_strip, chosen.resume) == (("group",), "force", True)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("skul_strip = 'skip'", ["skul_strip", "skull_strip"]),
        ("a = = 1", ["TOML"]),
        ("nprocs = true", ["nprocs"]),
    ],
)
def test_a_mistake_in_the_file_names_file_and_key(tmp_path, text, words):
    path = tmp_path / "my.toml"
    path.write_text(text)
    with pytest.raises(UsageError) as caught:
        parse([*BASE, "--config-file", str(path)])
    assert all(word in str(caught.value) for word in [str(path), *words])


def test_a_missing_file_is_named():
    with pytest.raises(UsageError, match=r"nowhere\.toml"):
        parse([*BASE, "--config-file", "/nowhere.toml"])


def _groups(folder: Path, text: str) -> Path:
    path = folder / "groups"
    path.write_text(text)
    return path


def test_limits_of_cgroup_2(tmp_path):
    inner = tmp_path / "slurm" / "job"
    inner.mkdir(parents=True)
    (inner / "cpu.max").write_text("max 100000\n")
    (inner.parent / "cpu.max").write_text("150000 100000\n")
    (inner.parent / "memory.max").write_text("2000000000\n")
    (inner / "memory.max").write_text("max\n")
    groups = _groups(tmp_path, "0::/slurm/job\n")
    assert resources.cpus({}, tmp_path, groups) == 1
    assert resources.memory_gb({}, tmp_path, groups) == 2.0


def test_limits_of_cgroup_1(tmp_path):
    for name in ("cpu", "memory"):
        (tmp_path / name / "docker").mkdir(parents=True)
    (tmp_path / "cpu" / "docker" / "cpu.cfs_quota_us").write_text("100000")
    (tmp_path / "cpu" / "docker" / "cpu.cfs_period_us").write_text("100000")
    (tmp_path / "memory" / "docker" / "memory.limit_in_bytes").write_text("1500000000")
    groups = _groups(tmp_path, "4:memory:/docker\n3:cpu,cpuacct:/docker\n")
    assert resources.cpus({}, tmp_path, groups) == 1
    assert resources.memory_gb({}, tmp_path, groups) == 1.5


def test_limits_of_slurm(tmp_path):
    groups = _groups(tmp_path, "")
    job = {"SLURM_JOB_ID": "7", "SLURM_CPUS_PER_TASK": "1", "SLURM_CPUS_ON_NODE": "64"}
    assert resources.cpus(job, tmp_path, groups) == 1
    assert resources.memory_gb(job | {"SLURM_MEM_PER_NODE": "1000"}, tmp_path, groups) == pytest.approx(
        1.048576
    )
    each = job | {"SLURM_MEM_PER_CPU": "10", "SLURM_CPUS_ON_NODE": "4"}
    assert resources.memory_gb(each, tmp_path, groups) == pytest.approx(0.04194304)
    # --mem=0 is all of the node's memory, and without a job the variables mean nothing
    assert resources.memory_gb(job | {"SLURM_MEM_PER_NODE": "0"}, tmp_path, groups) > 0.1
    assert resources.memory_gb({"SLURM_MEM_PER_NODE": "1000"}, tmp_path, groups) > 1.1


HOST = platform.node().partition(".")[0]


@pytest.mark.parametrize(
    ("environ", "count"),
    [
        ({"JOB_ID": "1", "NSLOTS": "3"}, 3),
        ({"PBS_JOBID": "1.server", "NCPUS": "5"}, 5),
        ({"PBS_JOBID": "1.server", "PBS_NODEFILE": "nodes"}, 2),
        ({"PBS_JOBID": "1.server", "PBS_NODEFILE": "missing", "PBS_NUM_PPN": "6"}, 6),
        ({"LSB_JOBID": "1", "LSB_DJOB_NUMPROC": "7"}, 7),
        ({"LSB_JOBID": "1", "LSB_DJOB_NUMPROC": "9", "LSB_MCPU_HOSTS": f"other 5 {HOST}.site 4"}, 4),
        ({"SLURM_JOB_ID": "1", "SLURM_CPUS_PER_TASK": "2", "NSLOTS": "9"}, 2),
        # left in a shell outside of any job
        ({"NSLOTS": "1", "NCPUS": "1", "LSB_DJOB_NUMPROC": "1", "SLURM_CPUS_PER_TASK": "1"}, 64),
    ],
)
def test_cpus_of_a_job(monkeypatch, tmp_path, environ, count):
    monkeypatch.setattr(resources, "_affinity", lambda: 64)
    (tmp_path / "nodes").write_text(f"other\n{HOST}\n{HOST}.site\n")
    if "PBS_NODEFILE" in environ:
        environ = environ | {"PBS_NODEFILE": str(tmp_path / environ["PBS_NODEFILE"])}
    assert resources.cpus(environ, tmp_path, tmp_path / "none") == count


def test_memory_for_each_gpu(tmp_path):
    job = {"SLURM_JOB_ID": "7", "SLURM_MEM_PER_GPU": "1000", "SLURM_GPUS_ON_NODE": "2"}
    found = resources.memory_gb(job, tmp_path, tmp_path / "none")
    assert found == pytest.approx(2 * 1000 * 2**20 / 1e9)


def test_threads_of_a_step_that_the_environment_asks_for():
    options = {"bids_dir": "/b", "output_dir": "/o", "analysis_level": ["participant"], "nprocs": 4}
    found = settings.build(options, {"OMP_NUM_THREADS": "2"})
    assert (found.nprocs, found.omp_nthreads) == (4, 2)
    assert "OMP_NUM_THREADS=2: at most 2 CPUs per step" in found.notes
    one = settings.build(options, {"OMP_NUM_THREADS": "1"})
    assert "OMP_NUM_THREADS=1: at most 1 CPU per step" in one.notes
    assert settings.build(options | {"omp_nthreads": 3}, {"OMP_NUM_THREADS": "2"}).omp_nthreads == 3
    assert settings.build(options, {"OMP_NUM_THREADS": "64"}).omp_nthreads == 4
    assert settings.build(options, {}).notes == ()


@pytest.mark.parametrize(
    ("text", "value"), [("8G", 8), ("8000M", 8), ("8GB", 8), ("1T", 1000), ("1GiB", 1.073741824)]
)
def test_amounts_of_memory(text, value):
    assert resources.parse_memory(text) == pytest.approx(value)


def test_reproducible_settings():
    base = ["/b", "/o", "participant", "--reproducible"]
    settings = parse(base)
    assert (settings.device, settings.omp_nthreads) == ("cpu", 1)
    assert settings.that_matter["reproducible"] is True
    assert "reproducible" not in parse(base[:3]).that_matter  # status files of earlier versions stand
    for more in (["--device", "cuda"], ["--n-gpus", "1"], ["--plugin", "linear"], ["--debug"]):
        with pytest.raises(UsageError, match="--reproducible"):
            parse([*base, *more])
