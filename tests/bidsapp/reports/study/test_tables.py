"""Tables of a study."""

import csv
import json

import pytest

from brainseg.bidsapp.reports.group import run_group

KNOWN = {"precision": "float32", "device": "cpu", "instructions": "AVX2", "processor": "A CPU"}


@pytest.mark.slow
@pytest.mark.parametrize("mixed", [True, False])
def test_mixed_arithmetic_is_said(phantoms, tmp_path, mixed):
    others = KNOWN | {"precision": "bfloat16", "instructions": "AMX"} if mixed else KNOWN | {"processor": "B"}
    for number, found in enumerate((KNOWN, KNOWN, others, None)):
        more = {"arithmetic": found} if found else {}
        phantoms.participant_session(tmp_path, f"sub-{number}", pictures=False, **more)
    page = run_group(tmp_path).read_text()
    assert ("2 with float32, AVX2; 1 with bfloat16, AMX" in page) == mixed
    for name in ("group_volumes", "group_quality"):
        with (tmp_path / f"{name}.tsv").open() as file:
            rows = list(csv.DictReader(file, delimiter="\t"))
        words = [row.get("arithmetic") for row in rows]
        assert words == (["float32, AVX2", "float32, AVX2", "bfloat16, AMX", "n/a"] if mixed else [None] * 4)
        described = json.loads((tmp_path / f"{name}.json").read_text())
        assert ("arithmetic" in described) == mixed
