"""Adversarial images: small changes of the input that change a network's answer most.

Reading order: input_gradient and fgsm (Goodfellow, Shlens & Szegedy, ICLR 2015), virtual_direction and moved (VAT, Miyato et al., TPAMI
2018), statistics_kept and weights_held, in which networks are asked without a trace.
Sizes of changes are given per image in the units of its values, and results stay within its limits, so z-scored images are attacked as well
as those in [0, 1]. A radius is a root mean square per pixel: the strength of an attack does not depend on the size of the image.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm  # pyright: ignore[reportPrivateUsage] (there is no public name for all of them)

from smidgen.parts.losses.agreement import kl, log_probs


def input_gradient(loss: Float[Tensor, ""], image: Float[Tensor, "b c *h"]) -> Float[Tensor, "b c *h"]:
    """The gradient of a loss by the image, through a pass that has been made; that pass can still be trained on.

    No parameter's `.grad` is touched, and the gradients of weights are not computed. Sums over pixels are better than means: in 16 bits
    small gradients are lost.

    Args:
        loss: Depends on the image.
        image: Requires a gradient.
    """
    (gradient,) = torch.autograd.grad(loss, image, retain_graph=True)
    return gradient.detach()


def fgsm(
    image: Float[Tensor, "b c *h"],
    gradient: Float[Tensor, "b c *h"],
    step: Float[Tensor, "b"],
    low: Float[Tensor, "b"],
    high: Float[Tensor, "b"],
) -> Float[Tensor, "b c *h"]:
    """The image moved by one step along the sign of the gradient, within its limits.

    Args:
        image: Values between low and high.
        gradient: Of what shall grow.
        step: Change of each pixel.
        low: Smallest value that each image may take.
        high: Largest value.

    Example:
        >>> one = torch.ones(1)
        >>> fgsm(torch.tensor([[[0.98, 0.5, 0.01]]]), torch.tensor([[[3.0, 0, -2]]]), 0.03 * one, 0 * one, one).tolist()
        [[[1.0, 0.5, 0.0]]]
    """
    return _within(image.detach() + _each(step, image) * gradient.sign(), low, high)


def virtual_direction(
    ask: Callable[[Tensor], Tensor],
    image: Float[Tensor, "b c *h"],
    target: Float[Tensor, "b k *i"],
    probe: Float[Tensor, "b"],
    rounds: int = 1,
) -> Float[Tensor, "b c *h"]:
    """The direction in which the answer changes most, by power iteration from a random one; root mean square 1 per image.

    Needs no label: what grows is KL(target || answer), whose gradient at the image itself is zero, so a small step away is looked at.

    Args:
        ask: Image to logits.
        image: What is moved.
        target: Log-probabilities at the image itself.
        probe: Size of the small step, root mean square per pixel. In 32 bits 1e-6 changes nothing in most pixels; a hundredth of the
            range of values is small enough.
        rounds: Of the power iteration.
    """
    image, target = image.detach(), target.detach()
    direction = _unit(torch.randn_like(image))
    for _ in range(rounds):
        with torch.enable_grad():
            probed = (image + _each(probe, image) * direction).requires_grad_()
            (gradient,) = torch.autograd.grad(kl(target, log_probs(ask(probed))).sum(), probed)
        direction = _unit(gradient)
    return direction


def moved(
    image: Float[Tensor, "b c *h"],
    direction: Float[Tensor, "b c *h"],
    radius: Float[Tensor, "b"],
    low: Float[Tensor, "b"],
    high: Float[Tensor, "b"],
) -> Float[Tensor, "b c *h"]:
    """The image moved by a radius (root mean square per pixel) along a direction, within its limits."""
    return _within(image.detach() + _each(radius, image) * direction, low, high)


@contextmanager
def statistics_kept(*networks: nn.Module) -> Iterator[None]:
    """Batch normalization goes on as it does, but what passes in here does not enter its running statistics."""
    tracking = [one for network in networks for one in network.modules() if isinstance(one, _BatchNorm) and one.track_running_stats]
    for one in tracking:
        one.track_running_stats = False
    try:
        yield
    finally:
        for one in tracking:
            one.track_running_stats = True


@contextmanager
def weights_held(network: nn.Module) -> Iterator[None]:
    """Passes in here keep nothing for gradients of weights; only the input's can be asked for."""
    released = [parameter for parameter in network.parameters() if parameter.requires_grad]
    for parameter in released:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in released:
            parameter.requires_grad_(True)


def _each(value: Tensor, image: Tensor) -> Tensor:
    """One value per image, to be multiplied with images."""
    return value.to(image).view(-1, *(1,) * (image.ndim - 1))


def _within(image: Tensor, low: Tensor, high: Tensor) -> Tensor:
    return torch.minimum(torch.maximum(image, _each(low, image)), _each(high, image))


def _unit(direction: Tensor) -> Tensor:
    """Root mean square 1 per image; a direction that is nothing stays so."""
    largest = direction.flatten(1).abs().amax(dim=1)  # first, so that squares do not vanish
    scaled = direction / _each(largest.clamp(min=torch.finfo(direction.dtype).tiny), direction)
    return scaled / _each(scaled.flatten(1).square().mean(dim=1).sqrt().clamp(min=torch.finfo(direction.dtype).tiny), direction)
