"""Peers: a Segmenter with the networks it learned beside, each of them and their vote usable as a Segmenter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from smidgen.parts.losses.agreement import log_probs, vote
from smidgen.parts.networks.network import Network
from smidgen.parts.networks.prediction import Prediction
from smidgen.products.segmenter import Architecture, Segmenter


class Vote(Network):
    """Several networks as one: the logarithm of their mean probabilities (soft vote), whose softmax are these probabilities.

    Args:
        networks: Of one form.
    """

    def __init__(self, networks: Sequence[Network]):
        super().__init__(networks[0].encoder, networks[0].head)
        self.networks = nn.ModuleList(networks)

    def forward(self, image: Float[Tensor, "b c *h"]) -> Prediction:
        """What all say together, at the stride of one.

        Args:
            image: As each network takes it.
        """
        return Prediction(vote(torch.stack([log_probs(network(image).logits) for network in self.networks])))


class Peers(Segmenter):
    """The result of methods that train several networks: it is one of them, and is saved as this one.

    Args:
        networks: All of them; the result comes first.
        architecture: How to build one again.
        names: Of the networks; None: their numbers.
    """

    def __init__(self, networks: Sequence[Network], architecture: Architecture, names: Sequence[str] | None = None):
        super().__init__(networks[0], architecture)
        self.members = dict(zip(names or map(str, range(1, len(networks) + 1)), networks, strict=True))

    @property
    def peers(self) -> Mapping[str, Segmenter]:
        """Each network by name, and `vote`: all of them together. The vote predicts, but is not saved."""
        voters = [network for name, network in self.members.items() if name != "distilled"]
        together = Segmenter(Vote(voters), self.architecture, self.recipe, key=f"{self.key}-vote")
        single = {
            name: Segmenter(network, self.architecture, self.recipe, key=f"{self.key}-{name}") for name, network in self.members.items()
        }
        return {**single, "vote": together}

    def to(self, device: torch.device | str) -> Peers:
        """Move all networks; returns itself."""
        for network in self.members.values():
            network.to(device)
        return self
