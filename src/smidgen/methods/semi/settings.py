"""Settings of the methods that learn from labeled and unlabeled images. Defaults are the papers'; presets overlay them. Torch-free."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt, field_validator

from smidgen.core.settings import Frozen, Length

Share = Annotated[float, Field(ge=0, le=1)]
Weight = Annotated[float, Field(ge=0)]


class FewLabels(Frozen):
    """What all of them have: views, batches, and how weights move. Not a method."""

    size: int = Field(0, ge=0)
    """Longest side in pixels that images are shrunk to before anything else, here and in prediction; 0 = full size (UniMatch)."""
    crop: int = Field(321, ge=8)
    """Side of a training view in pixels (UniMatch on VOC; 256 on ACDC)."""
    scale: tuple[PositiveFloat, PositiveFloat] = (0.5, 2.0)
    """Smallest and largest random factor on an image (CPS, UniMatch)."""
    flip: bool = True
    """Mirror half of the views of pictures left to right (CPS, UniMatch)."""
    color: Share = 0.0
    """Strength of random brightness, contrast and saturation of weak views: factors in 1 ± color; 0 = none (CPS, UniMatch)."""
    patch: tuple[PositiveInt, ...] = ()
    """Volumes and slices: sides of a training view in voxels, (d, h, w) or (h, w), and of the windows of prediction in 3D; () = `crop` in
    every direction (Luo et al. 2021: 80, 112, 112 for atria)."""
    degrees: float = Field(15.0, ge=0, le=180)
    """Volumes and slices: largest random angle by which rows and columns are turned (nnU-Net: 30 and more)."""
    foreground: Share = 0.5
    """Volumes and slices: share of labeled views that are centered on the foreground, each class as often as any other (nnU-Net: 0.33)."""
    flips: tuple[bool, ...] = ()
    """Volumes and slices: axes along which half of the views are mirrored; () = none, for organs have a left and a right."""
    batch: int = Field(8, ge=1)
    """Labeled views in a step (CPS, UniMatch)."""
    batch_unlabeled: int = Field(8, ge=1)
    """Unlabeled views in a step (CPS, UniMatch)."""
    steps: Annotated[int, Length(least=60)] = Field(30_000, ge=1)
    """Training steps (CPS and UniMatch on VOC take 60-80 rounds over the unlabeled images)."""
    epochs: Annotated[float, Length(least=1, rounds=True, overrides=True, least_steps=60)] = Field(0.0, ge=0)
    """Rounds over the unlabeled images; above 0 it takes the place of `steps`."""
    optimizer: Literal["sgd", "adamw"] = "sgd"
    """How weights move: SGD with momentum (CPS, UniMatch), or AdamW."""
    lr_encoder: float = Field(1e-3, gt=0)
    """Learning rate of the encoder (UniMatch on VOC)."""
    lr_head: float = Field(1e-2, gt=0)
    """Learning rate of the head (UniMatch on VOC)."""
    momentum: float = Field(0.9, ge=0, lt=1)
    """Momentum of SGD (CPS, UniMatch); AdamW uses its own."""
    weight_decay: float = Field(1e-4, ge=0)
    """Pull of the weights towards zero (CPS, UniMatch)."""
    power: float = Field(0.9, gt=0)
    """Learning rates fall as (1 - progress) to this power (CPS, UniMatch)."""
    warmup: int = Field(0, ge=0)
    """First steps in which learning rates rise evenly from zero; 0 = none (CPS, UniMatch)."""
    clip: float = Field(0.0, ge=0)
    """Largest norm of the gradient of all networks together; 0 = not limited (CPS, UniMatch)."""

    @field_validator("patch")
    @classmethod
    def _sides(cls, patch: tuple[int, ...]) -> tuple[int, ...]:
        if len(patch) not in (0, 2, 3):
            raise ValueError("give two sides for slices, three for volumes, or none")
        return patch

    @field_validator("scale", "ramp", "box", check_fields=False)
    @classmethod
    def _ordered(cls, pair: tuple[float, float]) -> tuple[float, float]:
        if pair[0] > pair[1]:
            raise ValueError("the smaller number comes first")
        return pair


class StrongViews(FewLabels):
    """What those have that look at strong views: how strong they are. Not a method."""

    chance: Share = 0.8
    """Chance of each of the changes below (UniMatch: its colors)."""
    gamma: Weight = 0.5
    """Values are raised to a power between 1 / (1 + gamma) and 1 + gamma (nnU-Net: 0.43)."""
    contrast: Share = 0.5
    """Distances from the mean are multiplied by a factor in 1 ± contrast (UniMatch)."""
    brightness: Weight = 0.5
    """Channels are shifted by up to ± so many standard deviations: 1 of z-scored data, 0.25 of pictures (UniMatch: factors in 1 ± 0.5)."""
    blur: Weight = 1.5
    """Largest standard deviation of a blur, in pixels (UniMatch: 2)."""
    noise: Weight = 0.3
    """Largest standard deviation of noise, in those of the data (nnU-Net: 0.32)."""
    cutmix: Share = 0.5
    """Chance that an unlabeled view gets a box of another unlabeled one (UniMatch)."""
    paste: Share = 0.0
    """Chance that an unlabeled view gets a box of a labeled one, label and all, where made labels are learned (no paper: 0)."""
    box: tuple[Annotated[float, Field(gt=0, le=1)], Annotated[float, Field(gt=0, le=1)]] = (0.02, 0.4)
    """Smallest and largest share of a view that a box covers (UniMatch)."""


class MeanTeacher(FewLabels):
    """Mean teacher (Tarvainen & Valpola, NIPS 2017); values for segmentation of UA-MT (Yu et al., MICCAI 2019), which compares with it."""

    batch: int = Field(2, ge=1)
    """Labeled views in a step (UA-MT)."""
    batch_unlabeled: int = Field(2, ge=1)
    """Unlabeled views in a step (UA-MT)."""
    steps: Annotated[int, Length(least=60)] = Field(6_000, ge=1)
    """Training steps (UA-MT)."""
    lr_encoder: float = Field(1e-2, gt=0)
    """Learning rate of the encoder (UA-MT)."""
    ema: float = Field(0.99, ge=0, lt=1)
    """Share of the teacher that stays in a step (UA-MT; Tarvainen & Valpola: 0.999)."""
    weight: Weight = 0.1
    """Weight of the consistency at the top of its ramp (UA-MT)."""
    ramp: tuple[Share, Share] = (0.0, 1.0)
    """From when to when the consistency's weight rises, as shares of the training (UA-MT: it rises till the end)."""
    noise: Weight = 0.1
    """Standard deviation of the noise that student and teacher see, each its own, in those of the data (UA-MT)."""
    uncertainty: bool = False
    """Let only pixels count of which the teacher is certain: the entropy of its mean answer over `passes` is low (UA-MT)."""
    passes: int = Field(8, ge=1)
    """With `uncertainty`: further passes of the teacher, each with noise of its own (UA-MT); each costs as much as its one pass."""
    keep: Literal["teacher", "student"] = "teacher"
    """Which network is the result (Tarvainen & Valpola)."""


class Cps(StrongViews):
    """Cross pseudo supervision (Chen et al., CVPR 2021)."""

    crop: int = Field(512, ge=8)
    """Side of a training view in pixels (CPS on VOC)."""
    lr_encoder: float = Field(2.5e-3, gt=0)
    """Learning rate of the encoder (CPS on VOC)."""
    lr_head: float = Field(2.5e-3, gt=0)
    """Learning rate of the head (CPS on VOC)."""
    weight: Weight = 1.5
    """Weight of what the networks teach each other (CPS on VOC; 6 on Cityscapes)."""
    ramp: tuple[Share, Share] = (0.0, 0.0)
    """From when to when that weight rises, as shares of the training (CPS: it is there from the start)."""
    chance: Share = 0.0
    """Chance of each change of values of an unlabeled view; needs `cutmix` above 0 (CPS: none)."""
    cutmix: Share = 0.0
    """Chance that an unlabeled view gets a box of another one; above 0, labels come from the views as they were (CPS with CutMix: 1)."""


class WeakToStrong(StrongViews):
    """Weak to strong (FixMatch, Sohn et al., NeurIPS 2020), with strong views of UniMatch (Yang et al., CVPR 2023) and a mean teacher."""

    ema: float = Field(0.996, ge=0, lt=1)
    """Share of the teacher that stays in a step (UniMatch V2; 0 = the student teaches itself, as in FixMatch)."""
    confidence: Share = 0.95
    """Pixels of which the teacher is less sure are not learned from (FixMatch, UniMatch)."""
    unlabeled_weight: Weight = 1.0
    """Weight of the teacher's labels (FixMatch, UniMatch); 0 = unlabeled images are not looked at."""
    labeled_weight: Weight = 0.0
    """Weight of strong views of labeled images (FixMatch: none). 1 with `unlabeled_weight` 0 is the control that learns from masks only."""
    ramp: tuple[Share, Share] = (0.0, 0.0)
    """From when to when the weight of the teacher's labels rises, as shares of the training (FixMatch: it is there from the start)."""
    keep: Literal["teacher", "student"] = "teacher"
    """Which network is the result (UniMatch V2)."""


class Cotraining(StrongViews):
    """Deep co-training (Peng et al., Pattern Recognition 2020); values of its code for ACDC. Its ramps are in epochs, of 120."""

    crop: int = Field(256, ge=8)
    """Side of a training view in pixels (its ACDC slices)."""
    scale: tuple[PositiveFloat, PositiveFloat] = (1.0, 1.18)
    """Smallest and largest random factor on an image (it enlarges 85-95 % of the image to the whole)."""
    batch: int = Field(4, ge=1)
    """Labeled views of each network in a step."""
    batch_unlabeled: int = Field(4, ge=1)
    """Unlabeled views in a step, the same for all networks."""
    steps: Annotated[int, Length(least=60)] = Field(24_000, ge=1)
    """Training steps (120 epochs of 200)."""
    optimizer: Literal["sgd", "adamw"] = "adamw"
    """How weights move (Adam)."""
    lr_encoder: float = Field(1e-3, gt=0)
    """Learning rate of the encoders."""
    lr_head: float = Field(1e-3, gt=0)
    """Learning rate of the heads."""
    cutmix: Share = 0.0
    """Chance that an unlabeled view gets a box of another one, where `strong` is on (the paper: none)."""
    networks: int = Field(2, ge=2, le=8)
    """How many networks learn together."""
    overlap: Share = 1.0
    """Share of the labeled groups (patients) that all networks learn from; the others go to one each. 1 = all have the same labels, as
    where there are fewer groups than networks."""
    agreement: Literal["jsd", "cross", "vote", "own"] = "jsd"
    """How networks learn from unlabeled images: to agree (the paper's), or from labels that averaged networks give: those of the others
    (cross), of all (vote), or each its own (own: no exchange, a control)."""
    agreement_weight: Weight = 0.5
    """Weight of the agreement at the top of its ramp."""
    ramp: tuple[Share, Share] = (0.0, 0.42)
    """From when to when the agreement's weight rises, as shares of the training (epochs 0 to 50)."""
    confidence: Share = 0.0
    """Pixels of which the averaged networks are less sure are not learned from (cross, vote, own)."""
    ema: float = Field(0.99, ge=0, lt=1)
    """Share of an averaged network that stays in a step (cross, vote, own); averaged ones are then the result."""
    strong: bool = False
    """Each network sees unlabeled images in a strong view of its own, all with the same boxes; no: all see the weak view (the paper)."""
    diversity_weight: Weight = 0.05
    """Weight of the diversity by adversarial images at the top of its ramp; 0 = none."""
    diversity_ramp: tuple[Share, Share] = (0.17, 0.42)
    """From when to when the diversity's weight rises, as shares of the training (epochs 20 to 50)."""
    attack: Literal["fgsm", "vat"] = "fgsm"
    """How unlabeled images are attacked: against the network's own label in one pass that there is anyway, or along its virtual direction
    (as the paper says; two passes more). Labeled ones are attacked by fgsm."""
    epsilon: Weight = 0.03
    """Change of a pixel in an attack, as share of the range of values; vat: root mean square over pixels."""
    every: int = Field(1, ge=1)
    """Images are attacked in every so many steps only, with so many times the weight."""
    keep: Literal["first", "distilled"] = "first"
    """Which network is the result: the first, or a new one that learns what all say together."""
    distill_steps: int = Field(2_000, ge=1)
    """Steps in which that one learns (no paper)."""

    @field_validator("diversity_ramp")
    @classmethod
    def _rising(cls, pair: tuple[float, float]) -> tuple[float, float]:
        return cls._ordered(pair)


class Dtc(StrongViews):
    """Dual-task consistency (Luo et al., AAAI 2021). Strong views and averaged weights are none of the paper's: all are off by default."""

    crop: int = Field(112, ge=8)
    """Side of a training view in pixels (112 x 112 x 80)."""
    scale: tuple[PositiveFloat, PositiveFloat] = (1.0, 1.0)
    """Smallest and largest random factor on an image (none)."""
    batch: int = Field(2, ge=1)
    """Labeled views in a step."""
    batch_unlabeled: int = Field(2, ge=0)
    """Unlabeled views in a step, in one pass with the labeled ones; 0 = no unlabeled image is looked at: a control."""
    steps: Annotated[int, Length(least=60)] = Field(6_000, ge=1)
    """Training steps."""
    lr_encoder: float = Field(1e-2, gt=0)
    """Learning rate of the encoder."""
    falls: tuple[Share, ...] = (0.4167, 0.8333)
    """Shares of the training at which learning rates fall to a tenth (steps 2500 and 5000); none: they fall as `power` says."""
    supervision: Literal["dice", "loss"] = "dice"
    """What class scores learn from labels: Dice of the foreground over the labeled views of a step at once (eq. 4), or what --loss says."""
    target: Literal["paper", "exact"] = "paper"
    """Level sets that are learned: 0 on an object's inner rim (paper), or half a voxel from it, so that their sign is the mask (exact)."""
    reach: Weight = 0.0
    """Distances are divided by this many voxels and cut off at 1; 0: they are divided by the largest in the view (paper)."""
    steepness: float = Field(1500.0, gt=0)
    """κ, factor on level sets before they become masks (eq. 2)."""
    distance_weight: Weight = 0.3
    """β, weight of the level sets' regression."""
    weight: Weight = 1.0
    """Weight of the consistency of both tasks at the top of its ramp."""
    ramp: tuple[Share, Share] = (0.0, 1.0)
    """From when to when the consistency's weight rises, as shares of the training (steps 0 to 6000)."""
    stairs: int = Field(40, ge=1)
    """It rises in so many stairs (each 150 steps)."""
    consistency_on: Literal["all", "labeled"] = "all"
    """Which views both tasks have to agree on. labeled: unlabeled ones are in the pass, but teach batch statistics only: a control."""
    answer: Literal["scores", "both", "level_sets"] = "scores"
    """Who answers after training: the class scores (paper), the level sets, or the mean probability of both."""
    ema: float = Field(0.0, ge=0, lt=1)
    """Share of an averaged network that stays in a step; it is the result. 0 = there is none (paper)."""
    strong: bool = False
    """Weak to strong: unlabeled images are seen in strong views, whose labels the averaged network (see `ema`) gives (no paper)."""
    unlabeled_weight: Weight = 1.0
    """With `strong`: weight of those labels (FixMatch, UniMatch)."""
    labeled_weight: Weight = 0.0
    """Above 0, labeled images are seen in strong views, too, whose loss has this weight; with `strong` off it makes that control."""
    confidence: Share = 0.95
    """With `strong`: pixels of which the averaged network is less sure are not learned from (FixMatch, UniMatch)."""


class WeakPlusMasks(StrongViews):
    """True masks, and pseudo-masks where there are none: AdvCAM's semi-supervised setting, which is CCT's (Ouali et al., CVPR 2020)."""

    how: Literal["decoders", "strong_views"] = "decoders"
    """What pseudo-masks teach: further decoders that see disturbed features and agree with the main one, which learns from masks only
    (CCT); or the network itself, in strong views, where its average is not sure of anything better (weak to strong)."""
    crop: int = Field(320, ge=8)
    """Side of a training view in pixels (CCT)."""
    batch: int = Field(10, ge=1)
    """Views with masks in a step (CCT)."""
    batch_unlabeled: int = Field(10, ge=1)
    """Views without in a step (CCT)."""
    lr_encoder: float = Field(1e-2, gt=0)
    """Learning rate of the encoder (CCT)."""
    weak_weight: Weight = 0.4
    """Weight of pseudo-masks (CCT: at the top of the ramp)."""
    weak_end: Weight = 0.4
    """With `strong_views`: their weight at the end of the training, to which it goes in a straight line (no paper)."""
    use_confidence: bool = False
    """Weigh each pixel of a pseudo-mask with its confidence, where it has one."""
    use_tags: bool = True
    """With `strong_views`: the average answers with classes of the image's tags only, where these are known."""
    ramp: tuple[Share, Share] = (0.0, 0.1)
    """From when to when the weights of pseudo-masks (decoders), of agreement and of the average's labels rise (CCT: a tenth)."""
    agreement_weight: Weight = 30.0
    """With `decoders`: weight of their agreement with the main one at the top of the ramp (CCT)."""
    disturbed: tuple[Literal["noise", "drop", "dropout"], ...] = ("noise", "drop", "dropout")
    """With `decoders`: one for each word. noise: features are changed by up to ±30 %; drop: the most active places are left out; dropout:
    half of the channels are (CCT: seven kinds, up to six decoders of each)."""
    ema: float = Field(0.0, ge=0, lt=1)
    """Share of an averaged network that stays in a step; it is the result. 0 = there is none, the network asks itself (CCT)."""
    unlabeled_weight: Weight = 1.0
    """With `strong_views`: weight of images without masks (FixMatch, UniMatch)."""
    labeled_weight: Weight = 0.0
    """Weight of strong views of images with masks, beside the weak ones (CCT: none)."""
    confidence: Share = 0.95
    """With `strong_views`: pixels of which the average is less sure are left to the pseudo-mask (FixMatch, UniMatch)."""
    smooth_weight: Weight = 0.0
    """Weight of a dense CRF's energy of the predictions: neighbors of like color cost where they differ (Obukhov et al. 2019: 0.1)."""
