"""Tag tables with a column of 0 and 1 per class."""

from __future__ import annotations

import pytest

from smidgen.data.dataset import Dataset


@pytest.fixture
def opened(folder):
    def open_with(table, classes="background\nsquare\ndisc\n"):
        folder.images("a.png b.png c.png")
        folder.text("tags.csv", table)
        if classes:
            folder.text("classes.txt", classes)
        return Dataset.open(folder.path)

    return open_with


def test_columns_may_stand_in_any_order_and_be_fewer_than_the_classes(opened):
    data = opened("filename,disc,square\na.png,1,1\nb.png,yes,no\nc.png,0,\n")
    assert {id: sample.tags for id, sample in data.samples.items()} == {"a": (1, 2), "b": (2,), "c": ()}
    assert opened("filename,disc\na.png,1\n").samples["a"].tags == (2,)


@pytest.mark.parametrize("dsic", ["1", "0"])
def test_a_misspelled_column_is_named_once_even_where_it_is_all_0(opened, dsic):
    data = opened(f"filename,square,dsic\na.png,1,{dsic}\nb.png,0,{dsic}\nc.png,0,0\n")
    assert [str(one) for one in data.problems] == ["tags.csv line 1: column dsic is no class: did you mean disc?"]


def test_a_column_in_another_spelling_is_named(opened):
    data = opened("filename,Square\na.png,1\n")
    assert [str(one) for one in data.problems] == ["tags.csv line 1: column Square is called square in classes.txt: write square"]


def test_a_column_of_something_else_is_named_once_and_not_line_by_line(opened):
    data = opened("filename,square,width,fold\na.png,1,640,x\nb.png,0,480,y\nc.png,0,640,x\n", classes="")
    assert [str(one).partition(":")[0] + str(one).partition(":")[2].partition(",")[0] for one in data.problems] == [
        "tags.csv line 1 column width holds 640",
        "tags.csv line 1 column fold holds x",
    ]
    assert data.classes.names == ("background", "square")
    assert "remove the column, or write one column `tags`" in str(data.problems[0])


def test_single_cells_are_named_with_their_line(opened):
    data = opened("filename,square,disc\na.png,1,0\nb.png,2,0\nc.png,0,0\n")
    assert [str(one) for one in data.problems] == ["tags.csv line 3: square is 2, 0 or 1 expected: correct the line"]


def test_a_comma_at_the_end_of_lines_is_no_column(opened):
    data = opened("filename,square,disc,\na.png,1,0,\nb.png,0,1,\n")
    assert data.problems == () and data.samples["b"].tags == (2,)
