"""Jobs for workflow engines: the scripts of the tasks, and files that their engines take."""

import csv
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from brainseg.bidsapp.cli.bids import parse
from brainseg.bidsapp.config.batch import ENGINES
from brainseg.bidsapp.jobs import scripts
from brainseg.bidsapp.jobs.engines.writer import FILES

NAMES = ["sub-01", "sub-02_ses-1", "sub-02_ses-2", "sub-03"]
NEXTFLOW = os.environ.get("NEXTFLOW") or shutil.which("nextflow")
BABS = os.environ.get("BABS") or shutil.which("babs")


@pytest.fixture
def bids(fake, tmp_path):
    return fake.dataset(tmp_path / "my bids", NAMES)


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


@pytest.fixture
def ran(tmp_path, monkeypatch):
    """A file with the arguments of the program, which is a stand-in."""
    program, said = tmp_path / "program", tmp_path / "ran"
    program.write_text(f'#!/bin/sh\nprintf "%s|" "$@" >> {said}; echo >> {said}\n')
    program.chmod(0o755)
    monkeypatch.setattr(scripts, "program", lambda: [str(program)])
    return said


def _job(out):
    return max((out / "logs" / "jobs").iterdir())


def _babs(out):
    return yaml.safe_load((_job(out) / "babs.yaml").read_text())


def test_every_engine_has_its_files():
    assert {path.name for path in FILES.iterdir() if path.is_dir() and path.name[0] != "_"} == set(ENGINES)
    assert {path.name for path in FILES.glob("*/submit.sh")} == {"submit.sh"}


@pytest.mark.parametrize("engine", ["snakemake", "nextflow"])
def test_the_tasks_run_every_participant_once(app, bids, out, ran, engine):
    assert app(bids, out, "participant", "--write-job", engine, "--per-task", "2", "--sloppy") == 0
    request = json.loads((_job(out) / "request.json").read_text())
    assert request["tasks"] == 2
    assert (request["cpus"], request["minutes"]) == (2, 20)
    for line in range(1, request["tasks"] + 1):
        subprocess.run(["bash", str(_job(out) / "task.sh"), str(line)], check=True)
    subprocess.run(["bash", str(_job(out) / "group.sh")], check=True)
    *tasks, group = [line.strip("|").split("|") for line in ran.read_text().splitlines()]
    assert [task[task.index("--participant-label") + 1 :] for task in tasks] == [["01", "02"], ["03"]]
    assert parse(tasks[0]).sloppy
    assert group[2] == "group"
    for line in ("", "0", "3"):
        words = ["bash", str(_job(out) / "task.sh"), *line.split()]
        assert subprocess.run(words, capture_output=True, check=False).returncode != 0


def test_the_script_of_nextflow_runs_a_task(app, bids, out, ran, tmp_path):
    """Nextflow fills in the variables of the script, and runs it in a folder with links to the inputs."""
    assert app(bids, out, "participant", "--write-job", "nextflow") == 0
    text = (_job(out) / "main.nf").read_text()
    assert text.count("{") == text.count("}")
    given = json.loads((_job(out) / "request.json").read_text())
    processes = dict(re.findall(r'^process (\w+) \{.*?script:\s+"""\n(.*?)"""', text, re.S | re.M))
    assert list(processes) == ["BRAINSEG_PARTICIPANT", "BRAINSEG_GROUP"]
    values = {"meta.line": "2", "task.process": "BRAINSEG_PARTICIPANT", "params.version": given["version"]}
    for name, script in zip(("task.sh", "group.sh"), processes.values(), strict=True):
        (tmp_path / name).symlink_to(_job(out) / name)
        known = values | {"script": name}
        filled = re.sub(r"\$\{([\w.]+)\}", lambda found, known=known: known[found[1]], script)
        subprocess.run(["bash", "-ue", "-c", filled], cwd=tmp_path, check=True)
    task, group = [line.strip("|").split("|") for line in ran.read_text().splitlines()]
    assert (task[-2:], group[2]) == (["--participant-label", "02"], "group")
    assert (tmp_path / "2.done").exists()
    versions = yaml.safe_load((tmp_path / "versions.yml").read_text())
    assert versions == {"BRAINSEG_PARTICIPANT": {"brainseg-bids": given["version"]}}
    # what the configuration takes from the request is in it
    config = (_job(out) / "nextflow.config").read_text()
    for name in re.findall(r"params\.([\w.]+)", config + text):
        here = given
        for part in name.split("."):
            here = here[part]
    meta = yaml.safe_load((_job(out) / "meta.yml").read_text())
    assert set(re.findall(r"emit: (\w+)", text)) == set(meta["output"])


@pytest.mark.slow
@pytest.mark.skipif(not NEXTFLOW, reason="nextflow is not installed")
def test_nextflow_takes_its_files(app, bids, out, ran):
    assert app(bids, out, "participant", "--write-job", "nextflow") == 0
    env = os.environ | {"PATH": f"{Path(NEXTFLOW).parent}:{os.environ['PATH']}"}
    command = ["bash", str(_job(out) / "submit.sh")]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(ran.read_text().splitlines()) == 4


def test_babs_names_options_that_exist(app, bids, out, tmp_path, capsys):
    precomputed = tmp_path / "masks"
    precomputed.mkdir()
    words = ["--write-job", "babs", "--sloppy", "--device", "cuda", "--derivatives", f"masks={precomputed}"]
    assert app(bids, out, "participant", *words) == 0
    said = capsys.readouterr().out
    assert "datalad create --force" in said  # the dataset is none of DataLad
    config = _babs(out)
    with (_job(out) / "participants.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["sub_id"] for row in rows] == ["sub-01", "sub-02", "sub-03"]
    (imported,) = config["imported_files"]
    assert imported["original_path"] == str(_job(out) / "options.toml")
    # as BABS makes the command of them
    flags = dict(config["bids_app_args"])
    select = flags.pop("$SUBJECT_SELECTION_FLAG")
    assert flags.pop("--config-file") == '"${PWD}/code/options.toml"'
    flags["--work-dir"] = flags["--work-dir"].replace("$BABS_TMPDIR", "work")
    given = [word for flag, value in flags.items() for word in (flag, value) if word]
    given += ["--config-file", imported["original_path"], select, "sub-01"]
    settings = parse([str(bids), str(out), "participant", *given])
    assert settings.sloppy
    assert settings.participant_label == ("01",)
    assert config["singularity_args"] == ["--cleanenv", "--nv", f"-B {precomputed}:{precomputed}"]
    assert config["cluster_resources"]["customized_text"] == "#SBATCH --gres=gpu:1\n"
    assert config["input_datasets"]["BIDS"]["origin_url"] == str(bids)
    assert subprocess.run(["bash", "-n", str(_job(out) / "submit.sh")], check=False).returncode == 0


def test_babs_takes_one_participant_at_a_time(app, bids, out, capsys):
    assert app(bids, out, "participant", "--write-job", "babs", "--per-task", "2") != 0
    assert "Leave --per-task out" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.skipif(not BABS, reason="babs is not installed")
def test_babs_makes_a_command_of_its_configuration(app, bids, out):
    assert app(bids, out, "participant", "--write-job", "babs", "--sloppy") == 0
    code = (
        "import sys\n"
        "from babs.container import Container\n"
        "from babs.input_datasets import InputDatasets\n"
        "one = Container('containers', 'brainseg-bids-0-1-0', sys.argv[1])\n"
        "datasets = InputDatasets('subject', one.config['input_datasets'])\n"
        "for dataset in datasets:\n"
        "    dataset.set_babs_project_analysis_path(sys.argv[2])\n"
        "one.generate_bash_run_bidsapp(sys.argv[2] + '/run.sh', datasets, 'subject')\n"
        "one.generate_bash_participant_job(sys.argv[2] + '/job.sh', datasets, 'subject',"
        " type('System', (), {'type': 'slurm'}))\n"
    )
    command = [
        str(Path(BABS).with_name("python")),
        "-W",
        "error::UserWarning",
        "-c",
        code,
        str(_job(out) / "babs.yaml"),
        str(out),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    run, job = (out / "run.sh").read_text(), (out / "job.sh").read_text()
    assert "--cleanenv" in run
    assert '--config-file "${PWD}/code/options.toml"' in run
    assert '--participant-label "${subid}"' in run
    assert re.search(r"#SBATCH --mem=\d+M\n#SBATCH --time=00:20:00", job)
    for name in ("run.sh", "job.sh"):
        assert subprocess.run(["bash", "-n", str(out / name)], check=False).returncode == 0
