"""Networks of any library as encoders: what :mod:`sfda.benchmark.finetune` trains and measures.

An encoder maps images, normalised as :func:`sfda.images.augment.normalise` does it for every network, to features
(B, D).
"""

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from sfda.images import augment
from sfda.networks.backbones import Backbone
from sfda.networks.extract import Hook
from sfda.networks.weights import set_layer


class Encoder(nn.Module):
    """A backbone without its classifier, on images normalised as all others are.

    Parameters
    ----------
    backbone : sfda.networks.backbones.Backbone
        Its network becomes a part of the encoder and is trained with it. Of its preprocessing only the
        normalisation is kept: images come at the size they have.

    Raises
    ------
    ValueError
        The preprocessing ends in no normalisation.
    """

    def __init__(self, backbone: Backbone):
        super().__init__()
        self.network, self.backbone = backbone.network, backbone
        mean, deviation = normalisation(backbone)
        # Undo what all images share, then do what this network was trained with.
        self.register_buffer("factor", (augment.DEVIATION / deviation).view(1, -1, 1, 1))
        self.register_buffer("offset", ((augment.MEAN - mean) / deviation).view(1, -1, 1, 1))

    def forward(self, x):
        """Features (B, D) of images (B, 3, H, W), as :func:`sfda.images.augment.normalise` normalises them."""
        with Hook(self.backbone) as hook:
            return hook(x * self.factor + self.offset)[0]

    def classifier(self):
        """The same network with its head: images to logits (B, Z) of its source classes."""
        return _Classifier(self)


class _Classifier(nn.Module):
    def __init__(self, encoder):
        super().__init__()
        self.encoder = encoder

    def forward(self, x):
        return self.encoder.network(x * self.encoder.factor + self.encoder.offset)


def normalisation(backbone):
    """Mean and standard deviation (3,) of the channels, as the backbone's preprocessing has them."""
    transform = backbone.transform
    # Compositions of torchvision and timm keep them in their last step, presets themselves.
    last = (getattr(transform, "transforms", None) or [transform])[-1]
    if not (hasattr(last, "mean") and hasattr(last, "std")):
        raise ValueError(f"{backbone.name}: expected a transform that ends in a normalisation, got {transform}")
    return tuple(torch.as_tensor(value, dtype=torch.float32).flatten() for value in (last.mean, last.std))


def fold_batch_norm(network):
    """Join each batch normalisation that normalises nothing any more to the convolution before it.

    Some published weights hold means of 0 and variances of 1: their statistics were folded into the convolutions.
    Trained, such layers would collect statistics that their convolutions already contain. A network with other
    statistics is left as it is.

    Parameters
    ----------
    network : torch.nn.Module
        In evaluation mode; its layers are replaced in place, and its outputs stay the same.

    Returns
    -------
    torch.nn.Module
        `network`.
    """
    pairs, before = [], None
    for path, module in network.named_modules():
        if isinstance(module, nn.BatchNorm2d):
            if not _identity(module) or before is None or before[1].out_channels != module.num_features:
                return network
            pairs.append((before, (path, module)))
        if not list(module.children()) or isinstance(module, nn.BatchNorm2d):
            before = (path, module) if isinstance(module, nn.Conv2d) else None
    for (at, convolution), (place, norm) in pairs:
        set_layer(network, at, fuse_conv_bn_eval(convolution, norm))
        # timm's batch normalisation has its activation inside.
        set_layer(network, place, getattr(norm, "act", None) or nn.Identity())
    return network


def _identity(norm):
    scale = (norm.running_var + norm.eps).sqrt()
    return bool(norm.running_mean.abs().max() == 0 and torch.allclose(scale, torch.ones_like(scale), atol=1e-3))
