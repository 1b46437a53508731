"""Recipes: training settings. Each counter has its own; every setting can be overridden."""

from typing import Annotated, Literal, Self

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from benchmark.registry import Settings

RUNNING = {"tracker", "compile", "checkpoint_seconds"}  # how a training runs; not in cache keys


class Recipe(Settings):
    """Training settings.

    epochs: number of passes over the training images.
    batch_size: number of images in a batch.
    lr: learning rate.
    backbone_lr_ratio: factor of the learning rate for the pretrained part of a counter.
    momentum: of 'sgd'.
    schedule: of the learning rate. 'onecycle' rises over the first 30% of the steps and falls to
        near 0. 'cosine' falls to 0. 'restarts' falls to near 0 in 5 epochs, starts again and falls
        in 10, then in 20, and so on.
    warmup: number of epochs in which the learning rate first rises from 1% of lr. 'onecycle' has a
        rise of its own and takes none.
    flip: whether every second view is mirrored.
    crop: side in pixels of random square crops or, below 1, a share of each side of the image; None
        trains on whole images.
    zoom_min, zoom_max: limits of a random factor. A square of `crop` times the factor is cut and
        resized to `crop`.
    jitter, gamma, blur, noise: shares of views with changed colours, with changed gamma, with a
        blur, and with salt and pepper.
    accumulate: number of batches whose gradients are added up before a step.
    clip: largest norm of the gradient; None does not limit it.
    select: the epoch whose weights are kept. 'last' is the last one, 'validation' the one with the
        best MAE on held-out images, and 'test' the one with the best MAE on the test images, as in
        the paper's code; results of the latter are marked.
    validate_every: number of epochs between two validations.
    checkpoint_seconds: a checkpoint is written after the first epoch that ends so many seconds or
        more after the last one was written; 0 writes one after every epoch.
    precision: 'auto' is bf16 where the device runs it natively, and fp32 elsewhere.
    compile: whether torch compiles the layers and the loss of the counter while it is trained.
    tracker: an experiment tracker that Accelerate knows, for instance 'tensorboard'.
    """

    epochs: PositiveInt = 100
    batch_size: PositiveInt = 1
    optimizer: Literal["adam", "adamw", "sgd"] = "adam"
    lr: PositiveFloat = 1e-5
    backbone_lr_ratio: float = Field(1.0, ge=0)
    momentum: float = Field(0.95, ge=0, lt=1)
    weight_decay: float = Field(0.0, ge=0)
    schedule: Literal["constant", "cosine", "onecycle", "restarts"] = "constant"
    warmup: NonNegativeInt = 0
    flip: bool = True
    crop: Annotated[int, Field(gt=1)] | Annotated[float, Field(gt=0, lt=1)] | None = None
    zoom_min: PositiveFloat = 1.0
    zoom_max: PositiveFloat = 1.0
    jitter: float = Field(0.0, ge=0, le=1)
    gamma: float = Field(0.0, ge=0, le=1)
    blur: float = Field(0.0, ge=0, le=1)
    noise: float = Field(0.0, ge=0, le=1)
    accumulate: PositiveInt = 1
    clip: PositiveFloat | None = None
    select: Literal["last", "validation", "test"] = "validation"
    validate_every: PositiveInt = 1
    checkpoint_seconds: float = Field(120.0, ge=0)
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    compile: bool = False
    tracker: str | None = None

    @property
    def zoom(self) -> tuple[float, float] | None:
        """The limits of the factor of a crop's size; None where crops keep their size."""
        if self.zoom_min == self.zoom_max == 1:
            return None
        return self.zoom_min, self.zoom_max

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        """Check the settings that depend on each other."""
        if self.zoom_min > self.zoom_max:
            raise ValueError(f"zoom_min = {self.zoom_min} is above zoom_max = {self.zoom_max}")
        if self.zoom and not isinstance(self.crop, int):
            raise ValueError(f"zoom_min and zoom_max need a crop in pixels, got crop = {self.crop}")
        if self.warmup and self.schedule == "onecycle":
            raise ValueError(f"warmup = {self.warmup}: expected 0 with schedule = 'onecycle'")
        if self.warmup and self.warmup >= self.epochs:
            raise ValueError(f"warmup = {self.warmup}: expected less than epochs = {self.epochs}")
        return self
