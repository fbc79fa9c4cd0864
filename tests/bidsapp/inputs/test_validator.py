"""The BIDS validator: its errors name file, row, column and value."""

import doctest

from brainseg.bidsapp.inputs import validator
from brainseg.bidsapp.inputs.validator import Validation


class Done(Validation):
    """A validation with errors, which takes no time."""

    def _run(self):
        self.found = {"ran": True, "errors": {"TSV_EQUAL_ROWS": 2}, "warnings": 0}
        self.found["examples"] = {"TSV_EQUAL_ROWS": validator.place(ISSUE)}


ISSUE = {"code": "TSV_EQUAL_ROWS", "location": "/participants.tsv", "line": 4}


def test_an_error_names_file_row_column_and_value(tmp_path):
    assert doctest.testmod(validator).failed == 0
    value = {"code": "TSV_VALUE_INCORRECT_TYPE", "location": "/sub-01/sub-01_scans.tsv", "line": 2}
    said = validator.place(value | {"subCode": "age", "issueMessage": "'six months'"})
    assert said == "sub-01/sub-01_scans.tsv, line 2, column age: 'six months'"
    assert validator.place({"code": "NO_FILES"}) == "the dataset"
    lines = Done(tmp_path, tmp_path / "found.json").start().lines()
    assert lines[1] == "  TSV_EQUAL_ROWS (2), such as participants.tsv, line 4"
