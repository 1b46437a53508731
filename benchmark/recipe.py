"""How a counter is trained. A counter carries its own recipe; every setting of it can be overridden."""

from typing import Annotated, Literal, Self

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from benchmark.registry import Settings

RUNNING = {"tracker", "compile", "checkpoint_every"}  # how a training runs, not what it is


class Recipe(Settings):
    """Training settings.

    lr: learning rate of the head; `backbone_lr_ratio` times it trains a pretrained front end.
    schedule: 'onecycle' rises over the first 30% of the steps and falls to near 0; 'cosine' falls to 0; 'restarts'
        falls to near 0 in 5 epochs, starts again and falls in 10, then in 20, and so on.
    warmup: epochs in which the rate first rises from 1% of lr; not for 'onecycle', which has its own.
    flip: every second view is mirrored. crop: side in pixels of random square crops, or, below 1, a share of each
        side; None trains on whole images.
    zoom_min, zoom_max: a crop's side times a random factor between them is cut and resized to `crop`.
    jitter, gamma, blur, noise: the share of views with changed colours, changed gamma, a blur, salt and pepper.
    accumulate: batches whose gradients are added up before a step.
    clip: largest norm of the gradient; None leaves it as it is.
    select: which epoch's weights are kept: the 'last', the best MAE on the held-out 'validation' images, or the
        best MAE on the 'test' images, as the paper's code does (such results are marked).
    validate_every, checkpoint_every: in epochs.
    precision: 'auto' is bf16 where the device runs it natively, else fp32.
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
    checkpoint_every: PositiveInt = 5
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    compile: bool = False
    tracker: str | None = None

    @property
    def zoom(self) -> tuple[float, float] | None:
        """The range of a crop's factor; None where crops keep their size."""
        return None if self.zoom_min == self.zoom_max == 1 else (self.zoom_min, self.zoom_max)

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.zoom_min > self.zoom_max:
            raise ValueError(f"zoom_min = {self.zoom_min} is above zoom_max = {self.zoom_max}")
        if self.zoom and not isinstance(self.crop, int):
            raise ValueError("zoom_min and zoom_max need a crop in pixels")
        if self.warmup and (self.schedule == "onecycle" or self.warmup >= self.epochs):
            raise ValueError(f"warmup = {self.warmup}: expected fewer epochs than epochs, and no onecycle")
        return self
