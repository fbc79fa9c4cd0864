"""Label tables of users."""

import doctest

import pytest

from brainseg.models.errors import UsageError
from brainseg.models.population import label_rows, labels


def test_examples():
    assert doctest.testmod(label_rows).failed == 0


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("label\tname\n1\tA\n", "no columns index and name"),
        ("", "no columns index and name"),
        ("index\tname\nx\tA\n", "'x' in column index is not a label"),
        ("index\tname\n1\tA\n1\tB\n", "label 1 has two rows"),
        ("index\tname\n0\tnothing\n", "no label but the background"),
        ("index\tname\ttissue\n1\tA\tbone\n", "unknown tissue 'bone' of A"),
        ("index\tname\tcolor\n1\tA\tred\n", "color 'red' of A is not valid"),
        ("index\tname\tpartner\n1\tA\t9\n", "partner 9 of A is no label"),
        ("index\tname\tpartner\n1\tA\t2\n2\tB\t3\n3\tC\t2\n", "B is the partner of A, but not the other way"),
        ("index\tname\n-1\tA\n", "is not a label"),
    ],
)
def test_what_is_wrong_with_a_table(text, words, tmp_path):
    path = tmp_path / "mine.tsv"
    path.write_text(text)
    with pytest.raises(UsageError, match=words) as error:
        labels.load(str(path))
    assert str(path) in str(error.value)


def test_a_minimal_table_is_completed(tmp_path):
    path = tmp_path / "small.tsv"
    path.write_text("index\tname\n4\tLeft-Blob\n9\tRight-Blob\n2\tgray matter\n1\tlesion\n")
    table = labels.load(str(path))
    assert [label.index for label in table] == [0, 1, 2, 4, 9]
    assert table[4].partner == 9 and table[9].partner == 4 and table[1].partner == 1
    assert table[2].tissue == "gm" and table[1].tissue == "" and table[4].abbreviation == "LB"
    again = labels.of_card({"labels": labels.as_rows(table)})
    assert again.labels == table.labels


def test_sides_that_only_one_row_tells(tmp_path):
    path = tmp_path / "half.tsv"
    path.write_text("index\tname\tpartner\n7\tA\t3\n3\tB\t\n5\tC\t\n2\tleft thing\t\n")
    table = labels.load(str(path))
    assert table.exchanged == (0, 1, 4, 3, 2), "positions of the labels 0, 2, 7, 5, 3"
    assert table.one_sided == ("left thing",)


def test_a_table_that_is_not_there():
    with pytest.raises(UsageError, match="no label table 'nowhere'"):
        labels.load("nowhere")
