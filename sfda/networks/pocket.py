"""The pocket zoo: 33 small networks for 32 x 32 images, in the families of the paper's three tables.

Eleven supervised convolutional networks, twelve self-supervised ones of one architecture, ten transformers; built
from torchvision's and timm's own classes with small widths and depths. Every network maps normalised images (B, 3,
32, 32) to logits through a last linear layer, its *head*; what enters the head are its *features*. Without the head
it is an *encoder*.
"""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from sfda.files import data_folder, replacing
from sfda.networks.weights import fill, read_state, set_layer

SIZE = 32  # height and width of the images
SOURCE_CLASSES = 128


@dataclass(frozen=True)
class Network:
    """One network of the zoo.

    Attributes
    ----------
    name : str
        Key in ``POCKET``.
    group : {"supervised", "self-supervised", "transformer"}
        The table of the paper it stands for.
    family : str
        The architecture it is a small copy of.
    objective : str
        How it was pre-trained: a key of :data:`sfda.networks.pretraining.objectives.OBJECTIVES`.
    build : callable
        ``build(n_classes)`` returns the network, untrained.
    head : str
        Name of its last linear layer.
    views : {"weak", "strong"}
        Augmentation of supervised pre-training; strong as DeiT has it.
    """

    name: str
    group: str
    family: str
    objective: str
    build: Callable
    head: str
    views: str = "weak"


class GoogLeNet(nn.Module):
    """GoogLeNet in small: torchvision's Inception blocks behind a light stem."""

    def __init__(self, n_classes, width=8, blocks=(1, 1, 1)):
        super().__init__()
        from torchvision.models.googlenet import BasicConv2d, Inception

        layers, d = [BasicConv2d(3, 3 * width, kernel_size=5, stride=2, padding=2)], 3 * width
        for stage, repeats in enumerate(blocks):
            layers.append(nn.MaxPool2d(3, stride=2, padding=1))
            for _ in range(repeats):
                w = width * (stage + 1)
                layers.append(Inception(d, 2 * w, w, 2 * w, w // 2, w, w))
                d = 6 * w
        self.features = nn.Sequential(*layers)
        self.fc = nn.Linear(d, n_classes)

    def forward(self, x):
        return self.fc(self.features(x).mean((2, 3)))


def _resnet(block, layers, channels):
    def build(n_classes):
        from timm.models import resnet

        return resnet.ResNet(getattr(resnet, block), layers, num_classes=n_classes, channels=channels)

    return build


def _made(path, *arguments, **options):
    """What builds a class of a library, which is imported no sooner than that."""

    def build(n_classes):
        module, _, name = path.rpartition(".")
        return getattr(importlib.import_module(module), name)(*arguments, num_classes=n_classes, **options)

    return build


def _densenet(growth, blocks, start):
    return _made("torchvision.models.DenseNet", growth, blocks, start)


# Both end in 1,280 channels at any width, which would be most of so small a network: fewer here, but still more
# features than most tasks have images.
def _mobilenet(n_classes):
    from torchvision.models import MobileNetV2
    from torchvision.ops.misc import Conv2dNormActivation

    settings = [[1, 16, 1, 1], [3, 24, 2, 2], [3, 32, 2, 2], [3, 64, 2, 2]]
    network = MobileNetV2(width_mult=0.75, inverted_residual_setting=settings, dropout=0.0)
    network.features[-1] = Conv2dNormActivation(48, 640, kernel_size=1, activation_layer=nn.ReLU6)
    network.classifier[1] = nn.Linear(640, n_classes)
    return network


def _mnasnet(n_classes):
    from torchvision.models import MNASNet

    network = MNASNet(0.25, dropout=0.0)
    network.layers[14] = nn.Conv2d(80, 320, kernel_size=1, bias=False)
    network.layers[15] = nn.BatchNorm2d(320)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            # torchvision's 0.0003 is for hundreds of thousands of steps: the statistics would still be those of the
            # start after all of ours.
            module.momentum = 0.1
    network.classifier[1] = nn.Linear(320, n_classes)
    return network


def _vit(dim, depth, heads, patch=8):
    return _made(
        "timm.models.vision_transformer.VisionTransformer",
        img_size=SIZE, patch_size=patch, embed_dim=dim, depth=depth, num_heads=heads, mlp_ratio=3,
    )  # fmt: skip


_pvt = _made(
    "timm.models.twins.Twins", img_size=SIZE, patch_size=4, embed_dims=(32, 64), num_heads=(2, 4), mlp_ratios=(3, 3),
    depths=(1, 2), sr_ratios=(2, 1), wss=None,
)  # fmt: skip
_pvt_v2 = _made(
    "timm.models.pvt_v2.PyramidVisionTransformerV2",
    depths=(1, 1, 1, 1), embed_dims=(16, 32, 48, 80), num_heads=(1, 2, 4, 4), mlp_ratios=(3, 3, 3, 3),
)  # fmt: skip
_swin = _made(
    "timm.models.swin_transformer.SwinTransformer",
    img_size=SIZE, patch_size=4, embed_dim=32, depths=(2, 2), num_heads=(2, 4), window_size=4, mlp_ratio=3,
)  # fmt: skip
_SUPERVISED, _SELF, _TRANSFORMER = "supervised", "self-supervised", "transformer"
# One architecture for all objectives, as the paper's twelve are all ResNet-50.
_SHARED = _resnet("Bottleneck", [1, 1, 1, 1], (16, 32, 48, 56))

#: The zoo by name, in the order of the tables.
POCKET = {
    network.name: network
    for network in (
        Network("resnet_10", _SUPERVISED, "ResNet", "supervised",
                _resnet("BasicBlock", [1, 1, 1, 1], (16, 32, 64, 96)), "fc"),
        Network("resnet_18", _SUPERVISED, "ResNet", "supervised",
                _resnet("BasicBlock", [2, 2, 2, 2], (12, 24, 40, 64)), "fc"),
        Network("resnet_26", _SUPERVISED, "ResNet", "supervised",
                _resnet("Bottleneck", [2, 2, 2, 2], (8, 16, 24, 40)), "fc"),
        Network("resnet_34", _SUPERVISED, "ResNet", "supervised",
                _resnet("BasicBlock", [3, 4, 6, 3], (8, 16, 24, 32)), "fc"),
        Network("densenet_26", _SUPERVISED, "DenseNet", "supervised", _densenet(8, (3, 3, 3, 3), 16), "classifier"),
        Network("densenet_26_wide", _SUPERVISED, "DenseNet", "supervised",
                _densenet(16, (3, 3, 3, 3), 32), "classifier"),
        Network("densenet_42", _SUPERVISED, "DenseNet", "supervised", _densenet(8, (4, 5, 6, 5), 16), "classifier"),
        Network("mobilenet_v2", _SUPERVISED, "MobileNetV2", "supervised", _mobilenet, "classifier.1"),
        Network("mnasnet", _SUPERVISED, "MNASNet", "supervised", _mnasnet, "classifier.1"),
        Network("googlenet", _SUPERVISED, "GoogLeNet", "supervised", lambda n: GoogLeNet(n, 8, (1, 1, 1)), "fc"),
        Network("googlenet_wide", _SUPERVISED, "GoogLeNet", "supervised",
                lambda n: GoogLeNet(n, 12, (1, 2, 2)), "fc"),
        *(
            Network(objective, _SELF, "ResNet", objective, _SHARED, "fc")
            for objective in ("simclr", "moco_v1", "moco_v2", "byol", "swav", "deepcluster", "simsiam", "barlow_twins",
                              "vicreg", "rotation", "instance_discrimination", "infomin")
        ),
        Network("vit_tiny", _TRANSFORMER, "ViT", "supervised", _vit(48, 4, 3), "head"),
        Network("vit_small", _TRANSFORMER, "ViT", "supervised", _vit(64, 4, 4), "head"),
        Network("vit_small_patch4", _TRANSFORMER, "ViT", "supervised", _vit(48, 3, 3, patch=4), "head"),
        Network("deit_tiny", _TRANSFORMER, "DeiT", "supervised", _vit(48, 4, 3), "head", "strong"),
        Network("deit_small", _TRANSFORMER, "DeiT", "supervised", _vit(64, 4, 4), "head", "strong"),
        Network("dino_small", _TRANSFORMER, "DINO", "dino", _vit(64, 4, 4), "head"),
        Network("moco_v3_small", _TRANSFORMER, "MoCo v3", "moco_v3", _vit(64, 4, 4), "head"),
        Network("pvt_small", _TRANSFORMER, "PVT", "supervised", _pvt, "head"),
        Network("pvt_v2", _TRANSFORMER, "PVTv2", "supervised", _pvt_v2, "head"),
        Network("swin_tiny", _TRANSFORMER, "Swin", "supervised", _swin, "head.fc"),
    )
}  # fmt: skip


def find(name):
    """The entry of ``POCKET``.

    Raises
    ------
    ValueError
        There is no such network: the message lists them.
    """
    if name not in POCKET:
        raise ValueError(f"model: expected one of {', '.join(POCKET)}, got {name!r}")
    return POCKET[name]


def untrained(name, *, n_classes=SOURCE_CLASSES, seed=0):
    """A network of the zoo as it is before pre-training: with trained weights, its *twin*.

    Parameters
    ----------
    name : str
        Key in ``POCKET``.
    n_classes : int, default 128
        Outputs of the head.
    seed : int, default 0
        Of the initial weights. Torch's own generator is left as it was.

    Returns
    -------
    torch.nn.Module
        In evaluation mode, its memory laid out for convolutions (channels last).
    """
    entry = find(name)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = entry.build(n_classes)
    return network.to(memory_format=torch.channels_last).eval()


def pretrained(name, *, folder=None):
    """A network of the zoo with the weights that lie in `folder`.

    Parameters
    ----------
    name : str
        Key in ``POCKET``.
    folder : path, optional
        Holds ``NAME.safetensors``, float16; ``data/pocket/weights`` by default.

    Returns
    -------
    torch.nn.Module
        float32, in evaluation mode. The head of a self-supervised network, which has learnt nothing, is that of the
        twin.

    Raises
    ------
    ValueError
        There is no such network, or the file holds another's weights.
    FileNotFoundError
        Its weights are not in the folder.
    """
    network, entry = untrained(name), find(name)
    own, folder = f" --weights {folder}" if folder else "", Path(folder or data_folder("pocket/weights"))
    path, label = folder / f"{name}.safetensors", f"{name} of {folder}"
    if not path.exists():
        raise FileNotFoundError(f"{path} is missing: `python -m sfda pretrain --models {name}{own}` makes it")
    state = read_state(label, path)
    if entry.objective != "supervised":  # only then may the head be left out
        state = {key: twin for key, twin in network.state_dict().items() if key.startswith(entry.head + ".")} | state
    fill(label, network, state)
    return network


def save(network, path, *, without=""):
    """Write the weights as float16 safetensors, all at once or not at all.

    `without`, the name of a layer, leaves that layer's weights out.
    """
    from safetensors.torch import save_file

    state = {
        key: value.detach().cpu().half().contiguous() if value.is_floating_point() else value.cpu()
        for key, value in network.state_dict().items()
        if not (without and key.startswith(without + "."))
    }
    for key, value in state.items():
        if value.is_floating_point() and not value.isfinite().all():
            raise ValueError(f"{key} holds numbers that float16 cannot, NaN or above 65504")
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as part:
        save_file(state, part)


def head(name, network):
    """The last linear layer of a network of the zoo."""
    return network.get_submodule(find(name).head)


def replace_head(name, network, layer):
    """Put `layer` in the place of the head; return the head that was there.

    With ``nn.Identity()`` the network becomes its encoder, which maps images to features (B, D).
    """
    old = head(name, network)
    set_layer(network, find(name).head, layer)
    return old


def parameters(network):
    """How many numbers the network has to learn."""
    return sum(p.numel() for p in network.parameters())


def multiplications(network, *, size=32):
    """How many multiplications one image of `size` x `size` pixels takes, in millions.

    Those of convolutions and matrix products, as torch counts them: attention as the two products it is, since some
    releases do not count what a fused kernel does on the CPU.
    """
    from torch.utils.flop_counter import FlopCounterMode  # takes a third of a second

    network.eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
        network(torch.zeros(1, 3, size, size))
    return counter.get_total_flops() / 2e6  # torch counts the additions, too
