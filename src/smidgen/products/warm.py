"""Warm start: networks of an earlier run as initial weights; where classes were added, the rows of the known ones are kept by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from smidgen.core.errors import WeightsError
from smidgen.products.segmenter import Segmenter

State = Mapping[str, Tensor]
SHOWN = 3
"""Names that a message lists."""


@dataclass(frozen=True)
class Origin:
    """A network that was trained before.

    Args:
        where: For messages: its run.
        network: For messages: the encoder it has.
        classes: Name of the class that each row of its last layer speaks of.
        state: Reads its parameters.
    """

    where: str
    network: str
    classes: tuple[str, ...]
    state: Callable[[], State]


@dataclass(frozen=True)
class WarmStart:
    """What methods that learn may start from, each taking what it can use.

    Args:
        key: Hash of the networks.
        classifier: One that learned tags; "encoder.…" and "head.…".
        segmenter: One that learned masks; "encoder.…" and "head.…".
    """

    key: str
    classifier: Origin | None = None
    segmenter: Origin | None = None

    @property
    def networks(self) -> tuple[str, ...]:
        """What there is, in words."""
        return tuple(name for name in ("classifier", "segmenter") if getattr(self, name) is not None)

    @classmethod
    def of(cls, segmenter: Segmenter, where: str = "the last round") -> WarmStart:
        """From a segmenter that is at hand: its network as it is, read when it is used."""
        encoder = segmenter.architecture.encoder.name
        return cls(segmenter.key, segmenter=Origin(where, encoder, segmenter.classes.names, segmenter.network.state_dict))


def start_from(network: nn.Module, origin: Origin, classes: Sequence[str], head: Callable[[int], nn.Module]) -> None:
    """Put the parameters of an earlier network into a new one.

    Args:
        network: Fresh, with a part "head"; where a class is new, its rows stay so.
        origin: The earlier network.
        classes: Name of the class that each row of the new network's last layer speaks of.
        head: Makes such a head for a number of classes; what differs in shape between two numbers has a row for each class.

    Raises:
        WeightsError: The networks do not fit each other.
    """
    state, own = dict(origin.state()), network.state_dict()
    one, other = head(len(classes)).state_dict(), head(len(classes) + 1).state_dict()
    by_class = {f"head.{name}" for name, value in one.items() if value.shape != other[name].shape}
    known = [(new, origin.classes.index(name)) for new, name in enumerate(classes) if name in origin.classes]
    if own.keys() != state.keys():
        raise _other_network(origin, sorted(own.keys() ^ state.keys()))
    odd = [name for name in own if (own[name].shape[1:] if name in by_class else own[name].shape) != _beside(state[name], name in by_class)]
    odd += [name for name in by_class if len(state[name]) != len(origin.classes)]
    if odd:
        raise _other_network(origin, odd)
    with torch.no_grad():
        for name, fresh in own.items():
            if name not in by_class:
                fresh.copy_(state[name])
                continue
            for new, old in known:
                fresh[new] = state[name][old].to(fresh.device)


def _beside(value: Tensor, by_class: bool) -> torch.Size:
    return value.shape[1:] if by_class else value.shape


def _other_network(origin: Origin, names: Sequence[str]) -> WeightsError:
    shown = ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
    return WeightsError(
        f"--warm-from {origin.where}: its network has another architecture ({shown}; its encoder is {origin.network}): "
        "name the encoder, the head and their settings as it was trained with, or leave --warm-from out"
    )
