"""Mutated inputs: whatever is wrong with a participant is said in words, and its neighbor is not harmed."""

import json
import random
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from brainseg.bidsapp.config.settings import build
from brainseg.bidsapp.inputs import select
from brainseg.bidsapp.reports import derivatives
from brainseg.bidsapp.status import records
from brainseg.models.errors import BrainsegError, DatasetError
from brainseg.models.io import conform
from brainseg.models.io.conform import notes_on
from brainseg.models.io.images import opened
from helpers import mutations

pytestmark = pytest.mark.slow

COUNT, INDEXED = 500, 120
IN_ONE_RUN = 3 * len(mutations.ALL)
DESCRIPTION = {"Name": "fuzz", "BIDSVersion": "1.10.0"}


def _dataset(root: Path, *names: str) -> Path:
    root.mkdir(parents=True)
    (root / "dataset_description.json").write_text(json.dumps(DESCRIPTION))
    for name in names:
        mutations.write(root / name)
    return root


def _read(participant_session: select.ParticipantSession) -> BrainsegError | None:
    """Read the scan as the first stage does; return the error that a user would see."""
    if participant_session.problem is not None:
        return participant_session.problem
    try:
        conform.read(participant_session.image)
        notes_on(opened(participant_session.image)[0])
    except BrainsegError as error:
        return error
    return None


def _examples(count: int):
    return settings(
        max_examples=count,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )


@_examples(INDEXED)
@given(st.sampled_from((*mutations.OF_DATASET, mutations.dataset_files)), st.randoms(use_true_random=False))
def test_a_mutated_participant_is_refused_in_words_and_alone(tmp_path_factory, mutate, r):
    root = _dataset(tmp_path_factory.mktemp("fuzz") / "bids", "sub-01", "sub-02")
    whole = mutate is mutations.dataset_files
    chosen = {"bids_dir": root, "output_dir": root.parent / "out", "analysis_level": ["participant"]}
    try:
        mutate(root if whole else root / "sub-01", r)
        try:
            selection = select.select(build(chosen, {}))
        except DatasetError as error:
            assert whole, error
            assert _is_told(error)
            return
        found = {ps.key: _read(ps) for ps in selection.participant_sessions}
        assert all(derivatives.KEY.fullmatch(key) for key in found), found
        assert all(_is_told(error) for error in found.values() if error is not None), found
        # a file of the dataset as a whole may hold for both; nothing else does
        neighbor = found["sub-02"]
        assert neighbor is None or (whole and Path(neighbor.path).parent == root), neighbor
    finally:
        shutil.rmtree(root.parent, ignore_errors=True)


@_examples(COUNT - INDEXED)
@given(st.sampled_from(mutations.OF_SCAN), st.randoms(use_true_random=False))
def test_a_mutated_scan_is_read_or_refused_in_words(tmp_path_factory, mutate, r):
    folder = tmp_path_factory.mktemp("fuzz") / "sub-01"
    mutations.write(folder)
    try:
        mutate(folder, r)
        error = _read(select.ParticipantSession("01", None, mutations.scan(folder), "T1w"))
        assert error is None or _is_told(error), error
    finally:
        shutil.rmtree(folder.parent, ignore_errors=True)


def test_a_qform_that_is_no_number_is_noted():
    image = nib.Nifti1Image(np.zeros((12, 12, 12), np.uint8), np.diag([4.0, 4, 4, 1]))
    image.set_sform(image.affine, 1)
    image.set_qform(image.affine, 1)
    assert notes_on(image) == []
    image.header["qoffset_x"] = np.nan
    assert notes_on(image) == ["The header's qform cannot be read; the sform was used."]


def _is_told(error: BrainsegError) -> bool:
    """Whether an error says in one line which file is at fault and why."""
    return bool(error.path and error.reason) and "\n" not in error.reason


def test_the_whole_program_on_mutated_participants(app, tmp_path, capsys):
    """One run over many: it tells each failure, shows no traceback, completes the neighbors."""
    r = random.Random(7)
    names = [f"sub-{number:02d}" for number in range(IN_ONE_RUN)]
    bids = _dataset(tmp_path / "bids", *names, "sub-clean", "sub-neat")
    for number, name in enumerate(names):
        mutations.ALL[number % len(mutations.ALL)](bids / name, r)
    before = sorted(path.relative_to(bids) for path in bids.rglob("*"))
    out = tmp_path / "out"
    assert app(bids, out, "participant", "group") == 1
    said = capsys.readouterr()
    assert "Traceback" not in said.out + said.err
    assert "fault of the program" not in said.out + said.err
    for key in ("sub-clean", "sub-neat"):
        assert records.read(out, key)["state"] == "done"
    states = [json.loads(path.read_text()) for path in out.glob("logs/status/*.json")]
    failed = [content for content in states if content["state"] == "failed"]
    assert len(failed) > IN_ONE_RUN / 3
    for content in failed:
        assert content["error"]["file"].startswith(str(bids)), content
        assert content["error"]["reason"], content
    assert before == sorted(path.relative_to(bids) for path in bids.rglob("*"))
    # nothing outside the output folder, whatever the names say
    assert {path.name for path in tmp_path.iterdir()} <= {"bids", "out", "work", "calls.txt"}
