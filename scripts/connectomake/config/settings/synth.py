"""Settings of the synth stage: a generator that learns what volumes look like, and makes new ones (3D MedDiffusion).

An autoencoder brings volumes to a small grid of vectors, its latents; a diffusion model learns how latents look, class
by class, and draws new ones; the autoencoder's decoder makes volumes of them.
"""

from __future__ import annotations

from math import lcm
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from connectomake.config.section import Section
from connectomake.config.settings.seeded_watershed import SeededWatershedConfig
from connectomake.config.settings.synth_networks import AutoencoderConfig, DenoiserConfig, DiscriminatorConfig

PerAxisVx = tuple[PositiveInt, PositiveInt, PositiveInt]
Share = Annotated[float, Field(ge=0, le=1)]
Decay = Annotated[float, Field(ge=0, lt=1)]


class ExamplesConfig(Section):
    """Which pieces of the volumes are learnt from."""

    shapes_zyx_vx: tuple[PerAxisVx, ...] = Field(
        ((64, 64, 64),),
        min_length=1,
        description="shapes of the volumes to learn from and to make, each [z, y, x] in voxels; several are learnt "
        "in one "
        "training, each batch of one shape",
    )
    take: Literal["cut", "whole"] = Field(
        "cut",
        description="cut = the boxes of the split are cut into examples of each shape; whole = a volume is one "
        "example: of "
        "the smallest shape that holds it, padded by reflection",
    )
    classes: dict[str, tuple[str, ...]] = Field(
        default_factory=dict,
        description="class -> names of volumes of the data config, where `*` stands for anything; {} = one class, "
        "`all`; "
        "a collection has its own",
    )
    at_most: PositiveInt | None = Field(
        None, description="examples of each class to learn from, drawn by seed; null = all"
    )
    hold_out_at_most: PositiveInt | None = Field(
        64, description="examples of each class to measure by, of boxes that are not trained on; null = all"
    )
    intensity: tuple[float, float] | None = Field(
        None,
        description="grey values on disk that become -1 and 1, such as a CT window; null = the range of the type of "
        "integers of 8 bits, [0, 1] of others",
    )
    percentiles: tuple[Annotated[float, Field(ge=0, le=100)], Annotated[float, Field(ge=0, le=100)]] | None = Field(
        None, description="instead: percentiles of the grey values of each volume that become -1 and 1 (%)"
    )
    outside: Literal["refuse", "clip"] = Field(
        "refuse",
        description="grey values beyond intensity: refuse = an error that names the volume, clip = the nearest",
    )
    least_volumes: PositiveInt = Field(2, description="examples that each class needs, to learn from and to measure by")
    seed: NonNegativeInt = Field(0, description="seed of what is drawn")

    @model_validator(mode="after")
    def _check_values(self) -> Self:
        """Reject ranges that are empty, and two ways to say them."""
        for key in ("intensity", "percentiles"):
            pair = getattr(self, key)
            if pair is not None and pair[0] >= pair[1]:
                raise ValueError(f"{key}: expected [lowest, highest], got {list(pair)}")
        if self.intensity is not None and self.percentiles is not None:
            raise ValueError("give intensity or percentiles, not both")
        if len(set(self.shapes_zyx_vx)) < len(self.shapes_zyx_vx):
            raise ValueError(f"shapes_zyx_vx: each shape once, got {[list(shape) for shape in self.shapes_zyx_vx]}")
        return self


class SynthLabelsConfig(Section):
    """Labels for the volumes that are made, so that a network can be trained on them."""

    kind: Literal["none", "joint", "conditional"] = Field(
        "none",
        description="none = images alone; joint = a distance map is made together with the image, and labels from it; "
        "conditional = images are made for labels that are given, which are exact by construction",
    )
    distance_nm: PositiveFloat = Field(
        100.0,
        description="distance from the border of an object at which its distance map is 1; outside objects "
        "it is -1 (nm)",
    )
    weight: PositiveFloat = Field(1.0, description="joint: weight of the map's L1 beside that of the image")
    decoder: SeededWatershedConfig = Field(
        default_factory=lambda: SeededWatershedConfig(
            method="binary_contour_distance",
            seed_binary=0.5,
            foreground_binary=0.5,
            seed_contour=1.0,
            seed_distance=0.4,
            foreground_distance=-0.5,
        ),
        description="joint: how labels are made from the map, by the decoder `seeded_watershed`",
    )
    min_size_vx: NonNegativeInt = Field(64, description="joint: smaller objects are dropped (voxels)")
    given: Literal["warped", "phantom"] = Field(
        "warped",
        description="conditional: labels to make images for: warped = those learnt from, turned and bent; phantom = "
        "those "
        "of new phantoms, see phantom",
    )
    phantom: str = Field("default", description="conditional, given phantom: preset of config/phantom that draws them")
    warp_nm: NonNegativeFloat = Field(
        60.0, description="conditional, given warped: largest displacement by which labels are bent (nm)"
    )


class PerceptualConfig(Section):
    """What tells how alike two volumes look, beyond their voxels. Nothing is ever downloaded."""

    kind: Literal["gradient", "lpips", "medicalnet"] = Field(
        "gradient",
        description="gradient = differences along the axes on three scales and the amplitudes of the spectrum, without "
        "weights; lpips = LPIPS of slices along three axes (VGG16); medicalnet = features of a 3-D ResNet-10",
    )
    weights: str | None = Field(
        None,
        description="lpips: file of torchvision's vgg16-397923af.pth; medicalnet: file of resnet_10_23dataset.pth "
        "(github.com/Tencent/MedicalNet)",
    )
    heads: str | None = Field(
        None, description="lpips: file of the five linear heads, vgg.pth of github.com/richzhang/PerceptualSimilarity"
    )
    slices: Annotated[float, Field(gt=0, le=1)] = Field(0.2, description="lpips: share of the slices along each axis")

    @model_validator(mode="after")
    def _check_files(self) -> Self:
        """Reject a network without its weights, and weights of a network that is not asked for."""
        if self.kind != "gradient" and self.weights is None:
            raise ValueError(f"kind {self.kind} needs weights: the path of a file; nothing is downloaded")
        if (self.kind == "lpips") != (self.heads is not None):
            raise ValueError("heads belongs to kind lpips, which needs it: the path of a file")
        if self.kind == "gradient" and self.weights is not None:
            raise ValueError("weights changes nothing: kind is gradient")
        return self


class LossWeightsConfig(Section):
    """The weight of each term of the autoencoder's loss."""

    l1: NonNegativeFloat = Field(4.0, description="mean difference of voxels")
    perceptual: NonNegativeFloat = Field(2.0, description="how alike they look, see perceptual")
    commitment: NonNegativeFloat = Field(1.0, description="distance of latents to their codes; in stage 1 alone")
    adversarial: NonNegativeFloat = Field(2.0, description="what the discriminator takes for made; its own loss, too")
    features: NonNegativeFloat = Field(4.0, description="difference of the discriminator's inner features")


class FitConfig(Section):
    """How long a network learns, and on what machine."""

    effort: ClassVar[frozenset[str]] = frozenset({"workers", "checkpoint_every_steps", "checkpoint_every_min"})

    max_steps: PositiveInt = Field(1000, description="steps of training (steps)")
    max_minutes: PositiveFloat | None = Field(
        None, description="end after so long, whatever the step; null = never (min)"
    )
    batch: PositiveInt = Field(4, description="examples of a step, in each process")
    learning_rate: PositiveFloat = Field(1e-3, description="of Adam, constant")
    betas: tuple[Decay, Decay] = Field((0.9, 0.999), description="memory of the first and second moment")
    precision: Literal["float32", "bfloat16"] = Field(
        "float32",
        description="what convolutions compute in; bfloat16 on a CPU is refused where a check proves it wrong",
    )
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="where to train; auto = a GPU if there is one")
    devices: PositiveInt = Field(1, description="GPUs, or processes on a CPU, of one node that train together")
    workers: NonNegativeInt = Field(0, description="processes that read examples; 0 = the training itself")
    validate_every_steps: PositiveInt = Field(100, description="validate on held-out examples every so often (steps)")
    validate_volumes: PositiveInt = Field(4, description="held-out examples of each validation")
    checkpoint_every_steps: PositiveInt = Field(1000, description="save a state to resume from every so often (steps)")
    checkpoint_every_min: PositiveFloat = Field(10.0, description="and at least every so often (min)")
    seed: NonNegativeInt = Field(0, description="seed of the weights, and of what is drawn")

    @property
    def nodes(self) -> int:
        """Nodes that train together."""
        return 1

    @property
    def processes(self) -> int:
        """Processes that train together."""
        return self.devices * self.nodes

    @property
    def accumulate(self) -> int:
        """Batches of a step."""
        return 1


class Stage1Config(FitConfig):
    """The autoencoder learns from random patches."""

    effort: ClassVar[frozenset[str]] = FitConfig.effort | {"memory_gb"}

    betas: tuple[Decay, Decay] = Field((0.5, 0.9), description="memory of the first and second moment")
    adversary_from_step: NonNegativeInt = Field(20000, description="the discriminator begins at this step (steps)")
    crop_zyx_vx: PerAxisVx | None = Field(
        None,
        description="largest part of a volume that is decoded at once, in stage 1 to validate: z, y, x; null = all of "
        "it (voxels)",
    )
    memory_gb: NonNegativeFloat = Field(
        4.0, description="memory for examples, of all processes of a node; those beyond are read anew each time (GB)"
    )
    adversary_turns: Literal["both", "alternate"] = Field(
        "both",
        description="both = each step trains autoencoder and discriminator; alternate = even steps the one, odd "
        "steps the "
        "other, as 3D MedDiffusion",
    )


class Stage2Config(Stage1Config):
    """Its decoder learns to decode whole volumes, without the seams of patches; encoder and codebook stay."""

    batch: PositiveInt = Field(1, description="volumes of a step, in each process")
    adversary_from_step: NonNegativeInt = Field(0, description="the discriminator begins at this step (steps)")


class LatentsConfig(Section):
    """How latents are kept for the diffusion model."""

    effort: ClassVar[frozenset[str]] = frozenset({"batch", "jobs"})

    normalise: Literal["codebook", "std"] = Field(
        "codebook",
        description="codebook = the smallest and largest number of the codebook become -1 and 1, as 3D "
        "MedDiffusion; std = "
        "each channel has mean 0 and standard deviation 1, and samples are not clipped",
    )
    turns: Annotated[int, Field(ge=1, le=16)] = Field(
        1,
        description="flips and quarter turns of each example that are encoded, the first of them as it is; for "
        "few data",
    )
    batch: PositiveInt = Field(8, description="patches that are encoded at a time")
    jobs: PositiveInt = Field(1, description="jobs that the examples are divided among")


class EmaConfig(Section):
    """The moving average of the denoiser's weights, which generates."""

    decay: Decay = Field(0.995, description="share of the average that stays in each update")
    every_steps: PositiveInt = Field(10, description="steps from one update to the next (steps)")
    from_step: NonNegativeInt = Field(2000, description="before this step the average is the network itself (steps)")


class DiffusionConfig(FitConfig):
    """How the denoiser learns."""

    learning_rate: PositiveFloat = Field(1e-4, description="of Adam, constant")
    timesteps: Annotated[int, Field(ge=10, le=10000)] = Field(1000, description="steps from data to noise")
    loss: Literal["l1", "l2"] = Field("l1", description="difference of predicted and true noise")
    batches: tuple[PositiveInt, ...] = Field(
        (), description="batch of each of examples.shapes_zyx_vx, in their order; [] = `batch` for all"
    )
    ema: EmaConfig = Field(default_factory=EmaConfig, description="moving average of the weights")
    label_dropout: Share = Field(
        0.0, description="share of examples whose class is hidden, so that guidance is possible; 0 = off"
    )


class GenerateConfig(Section):
    """How volumes are made."""

    effort: ClassVar[frozenset[str]] = frozenset({"device", "jobs"})

    volumes: PositiveInt = Field(8, description="volumes of each class and shape")
    seed: NonNegativeInt = Field(0, description="seed of the first; each volume has its own")
    sampler: Literal["ddpm", "ddim"] = Field("ddim", description="ddpm = all steps; ddim = some of them")
    steps: PositiveInt = Field(100, description="ddim: steps; a divisor of diffusion.timesteps")
    eta: Share = Field(0.0, description="ddim: share of ddpm's noise that is added in each step")
    guidance: Annotated[float, Field(ge=1)] = Field(
        1.0, description="how much further than without the class a step goes towards it; 1 = off; needs label_dropout"
    )
    decode_zyx_vx: PerAxisVx | None = Field(
        None,
        description="part of a volume that is decoded at once, z, y, x, blended with the next ones; null = all of "
        "it (voxels)",
    )
    overlap: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.25, description="share of such a part that overlaps the next"
    )
    formats: tuple[Literal["zarr", "nifti"], ...] = Field(("zarr",), description="zarr = OME-Zarr; nifti = .nii.gz")
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="where to compute; auto = a GPU if there is one")
    jobs: PositiveInt = Field(1, description="jobs that the volumes are divided among")

    @model_validator(mode="after")
    def _check_formats(self) -> Self:
        """Reject volumes that nothing in the workflow could read, or the same format twice."""
        if "zarr" not in self.formats or len(set(self.formats)) < len(self.formats):
            raise ValueError(f"formats: expected zarr, or zarr and nifti, got {list(self.formats)}")
        return self


class SynthMetricsConfig(Section):
    """How made volumes are compared with real ones."""

    features: Literal["encoder", "medicalnet"] = Field(
        "encoder",
        description="network whose features are compared: encoder = the autoencoder's own (FD-AE), medicalnet = a "
        "ResNet-10",
    )
    weights: str | None = Field(None, description="medicalnet: file of resnet_10_23dataset.pth")
    pairs: PositiveInt = Field(64, description="random pairs of volumes for MS-SSIM")
    seed: NonNegativeInt = Field(0, description="seed of what is drawn")

    @model_validator(mode="after")
    def _check_weights(self) -> Self:
        """Reject a network without its weights, and weights that nothing reads."""
        if (self.features == "medicalnet") != (self.weights is not None):
            raise ValueError("weights belongs to features medicalnet, which needs it: the path of a file")
        return self


class SynthConfig(Section):
    """A generator of volumes."""

    examples: ExamplesConfig = Field(default_factory=ExamplesConfig, description="what is learnt from")
    labels: SynthLabelsConfig = Field(default_factory=SynthLabelsConfig, description="labels of what is made")
    autoencoder: AutoencoderConfig = Field(
        default_factory=AutoencoderConfig, description="from volumes to latents and back"
    )
    discriminator: DiscriminatorConfig = Field(
        default_factory=DiscriminatorConfig, description="what tells real volumes from reconstructions, in training"
    )
    perceptual: PerceptualConfig = Field(
        default_factory=PerceptualConfig, description="what tells how alike volumes look"
    )
    weights: LossWeightsConfig = Field(
        default_factory=LossWeightsConfig, description="weights of the autoencoder's losses"
    )
    stage1: Stage1Config = Field(default_factory=Stage1Config, description="training of the autoencoder")
    stage2: Stage2Config = Field(default_factory=Stage2Config, description="training of its decoder on whole volumes")
    latents: LatentsConfig = Field(default_factory=LatentsConfig, description="how latents are kept")
    denoiser: DenoiserConfig = Field(default_factory=DenoiserConfig, description="the network of the diffusion model")
    diffusion: DiffusionConfig = Field(default_factory=DiffusionConfig, description="training of the denoiser")
    generate: GenerateConfig = Field(default_factory=GenerateConfig, description="how volumes are made")
    metrics: SynthMetricsConfig = Field(default_factory=SynthMetricsConfig, description="how they are judged")

    @property
    def image_channels(self) -> int:
        """Channels of what the autoencoder sees: the image, and the distance map where that is made with it."""
        return 2 if self.labels.kind == "joint" else 1

    @property
    def multiple_zyx_vx(self) -> tuple[int, int, int]:
        """What each side of an example is padded to a multiple of: patches, and what the denoiser halves."""
        own, divisor = self.autoencoder, self.denoiser.divisor
        z, y, x = (lcm(p, r * divisor) for p, r in zip(own.patch_zyx_vx, own.ratio_zyx, strict=True))
        return z, y, x

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        """Reject settings of different parts that cannot go together."""
        if self.generate.sampler == "ddim" and self.diffusion.timesteps % self.generate.steps:
            raise ValueError(
                f"generate.steps: expected a divisor of {self.diffusion.timesteps}, got {self.generate.steps}"
            )
        if self.generate.guidance > 1 and not self.diffusion.label_dropout:
            raise ValueError(
                "generate.guidance needs diffusion.label_dropout above 0: train without a class now and then"
            )
        batches, shapes = self.diffusion.batches, self.examples.shapes_zyx_vx
        if batches and len(batches) != len(shapes):
            raise ValueError(f"diffusion.batches: expected {len(shapes)}, one for each shape, got {len(batches)}")
        for shape in shapes:
            short = [n for n, p in zip(shape, self.autoencoder.patch_zyx_vx, strict=True) if n < p]
            if short:
                raise ValueError(
                    f"examples.shapes_zyx_vx: expected sides of at least the patch "
                    f"{list(self.autoencoder.patch_zyx_vx)}, "
                    f"got {list(shape)}"
                )
        return self
