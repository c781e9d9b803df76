"""Tables beside the images, and the names of classes."""

from __future__ import annotations

import pytest

from smidgen.core.errors import DataError
from smidgen.data.dataset import Dataset


def opened(folder, names="a.png b.png c.png", **texts):
    folder.images(names)
    for name, text in texts.items():
        folder.text(
            {"tags": "tags.csv", "classes": "classes.txt", "split": "split.csv", "instances": "instances.csv", "yaml": "dataset.yaml"}[
                name
            ],
            text,
        )
    return Dataset.open(folder.path)


def tags(data):
    return {id: sample.tags for id, sample in data.samples.items()}


def test_joined_tags(folder):
    """Empty = known to hold none; no row = unknown."""
    data = opened(folder, tags="filename,tags\na.png,dog; cat\nb.png,\n", classes="background\ncat\ndog\n")
    assert tags(data) == {"a": (1, 2), "b": (), "c": None}
    assert data.problems == () and data.classes.foreground == (1, 2)


def test_one_hot_tags(folder):
    data = opened(folder, tags="filename,crack,stain\na.png,1,0\nb.png,0,0\n")
    assert data.classes.names == ("background", "crack", "stain")
    assert tags(data) == {"a": (1,), "b": (), "c": None}


def test_one_hot_cells_that_are_neither_are_named(folder):
    data = opened(folder, tags="filename,crack\na.png,maybe\n")
    assert [str(one) for one in data.problems] == ["tags.csv line 2: crack is maybe, 0 or 1 expected: correct the line"]


def test_names_come_from_the_tags_where_no_list_is(folder):
    assert opened(folder, tags="filename,tags\na.png,dog\nb.png,cat;dog\n").classes.names == ("background", "cat", "dog")


def test_unknown_tags_and_other_spellings_are_named_with_their_line(folder):
    """Report b45: "Dog", "dog " and an unknown class, found before training and not on the GPU."""
    text = "filename,tags\na.png,cat\nb.png,Dog\nc.png,dgo\n"
    data = opened(folder, tags=text, classes="background\ncat\ndog\n")
    assert [(str(one), one.ids) for one in data.problems] == [
        ("tags.csv line 3: tag Dog is called dog in classes.txt: write dog", ("b",)),
        ("tags.csv line 4: tag dgo is no class: did you mean dog?", ("c",)),
    ]
    assert data.without(["b", "c"]).problems == ()


def test_one_tag_in_two_spellings_without_a_list(folder):
    data = opened(folder, tags="filename,tags\na.png,Dog\nb.png,dog \nc.png,DOG\n")
    assert [(one.where, one.what) for one in data.problems] == [
        ("tags.csv line 2", "tag Dog is elsewhere written DOG"),
        ("tags.csv line 3", "tag dog is elsewhere written DOG"),
    ]


def test_classes_written_twice_are_named_with_their_line(folder):
    data = opened(folder, classes="background\nDog\ncat\ndog \n")
    assert [str(one) for one in data.problems] == [
        "classes.txt line 4: dog stands there already, as Dog in line 2: give each class a name of its own"
    ]


def test_empty_lines_between_classes_are_named(folder):
    data = opened(folder, classes="background\n\ncat\n\n\n")
    assert [one.where for one in data.problems] == ["classes.txt line 2"] and len(data.classes) == 3


def test_none_and_background_are_no_tags(folder):
    """Report b26: tags object / none."""
    data = opened(folder, tags="filename,tags\na.png,object\nb.png,none\nc.png,background\n")
    assert data.classes.names == ("background", "object") and tags(data) == {"a": (1,), "b": (), "c": ()}


@pytest.mark.parametrize(
    ("classes", "yaml", "names", "background"),
    [
        ("cell interior (Background)\nmembrane\n", "", ("cell interior (Background)", "membrane"), 0),
        ("cat\ndog\n", "", ("background", "cat", "dog"), 0),
        ("sky\nroad\n", "background: none", ("sky", "road"), None),
        ("void\nroad\n", "background: 0", ("void", "road"), 0),
    ],
)
def test_the_background_line(folder, classes, yaml, names, background):
    data = opened(folder, classes=classes, yaml=yaml)
    assert data.classes.names == names and data.classes.background == background and data.problems == ()


def test_tags_without_background_class(folder):
    data = opened(folder, classes="sky\nroad\n", yaml="background: none", tags="filename,tags\na.png,sky\n")
    assert data.samples["a"].tags == (0,) and data.classes.foreground == (0, 1)


def test_several_tags_and_masks_need_a_list(folder):
    folder.mask("masks/a.png", [1])
    data = opened(folder, tags="filename,tags\na.png,cat\nb.png,dog\n")
    assert [one.where for one in data.problems] == ["masks/"] and "which value is which class" in data.problems[0].what
    folder.text("tags.csv", "filename,tags\na.png,cat\nb.png,\n")
    assert Dataset.open(folder.path).problems == ()


def test_too_many_classes(folder):
    with pytest.raises(DataError, match="256 classes, at most 255 are possible"):
        opened(folder, classes="\n".join(["background"] + [f"c{i}" for i in range(255)]))


def test_file_names_are_found_in_every_spelling(folder):
    text = "filename,tags\nimages/a.png,x\n.\\images\\b.png,x\nc.jpg,x\nsub/d,x\n"
    data = opened(folder, names="a.png b.png c.png sub/d.png", tags=text)
    assert set(tags(data).values()) == {(1,)} and data.problems == ()


def test_rows_without_file_are_named(folder):
    data = opened(folder, tags="filename,tags\na.png,x\ndd.png,x\n", split="filename,split\nq.png,train\n")
    assert [(one.where, one.what, one.ids) for one in data.problems] == [
        ("tags.csv line 3", "there is no image dd.png", ("dd",)),
        ("split.csv line 2", "there is no image q.png", ("q",)),
    ]
    assert data.without(["dd", "q"]).problems == ()


def test_odd_tables_are_named(folder):
    data = opened(folder, tags="name,tags\na.png,x\n")
    assert str(data.problems[0]).startswith("tags.csv: line 1 has no column filename (found: name, tags): start with")
    data = opened(folder, tags="filename,tags\na.png,x,y\n\nb.png,x\nb.png,\n")
    assert [one.where for one in data.problems] == ["tags.csv line 2", "tags.csv line 5"]
    assert "3 cells, 2 expected" in data.problems[0].what and "other tags than in tags.csv line 4" in data.problems[1].what
    (folder.path / "tags.csv").write_bytes("filename,tags\na.png,é\n".encode("latin-1"))
    assert "not readable as UTF-8" in Dataset.open(folder.path).problems[0].what


def test_excel_marks_and_quotes_are_understood(folder):
    data = opened(folder, tags='\ufeffFilename,Tags\r\n"a.png","big cat; dog"\r\n')
    assert data.classes.names == ("background", "big cat", "dog") and data.samples["a"].tags == (1, 2)


def test_split_table(folder):
    data = opened(folder, names="a.png b.png c.png d.png", split="filename,split\na.png,train\nb.png,val\nc.png,test\n")
    assert (list(data.train), list(data.val), list(data.test)) == (["a", "d"], ["b"], ["c"])
    assert data.notes == ("split.csv: 1 images have no line and are in train (d)",) and not data.split_drawn


def test_odd_splits_are_named(folder):
    data = opened(folder, split="filename,split\na.png,validation\nb.png,val\nb.png,train\nc.png,\n")
    assert [(one.where, one.what, one.remedy) for one in data.problems] == [
        ("split.csv line 2", "split is validation", "write train, val or test"),
        ("split.csv line 4", "b is in val and in train", "keep one of the two lines"),
        ("split.csv line 5", "split is empty", "write train, val or test"),
    ]


def test_groups_torn_by_a_written_split_are_said(folder):
    folder.text("cases.csv", "filename,patient\na.png,1\nb.png,1\nc.png,2\n")
    data = opened(folder, split="filename,split\na.png,train\nb.png,val\nc.png,train\n", yaml="groups: cases.csv:patient")
    assert [sample.group for sample in data.samples.values()] == ["1", "1", "2"]
    assert data.notes == ("split.csv: in more than one split, so scores may be too good: 1 of 2 groups (1)",)
    with pytest.raises(DataError, match=r"cases\.csv has no column case"):
        opened(folder, yaml="groups: cases.csv:case")


def test_instances_give_names_where_no_list_is(folder):
    folder.mask("instances/a.png", [1, 2])
    text = "filename,instance_id,class_id,class_name,area_px\na.png,1,1,cell,1\na.png,2,3,nucleus,1\n"
    data = opened(folder, instances=text)
    assert data.classes.names == ("background", "cell", "class 2", "nucleus") and data.classes.background == 0
    assert data.instance_classes == {"a": {1: 1, 2: 3}} and data.samples["a"].instances().max() == 2
    data = opened(folder, instances="filename,instance_id,class_id,class_name\na.png,1,x,cell\na.png,1,1,cell\na.png,2,1,cells\n")
    assert [one.where for one in data.problems] == ["instances.csv line 2", "instances.csv line 4"]
