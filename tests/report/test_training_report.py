from __future__ import annotations

import dataclasses
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from smidgen.core.errors import Problem
from smidgen.core.settings import Frozen
from smidgen.parts.metrics.bootstrap import Interval
from smidgen.parts.metrics.confusion import Confusion, count
from smidgen.parts.metrics.ranking import rank, tag_table
from smidgen.products.heatmaps import Heatmaps
from smidgen.products.sample import Classes
from smidgen.report import blocks
from smidgen.report.content import (
    BY_CONFIDENCE,
    Agreement,
    Curve,
    DataCard,
    Picture,
    ScoreRow,
    Setting,
    SplitCounts,
    StageCard,
    Uncertain,
    arrange,
    differences,
    rows_of,
)
from smidgen.report.evidence import DeletionTest, Hidden
from smidgen.report.training import TrainingReport, html, verdict, write_report

EVIL = "<script>alert('x')</script>"
CLASSES = Classes(("background", EVIL, "dog & cat"))
VOID = {"meta", "img", "br", "link", "input", "path", "use", "circle", "rect"}
OPTIONAL_END = {"tr", "th", "td", "li", "p", "thead", "tbody"}


class Page(HTMLParser):
    """Reads a page: tags in balance, what it would load, its visible text."""

    def __init__(self, text: str):
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        while self.open and self.open[-1] != tag and self.open[-1] in OPTIONAL_END:
            self.open.pop()
        assert self.open, f"</{tag}> closes nothing"
        assert self.open[-1] == tag, f"</{tag}> closes {self.open[-1]}"
        self.open.pop()

    def handle_data(self, data):
        if not {"style", "script"} & set(self.open):
            self.words.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.words))


def picture(i: int = 0, group: str = "best") -> Picture:
    generator = np.random.default_rng(i)
    label = generator.integers(0, 3, (20, 30)).astype(np.uint8)
    label[0] = 255
    maps = Heatmaps(generator.random((2, 5, 6)).astype(np.float32), (1, 2), None, np.ones(2, np.float32), (20, 30))
    image = generator.random((3, 20, 30)).astype(np.float32)
    return Picture(f"{EVIL}{i}", image, maps, label, label, label, (EVIL,), 0.412, 0.8, group)


@pytest.fixture(scope="module")
def full() -> TrainingReport:
    generator = np.random.default_rng(0)
    images = {f"i{i}": count(generator.integers(0, 3, 50), generator.integers(0, 3, 50), 3) for i in range(6)}
    scored = Confusion(CLASSES.names, 0, sum(images.values()))
    truth = tag_table([(1,), (2,), (1, 2)], (1, 2))
    card = StageCard(EVIL, "cam", EVIL, "https://example.org/paper", (Setting("steps", "8", "27"),), 75.0, 1000.0, f"`{EVIL}`")
    return TrainingReport(
        title=EVIL,
        classes=CLASSES,
        made=EVIL,
        pictures=(picture(0), picture(1, "worst")),
        data=DataCard(
            EVIL,
            "tags only",
            (SplitCounts("train", 842, 840, 5, 3, 2, 5), SplitCounts("val", 195)),
            {"train": (842, 77, 66), "val": (195, 12, None)},
            (f"masks/*.png: 255 is {EVIL}",),
            (Problem(f"images/{EVIL}.jpg", "truncated", "copy it again", ("x",)),),
        ),
        stages=(card, dataclasses.replace(card, link=f"javascript:{EVIL}", seconds=None, peak_mib=None)),
        curves=(Curve(EVIL, ((10, f"all/{EVIL}", 0.5), (20, f"all/{EVIL}", 0.25), (10, "all/dice", 0.3), (10, "rate", 1.0))),),
        scores=(ScoreRow("val, model", scored, images, EVIL),),
        ranking=rank(truth, np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.3]]), CLASSES.names[1:]),
        agreements=(Agreement(EVIL, scored),),
        notes=(EVIL,),
        uncertain=(Uncertain(EVIL, picture().image, picture().prediction, 0.31),),
        next_steps=(f"`smidgen predict` {EVIL}",),
        command=f"smidgen train {EVIL}",
        environment={"torch": EVIL, EVIL: "2"},
        stages_bytes=412_300_000,
    )


def test_it_parses_and_holds_the_numbers(full, tmp_path):
    write_report(full, tmp_path / "report.html")
    page = Page((tmp_path / "report.html").read_text(encoding="utf-8"))
    assert page.open == []
    confusion = full.scores[0].confusion
    for number in (confusion.miou, confusion.miou_foreground, confusion.pixel_accuracy, *confusion.iou, *confusion.dice, full.ranking.mean):
        assert f"{100 * number:.1f}" in page.text
    for words in ("842", "77", "412 MB", "1 min 15 s", "1.0 GB", "41.2", "8 27", "truncated", "copy it again"):
        assert words in page.text
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


def test_nothing_is_loaded_from_anywhere(full):
    text = html(full)
    for tag, attributes in Page(text).seen:
        for name, value in attributes.items():
            if name in ("src", "srcset", "data", "poster", "xlink:href", "href"):
                assert (value or "").startswith(("data:image/webp;base64,", "#")) or (
                    tag == "a" and (value or "").startswith("https://")
                ), (tag, value)
    assert "@import" not in text
    assert not re.search(r"url\((?!#)", text)
    assert "javascript:" not in text
    assert "default-src 'none'" in text


def test_what_users_name_is_escaped_everywhere(full):
    text = html(full)
    assert EVIL not in text
    assert text.count("<script>") == 1
    assert "&lt;script&gt;alert" in text
    assert "dog &amp; cat" in text
    assert "<code>smidgen predict</code>" in text


def test_the_script_is_the_one_that_the_page_allows(full):
    import base64
    import hashlib

    text = html(full)
    script = text[text.index("<script>") + 8 : text.index("</script>")]
    assert base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() in text


def test_every_field_may_be_missing(full):
    assert Page(html(dataclasses.replace(full, pictures=()))).open == []
    full = dataclasses.replace(full, pictures=(), uncertain=(), curves=full.curves[:0])  # what takes time to draw is drawn above
    for one in dataclasses.fields(TrainingReport):
        if one.name in ("title", "classes"):
            continue
        default = one.default if one.default is not dataclasses.MISSING else one.default_factory()
        page = Page(html(dataclasses.replace(full, **{one.name: default})))
        assert page.open == [], one.name
    assert Page(html(TrainingReport("bare", CLASSES))).open == []


@pytest.mark.parametrize("missing", ["heatmaps", "pseudo", "prediction", "truth"])
def test_columns_are_shown_where_they_exist(full, missing, monkeypatch):
    monkeypatch.setattr(blocks, "_cell", lambda one, name, colors, background: None if getattr(one, name) is None else "drawn")
    heading = {"heatmaps": "heatmap", "pseudo": "pseudo-mask"}.get(missing, missing)
    without = tuple(dataclasses.replace(one, **{missing: None}) for one in full.pictures)
    none = np.zeros((256, 3), np.uint8)
    (group,) = blocks.picture_groups(tuple(dataclasses.replace(one, group="all") for one in without), none, 0)
    assert heading not in group.columns
    assert len(group.columns) == 4
    first, second = blocks.picture_groups((without[0], full.pictures[1]), none, 0)
    assert heading not in first.columns, "a group has its own columns"
    assert heading in second.columns
    (mixed,) = blocks.picture_groups((without[0], dataclasses.replace(full.pictures[1], group="best")), none, 0)
    assert dict(mixed.rows[0].cells)[heading] is None


def test_without_masks_it_says_what_cannot_be_known(full):
    bare = dataclasses.replace(full, scores=())
    text = Page(html(bare)).text
    assert "what can’t be known" in text
    assert "the image below" in text
    assert verdict(bare).startswith("1037 images, tags only: no masks to score against; image tags are found with mAP")
    assert "what can’t be known" not in Page(html(full)).text


def test_the_verdict_is_one_sentence_with_the_number_that_counts():
    confusion = Confusion(("background", "cat", "dog"))
    confusion.add(np.array([0, 0, 1, 1]), np.array([0, 0, 1, 0]))
    data = DataCard(use="10 of 842 masks", splits=(SplitCounts("train", 842),))
    report = TrainingReport("t", Classes(confusion.names), data=data, scores=(ScoreRow("val, model", confusion),))
    assert verdict(report) == "842 images, 10 of 842 masks: val mIoU 58.3 over 2 of 3 classes with background."
    lazy = Confusion(("background", "cat"))
    lazy.add(np.array([0, 0, 0, 1]), np.array([0, 0, 0, 0]))
    assert verdict(TrainingReport("t", Classes(lazy.names), scores=(ScoreRow("val, model", lazy),))) == (
        "Val mIoU 37.5 over 2 classes with background; the model predicts one class only (background)."
    )


def test_best_median_and_worst_are_chosen_without_repeats():
    scores = {f"i{i}": i / 10 for i in range(10)} | {"x": float("nan")}
    assert arrange(scores, each=2) == {"best": ("i9", "i8"), "median": ("i5", "i4"), "worst": ("i0", "i1")}
    few = arrange({"a": 0.1, "b": 0.9, "c": 0.5, "d": 0.5}, each=4, groups=BY_CONFIDENCE)
    assert few == {"surest": ("b",), "in between": ("c",), "least sure": ("a",)}
    assert arrange({"a": 0.1, "b": 0.9}) == {"": ("b", "a")}
    assert arrange({}) == {}


def test_settings_that_differ_are_found_also_inside():
    class Inner(Frozen):
        rate: float = 0.1

    class Outer(Frozen):
        steps: int = 27
        inner: Inner = Inner()

    assert differences(Outer()) == ()
    assert differences(Outer(steps=8, inner=Inner(rate=0.2))) == (Setting("steps", "8", "27"), Setting("inner.rate", "0.2", "0.1"))


def test_curves_take_the_pages_colors_and_leave_out_what_is_not_minimized():
    rows = rows_of([{"step": "10", "term": "all/ce", "value": "0.5"}, {"step": "10", "term": "rate", "value": "1"}])
    drawing = str(blocks.curve(Curve("segment", rows)))
    assert "var(--curve-1)" in drawing
    assert "#0a0b" not in drawing
    assert "metadata" not in drawing
    assert blocks.curve(Curve("nothing", rows[1:])) is None
    long = Curve("long", tuple((i, "all/ce", 1 / (1 + i)) for i in range(5000)))
    assert len(str(blocks.curve(long))) < 20_000
    assert str(blocks.curve(long)) == str(blocks.curve(long))


def test_the_confusion_matrix_is_normalized_by_row_and_bounded():
    confusion = Confusion(("a", "b", "c"), None)
    confusion.add(np.array([0, 0, 0, 0, 1]), np.array([0, 0, 0, 1, 255]))
    heat = blocks.heat(confusion)
    assert heat.names == ("a", "b", "no answer")
    assert heat.rows == (("a", 4, (0.75, 0.25, 0.0)), ("b", 1, (0.0, 0.0, 1.0)))
    many = Confusion(tuple(f"c{i}" for i in range(50)), None, np.eye(50, 51, dtype=np.int64))
    assert len(blocks.heat(many).rows) == blocks.CELLS
    assert blocks.heat(many).left_out == 50 - blocks.CELLS


def test_pages_stay_small(full):
    generator = np.random.default_rng(0)
    rows = []
    for i in range(12):
        image = generator.random((3, 375, 500)).astype(np.float32)  # noise packs worst
        rows.append(Picture(f"i{i}", image, prediction=np.zeros((375, 500), np.uint8)))
    assert len(html(dataclasses.replace(full, pictures=tuple(rows)))) < 3_000_000


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.42, "0.4 s"), (38, "38 s"), (59.7, "1 min 00 s"), (725, "12 min 05 s"), (3599.6, "1 h 00 min"), (4020, "1 h 07 min")],
)
def test_durations_in_words(seconds, words):
    assert blocks.duration(seconds) == words


def test_sizes_and_shares_in_words():
    assert [blocks.size(n) for n in (12, 1_500, 412_300_000, 2_000_000_000)] == ["12 bytes", "1.5 kB", "412 MB", "2.0 GB"]
    assert [blocks.share(v) for v in (None, 0.0, 0.0001, 0.5, float("nan"))] == ["–", "0.0", "<0.1", "50.0", "n/a"]


def with_deletion(difference):
    """A deletion test and one example of it."""
    image = np.full((3, 8, 8), 0.5, np.float32)
    test = DeletionTest(20, 23, 0.31, 0.04, 0.9, difference, {EVIL: (23, 0.31, 0.04)}, 2)
    return {"deletion": test, "hidden": (Hidden("a", EVIL, image, image, image, 0.9, 0.2, 0.85),)}


def test_the_deletion_test_is_told_and_shown_where_there_are_no_masks():
    page = Page(html(TrainingReport("x", CLASSES, **with_deletion(Interval(0.2, 0.35, 20)))))
    text = " ".join(page.words)
    assert "31.0" in text and "4.0" in text and "20.0 to 35.0" in text and "90.0 % of 20 training images" in text
    assert "Not tried: 2 tags" in text
    assert [attrs["alt"] for tag, attrs in page.seen if tag == "img"] == ["a: as it is", "a: found region hidden", "a: elsewhere"]
    assert "wrong places" not in text


def test_regions_that_cost_no_more_than_others_are_to_be_distrusted():
    assert "wrong places" in " ".join(Page(html(TrainingReport("x", CLASSES, **with_deletion(Interval(-0.02, 0.05, 20))))).words)
