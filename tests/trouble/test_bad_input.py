"""What people offer by mistake: said with file and remedy, exit code 2, nothing half-written; or, where nothing is wrong, read right."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from smidgen.data.dataset import Dataset

NOISE = np.random.default_rng(0).integers(0, 256, (60, 60, 3), np.uint8)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])


def png(width: int, height: int, *extra: tuple[bytes, bytes]) -> bytes:
    """A PNG whose header says so; there may be far fewer pixels in it."""
    parts = [
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)),
        *extra,
        (b"IDAT", zlib.compress(b"\0" * 100)),
        (b"IEND", b""),
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body)) for name, body in parts
    )


def cut_jpeg(photos):
    cut(photos.image("images/bad.jpg", NOISE, quality=90))


def cut_png(photos):
    cut(photos.image("images/bad.png", NOISE))


def empty_image(photos):
    (photos.path / "images/bad.png").write_bytes(b"")


def no_image(photos):
    (photos.path / "images/bad.png").write_bytes(b"\x80\x04}q\x00.")  # a pickle


def other_size(photos):
    photos.mask("masks/1.png", size=(6, 8))


def class_out_of_range(photos):
    photos.mask("masks/1.png", 9)


def empty_mask(photos):
    (photos.path / "masks/1.png").write_bytes(b"")


def unknown_tag(photos):
    photos.text("tags.csv", "filename,tags\n0.png,thing\n1.png,thnig\n")


def two_of_a_name(photos):
    photos.image("images/1.jpg")


def link_to_nothing(photos):
    (photos.path / "images/bad.png").symlink_to(photos.path / "gone.png")


def link_to_itself(photos):
    (photos.path / "images/bad.png").symlink_to(photos.path / "images/bad.png")


def bomb(photos):
    (photos.path / "images/bad.png").write_bytes(png(60_000, 60_000))


def large(photos):
    (photos.path / "images/bad.png").write_bytes(png(30_000, 20_000))


def swollen_text(photos):
    (photos.path / "images/bad.png").write_bytes(png(16, 12, (b"zTXt", b"k\0\0" + zlib.compress(b"\0" * 3_000_000))))


def names_that_climb(photos):
    photos.text("tags.csv", "filename,tags\n0.png,thing\n../../../etc/hostname,thing\n")


def absolute_names(photos):
    photos.text("split.csv", "filename,split\n0.png,train\n/etc/hostname,val\n")


def endless_quote(photos):
    photos.text("tags.csv", 'filename,tags\n0.png,"' + "thing " * 40_000)


BROKEN = {
    cut_jpeg: ("images/bad.jpg", "truncated", "copy it again"),
    cut_png: ("images/bad.png", "truncated", "copy it again"),
    empty_image: ("images/bad.png", "empty file (0 bytes)", "copy it again"),
    no_image: ("images/bad.png", "not an image", "copy it again"),
    other_size: ("masks/1.png", "8x6 pixels (width x height), its image has 16x12", "export the mask at the size"),
    class_out_of_range: ("masks/1.png", "1 value without a class (9 in 192 pixels)", "name all classes in classes.txt"),
    empty_mask: ("masks/1.png", "empty file (0 bytes)", "copy it again"),
    unknown_tag: ("tags.csv line 3", "tag thnig is no class", "did you mean thing?"),
    two_of_a_name: ("images/1.png", "has the same name as images/1.jpg but for its ending", "rename or remove"),
    link_to_nothing: ("images/bad.png", "No such file or directory", "copy it again"),
    link_to_itself: ("images/bad.png", "Too many levels of symbolic links", "make it anew"),
    bomb: ("images/bad.png", "too many pixels", "cut it into tiles"),
    large: ("images/bad.png", "600000000 pixels, more than 500000000", "cut it into tiles"),
    swollen_text: ("images/bad.png", "can't be read", "copy it again"),
    names_that_climb: ("tags.csv line 3", "there is no image ../../../etc/hostname", "remove the line"),
    absolute_names: ("split.csv line 3", "there is no image /etc/hostname", "remove the line"),
    endless_quote: ("tags.csv line 2", "not readable as CSV", "close its quotes"),
}
"""What breaks a folder: where that is said, and in which words."""


@pytest.mark.parametrize("spoil", BROKEN, ids=lambda spoil: spoil.__name__)
def test_what_is_broken_is_named_with_a_remedy_and_nothing_is_written(photos, smidgen, tmp_path, spoil):
    """Row a35, and everything like it."""
    spoil(photos.labeled())
    where, what, remedy = BROKEN[spoil]
    before = photos.files()
    looked = smidgen("inspect", photos.path)
    (line,) = [line for line in looked.out.splitlines() if line.startswith("fix ")]
    assert looked.code == 2 and f" {where}: " in line and what in line and remedy in line
    wrote = smidgen("convert", photos.path, tmp_path / "out", "--to", "coco")
    assert wrote.code == 2 and where in wrote.err and what in wrote.err and remedy in wrote.err
    assert photos.files() == before and [path.name for path in tmp_path.iterdir()] == ["photos"]


def test_training_lists_all_of_it_at_once_and_starts_nothing(photos, smidgen, tmp_path):
    photos.labeled(6)
    for spoil in (cut_jpeg, class_out_of_range, unknown_tag):
        spoil(photos)
    run = tmp_path / "run"
    said = smidgen("train", photos.path, "--out", run, "--encoder.weights", "none")
    assert said.code == 2
    for spoil in (cut_jpeg, class_out_of_range, unknown_tag):
        assert all(words in said.err for words in BROKEN[spoil])
    assert {path.name for path in run.iterdir()} <= {".lock", "checked.json", "log.txt"}


def test_the_good_ones_go_on_when_the_broken_are_left_out(photos, smidgen, tmp_path):
    """Row a35: nine good files and one that is cut."""
    cut_jpeg(photos.labeled(9))
    said = smidgen("convert", photos.path, tmp_path / "out", "--to", "folder", "--skip-broken")
    assert said.code == 0 and "left out  images/bad.jpg" in said.out and len(Dataset.open(tmp_path / "out").samples) == 9


@pytest.mark.parametrize(
    "fill", [lambda photos: None, lambda photos: (photos.path / "images").mkdir(), lambda photos: photos.text("a.txt", "")]
)
def test_a_folder_without_images(photos, smidgen, tmp_path, fill):
    fill(photos)
    for words in (("inspect", photos.path), ("convert", photos.path, tmp_path / "out", "--to", "voc")):
        said = smidgen(*words)
        assert said.code == 2 and f"{photos.path}: no images found: put .bmp," in said.err
    assert not (tmp_path / "out").exists()


def test_every_kind_of_picture_is_read(photos, smidgen, tmp_path):
    """16 bits, palette, alpha, CMYK, gray, stored on its side: fine, and it is said what was made of them."""
    photos.labeled(3)
    exif = Image.Exif()
    exif[274] = 6
    photos.image("images/turned.jpg", np.zeros((16, 12, 3), np.uint8), exif=exif)
    photos.image("images/alpha.png", np.full((12, 16, 4), 90, np.uint8))
    photos.image("images/palette.png", Image.new("RGB", (16, 12), (255, 0, 0)).quantize(4))
    photos.image("images/print.jpg", Image.new("CMYK", (16, 12), (0, 255, 255, 0)))
    photos.image("images/wide.png", np.linspace(0, 65535, 192).astype(np.uint16).reshape(12, 16))
    for name in ("turned", "alpha", "palette", "print", "wide"):
        photos.mask(f"masks/{name}.png")
    said = smidgen("inspect", photos.path, "--full")
    assert said.code == 0 and "sizes     12 × 16 (height" in said.out
    for note in (
        "1 with mode RGBA: alpha dropped",
        "palette turned into RGB",
        "CMYK: turned into RGB",
        "1 gray among 7",
        "65535 becomes 1",
    ):
        assert note in said.out
    data = Dataset.open(photos.path)
    assert {sample.image().shape for sample in data.samples.values()} == {(3, 12, 16)}
    assert data.samples["palette"].image()[:, 0, 0] == pytest.approx([1, 0, 0], abs=0.02)
    assert smidgen("convert", photos.path, tmp_path / "out", "--to", "coco").code == 0


def test_holes_in_a_tiff_stop_the_training_data_check(photos, smidgen):
    photos.labeled()
    photos.image("images/hole.tif", np.array([[np.nan, 1], [0.5, 1]], np.float32))
    said = smidgen("inspect", photos.path, "--full")
    assert (
        said.code == 2 and "images/hole.tif: 1 of 4 values are NaN or infinite: fill the holes with a number, or write `nodata" in said.out
    )


def test_masks_of_one_class_and_a_class_without_images_are_said(photos, smidgen):
    photos.labeled()
    photos.text("classes.txt", "background\nthing\nunicorn\n")
    said = smidgen("inspect", photos.path, "--full")
    assert said.code == 0 and "masks: unicorn in no train mask: can't be learned from masks" in said.out
    for i in range(4):
        photos.mask(f"masks/{i}.png", 0)
    glance, whole = smidgen("inspect", photos.path), smidgen("inspect", photos.path, "--full")
    assert "masks: hold only background in all 4 files looked at" in glance.out
    assert whole.code == 2 and "masks of train: hold only background in all 3 files: label at least two classes" in whole.out


def test_a_single_image_is_enough_to_be_read(photos, smidgen, tmp_path):
    photos.labeled(1)
    said = smidgen("inspect", photos.path)
    assert said.code == 0 and "train     1 images: 1 full masks" in said.out and "recipe    masks" in said.out
    assert smidgen("inspect", photos.path / "images" / "0.png").code == 0
    assert smidgen("convert", photos.path, tmp_path / "out", "--to", "nnunet").code == 0


def test_links_to_images_and_folders_are_followed(photos, smidgen, tmp_path):
    elsewhere = type(photos)(tmp_path / "elsewhere")
    elsewhere.image("deep/b.png")
    photos.labeled(2)
    (photos.path / "images/a.png").symlink_to(elsewhere.image("a.png"))
    (photos.path / "images/more").symlink_to(elsewhere.path / "deep", target_is_directory=True)
    (photos.path / "images/round").symlink_to(photos.path / "images", target_is_directory=True)
    assert smidgen("inspect", photos.path).code == 0
    assert list(Dataset.open(photos.path).samples) == ["0", "1", "a", "more/b"]


def test_what_only_looks_like_an_image_is_passed_over(photos, smidgen):
    """A pipe would be waited for without end; a name that is no text can't be written into a table."""
    photos.labeled()
    (photos.path / "images/folder.png").mkdir()
    names = ["folder.png/"]
    if hasattr(os, "mkfifo"):
        os.mkfifo(photos.path / "images/pipe.png")
        names.append("pipe.png")
    with contextlib.suppress(OSError):  # some systems take no such names
        Path(os.fsdecode(os.fsencode(photos.path / "images") + b"/caf\xe9.png")).write_bytes((photos.path / "images/0.png").read_bytes())
        names.append("caf\\xe9.png (its name is no UTF-8: rename it)")
    said = smidgen("inspect", photos.path)
    assert said.code == 0 and "4 images, 0 problems" in said.out and all(name in said.out for name in names)


def test_files_and_folders_that_may_not_be_read_are_named(nobody, smidgen):
    photos = nobody.labeled()
    for name in ("images/1.png", "masks/2.png"):
        (photos.path / name).chmod(0)
    said = smidgen("inspect", photos.path)
    assert said.code == 2
    for name in ("images/1.png", "masks/2.png"):
        assert f"{name}: can't be read (Permission denied): give yourself the right to read it" in said.out
    (photos.path / "images").chmod(0)
    said = smidgen("inspect", photos.path)
    assert said.code == 2 and f"{photos.path / 'images'}: can't be read (Permission denied): give yourself the right to read it" in said.err


def test_a_data_folder_that_may_only_be_read_is_enough(nobody, smidgen):
    photos = nobody.labeled()
    out = photos.path.parent / "out"
    for path in (photos.path, *photos.path.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)
    assert smidgen("inspect", photos.path, "--full").code == 0
    assert smidgen("convert", photos.path, out, "--to", "coco").code == 0
    assert len(Dataset.open(out).samples) == 4


def test_a_place_that_may_not_be_written_to_is_named(nobody, smidgen):
    photos = nobody.labeled()
    closed = photos.path.parent / "closed"
    closed.mkdir(mode=0o555)
    said = smidgen("convert", photos.path, closed / "out", "--to", "coco")
    assert (
        said.code == 2 and f"{closed / 'out'}: could not be written (Permission denied): see that its folder may be written to" in said.err
    )
    assert list(closed.iterdir()) == []


def test_a_full_disk_is_said_and_leaves_nothing(photos, smidgen, tmp_path):
    """The system refuses files beyond a size, as it does when a disk is full."""
    photos.labeled().image("images/big.png", np.random.default_rng(0).integers(0, 256, (300, 300, 3), np.uint8))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        said = smidgen("convert", photos.path, tmp_path / "out", "--to", "coco")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert said.code == 2 and f"{tmp_path / 'out'}: could not be written (File too large): make room on its disk" in said.err
    assert [path.name for path in tmp_path.iterdir()] == ["photos"]


def test_two_commands_never_write_one_folder(photos, smidgen, tmp_path, monkeypatch):
    """The second one is told; the first one's work stays whole."""
    from smidgen.actions import convert as module

    add, seen = module.FolderWriter.add, []

    def meanwhile(self, sample):
        if not seen:
            seen.append(smidgen("convert", photos.path, tmp_path / "out", "--to", "coco"))
        add(self, sample)

    monkeypatch.setattr(module.FolderWriter, "add", meanwhile)
    assert smidgen("convert", photos.labeled().path, tmp_path / "out", "--to", "folder").code == 0
    assert seen[0].code == 2 and f"{tmp_path / 'out'}: another command writes it: wait for it" in seen[0].err
    assert len(Dataset.open(tmp_path / "out").samples) == 4
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "photos"]


@pytest.mark.parametrize("name", ["../secret.png", "/etc/secret.png", "C:\\secret.png", "..\\secret.png", "images/../../secret.png", ""])
def test_coco_names_that_lead_out_are_refused(photos, smidgen, tmp_path, name):
    photos.image("../secret.png")
    photos.image("a.png")
    entries = [{"id": 1, "file_name": "a.png"}, {"id": 2, "file_name": name}]
    photos.text("all.json", json.dumps({"images": entries, "annotations": [], "categories": [{"id": 1, "name": "x"}]}))
    for words in (
        ("inspect", photos.path / "all.json"),
        ("convert", photos.path / "all.json", tmp_path / "out", "--to", "folder", "--skip-broken"),
    ):
        said = smidgen(*words)
        assert said.code == 2 and "image 2" in said.out + said.err and "leads out of the folder" in said.out + said.err
    assert not (tmp_path / "out").exists()


def test_images_nobody_annotated_are_what_one_says_they_are(photos, smidgen):
    """Row a79: looked at and empty, or not looked at yet."""
    for i in range(6):
        photos.image(f"{i}.png")
    ring = [[2, 2, 9, 2, 9, 9]]
    drawn = [{"id": i, "image_id": i, "category_id": 1, "segmentation": ring} for i in range(4)]
    images = [{"id": i, "file_name": f"{i}.png"} for i in range(6)]
    file = photos.text("all.json", json.dumps({"images": images, "annotations": drawn, "categories": [{"id": 1, "name": "x"}]}))
    usual, looked_at = smidgen("inspect", file, "--val", "0"), smidgen("inspect", file, "--val", "0", "--unannotated", "negative")
    assert "2 of 6 images have no annotations: taken as not labeled yet" in usual.out and "4 full masks" in usual.out
    assert "taken as known to hold none" in looked_at.out and "6 full masks" in looked_at.out
    assert f"next      smidgen train {file} --unannotated negative" in looked_at.out
    # The same when masks are scored: what is left out is said, and negative images count as background.
    for i in (0, 2, 3, 4, 5):
        photos.mask(f"found/{i}.png", int(i == 5))
    words = "evaluate", photos.path / "found", file, "--split", "all"
    usual, looked_at = smidgen(*words), smidgen(*words, "--unannotated", "negative")
    assert "; 3 images" in usual.out and "left out  2 images without a mask (4, 5)" in usual.out
    assert "left out  1 image without a prediction (1)" in usual.out
    assert "; 5 images" in looked_at.out and "without a mask" not in looked_at.out
    refused = smidgen("train", photos.path / "found", "--unannotated", "negative")
    assert refused.code == 2 and "is no COCO file" in refused.err


@pytest.mark.slow
def test_thirty_thousand_images_are_looked_at_in_seconds(photos):
    """Seconds of the processor: others may be at work."""
    image, mask = photos.image("images/00000.jpg", NOISE), photos.mask("masks/00000.png", size=(60, 60))
    for i in range(1, 30_000):
        os.link(image, image.with_name(f"{i:05}.jpg"))
        if i % 3 == 0:
            os.link(mask, mask.with_name(f"{i:05}.png"))
    photos.text("classes.txt", "background\nthing\n")
    rows = [f"{i:05}.jpg,{'thing' if i % 2 else ''}" for i in range(30_000)]
    photos.text("tags.csv", "\n".join(["filename,tags", *rows]))
    # In a process of its own, without the checks of types that tests put into every function.
    code = (
        f"import time; from smidgen.cli.main import main; code = main(['inspect', {str(photos.path)!r}]); print(code, time.process_time())"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    exit_code, seconds = said.splitlines()[-1].split()
    assert exit_code == "0" and "30000 images, 0 problems" in said
    assert float(seconds) < 10
