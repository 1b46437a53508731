"""How a counter is trained. A counter carries its own recipe; every setting of it can be overridden."""

from typing import Literal

from pydantic import Field, PositiveFloat, PositiveInt

from benchmark.registry import Settings


class Recipe(Settings):
    """Training settings.

    lr: learning rate of the head; `backbone_lr_ratio` times it trains a pretrained front end.
    schedule: 'onecycle' rises over the first 30% of the steps and falls to near 0; 'cosine' falls to 0.
    crop: side in pixels of random square crops; None trains on whole images.
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
    schedule: Literal["constant", "cosine", "onecycle"] = "constant"
    flip: bool = True
    crop: PositiveInt | None = None
    accumulate: PositiveInt = 1
    clip: PositiveFloat | None = None
    select: Literal["last", "validation", "test"] = "validation"
    validate_every: PositiveInt = 1
    checkpoint_every: PositiveInt = 5
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    compile: bool = False
    tracker: str | None = None
