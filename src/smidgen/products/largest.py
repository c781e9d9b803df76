"""Only the largest piece of each class in a prediction. Torch-free."""

from __future__ import annotations

from smidgen.core.errors import UsageError
from smidgen.products.sample import Classes
from smidgen.products.scores import Scores


def only_largest(scores: Scores, classes: Classes) -> Scores:
    """Of each class but the background the largest piece; what falls away is background.

    Its confidence is then what had been left for all other classes: that of the background where there are two, else at most that. The
    probabilities of all classes stay as they are.

    Args:
        scores: Of a whole image or volume: a strip does not tell how large a piece is.
        classes: What its label values mean.

    Raises:
        UsageError: There is no background that could take what falls away.
    """
    from smidgen.parts.imaging.components import largest_components  # scipy: a third of a second that only this needs

    if classes.background is None:
        raise UsageError("largest_component: these classes have no background that could take what falls away: leave it out")
    label = largest_components(scores.label, classes.background)
    gone = label != scores.label
    confidence = scores.confidence.copy()
    confidence[gone] = 1 - confidence[gone]
    return Scores(label, confidence, scores.probs)
