"""Pretrained front ends: the features of torchvision's networks with their ImageNet weights."""

from torch import nn


def imagenet_features(name: str) -> nn.Module:
    """The features of a torchvision network, for instance 'vgg16'; the weights are downloaded once.

    Raises:
        URLError, OSError: the download failed.
    """
    from torchvision.models import get_model  # takes seconds to import, and few runs need it

    return get_model(name, weights="IMAGENET1K_V1").features
