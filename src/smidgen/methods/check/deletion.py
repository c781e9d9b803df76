"""Deletion test (after the deletion metric of RISE, Petsiuk et al., BMVC 2018): what was found is hidden, and the classifier asked again.

Where there are no masks, nobody can say whether regions fit. This much can be told: if a region is what the classifier recognizes a class
by, hiding it lowers the probability of the class's tag more than hiding a region of the same size and shape elsewhere.

Reading order: deletion, tried, moved. Settings: settings.Deletion.
Differs: RISE deletes pixel after pixel in order of evidence and reports the area under the curve; here a pseudo-mask's region goes at once,
and is compared with the same region in random places of the same image, so that its size, its shape and the artifacts of hiding cancel out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np
import torch
from jaxtyping import Bool, Float32

from smidgen.core.run import Results, Run
from smidgen.data.dataset import Dataset
from smidgen.methods.check import settings
from smidgen.parts.imaging.hiding import hidden
from smidgen.parts.imaging.views import resized, working_size
from smidgen.products.deletion import Deletion
from smidgen.products.labels import LabelMap
from smidgen.products.resizing import nearest
from smidgen.products.sample import Sample
from smidgen.products.tag_classifier import TagClassifier


def deletion(
    run: Run, settings: settings.Deletion, data: Dataset, classifier: TagClassifier, labels: Mapping[str, LabelMap]
) -> Results[Deletion]:
    """Try some tagged training images, drawn with the run's seed."""
    ids = [id for id, sample in data.tagged.items() if sample.tags and id in labels]
    drawn = torch.randperm(len(ids))[: settings.images].tolist()
    samples = {ids[i]: data.samples[ids[i]] for i in drawn}
    return run.map("deletion", partial(tried, run=run, settings=settings, classifier=classifier), samples, labels)


def tried(sample: Sample, labels: LabelMap, run: Run, settings: settings.Deletion, classifier: TagClassifier) -> Deletion:
    """One image: each class of its tags that was found somewhere, but not everywhere."""
    size = working_size(sample.size, settings.size, classifier.stride)
    image = resized(classifier.prepare(sample.image()), size).numpy()
    label, tags = nearest(labels.label, size), sample.tags or ()
    regions = {id: label == id for id in tags}
    ids = tuple(id for id, region in regions.items() if region.any() and not region.all())
    places = [[regions[id], *(moved(regions[id]) for _ in range(settings.draws))] for id in ids]
    images = [image, *(hidden(image, region, settings.hide) for some in places for region in some)]
    probs = tag_probs(images, run, classifier, settings.batch) if ids else np.zeros((1, len(classifier.ids)), np.float32)
    rows = [classifier.ids.index(id) for id in ids]
    each = probs[1:].reshape(len(ids), 1 + settings.draws, len(classifier.ids))
    after = np.take_along_axis(each, np.array(rows, int).reshape(-1, 1, 1), axis=2)[:, :, 0]
    return Deletion(
        ids=ids,
        before=probs[0, rows],
        without_found=after[:, 0],
        without_random=after[:, 1:],
        found=np.array([some[0] for some in places], bool).reshape(-1, *size),
        elsewhere=np.array([some[1] for some in places], bool).reshape(-1, *size),
        left_out=tuple(id for id in tags if id not in ids),
    )


def moved(region: Bool[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    """The region mirrored and moved at random; what leaves the image on one side comes back on the other, so its size stays."""
    for axis in (0, 1):
        region = np.flip(region, axis) if torch.randint(2, ()) else region
        region = np.roll(region, int(torch.randint(region.shape[axis], ())), axis)
    return region


def tag_probs(
    images: Sequence[Float32[np.ndarray, "c h w"]], run: Run, classifier: TagClassifier, batch: int
) -> Float32[np.ndarray, "n k"]:
    """Probability of each tag in each version of an image: logits averaged over places, as they were trained."""
    found = []
    for i in range(0, len(images), batch):
        together = torch.from_numpy(np.stack(images[i : i + batch])).to(run.device)
        with torch.no_grad(), run.autocast():
            found.append(classifier.class_maps(together).float().mean(dim=(2, 3)).sigmoid().cpu())
    return torch.cat(found).numpy()
