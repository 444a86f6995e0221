"""The paper's networks: where their weights come from, and under which licence."""

import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import nn

from sfda.networks import pocket


def file_of(url):
    """The name of the file at an address."""
    return url.rpartition("/")[2].partition("?")[0]


@dataclass(frozen=True)
class Checkpoint:
    """A published file of weights, and how a network of ours is made of it.

    Attributes
    ----------
    url : str
        Where its authors put it.
    licence : str
        What they state in the repository that leads there; "not stated" where they do not.
    prefix : str, default ""
        Of the encoder's weights, after the ``module.`` of parallel training; others (projections, momentum
        encoders) are left.
    md5 : str, default ""
        First digits of the file's MD5, where the authors state them.
    convert : tuple of str, default ()
        Of a format that cannot be read safely (BYOL's is a pickle of other classes) or not by torch (SimCLR's are
        TensorFlow's): the commands that make of it what is read in its place, ``NAME.pth``. They use programs of
        others, and run what is in the file: in an environment of its own, best on a machine of its own.
    build : callable, optional
        Makes the network without weights; not for those that torchvision makes and fills.
    renamed : bool, default False
        timm calls the weights otherwise than their authors, and has the rule.
    interpolation : {"bilinear", "bicubic"}, default "bilinear"
        As the authors resize images to evaluate it.
    layer, pool : str
        As in :class:`sfda.networks.backbones.Backbone`.
    """

    url: str
    licence: str
    prefix: str = ""
    md5: str = ""
    convert: tuple = ()
    build: Callable | None = None
    renamed: bool = False
    interpolation: str = "bilinear"
    layer: str = ""
    pool: str = "average"

    @property
    def file(self):
        """The file's name."""
        return file_of(self.url)

    @property
    def readable(self):
        """Whether it is read as it was published."""
        return not self.convert

    def commands(self, path):
        """What makes the file at `path` of what was published."""
        return tuple(command.format(path=shlex.quote(str(path))) for command in self.convert)

    def how_to_place(self, path):
        """What to do that the weights are at `path`, in words."""
        if self.readable:
            return f"put {self.url} there"
        made = "; ".join(self.commands(path))
        return f"convert it to a state dict of torchvision's resnet50, {path}, with programs of others: {made}"

    @property
    def sha256(self):
        """First digits of the file's SHA-256, where its name states them, as torch.hub's do."""
        found = re.search(r"-([0-9a-f]{8,})\.", self.file)
        return found[1] if found else ""


def _resnet50():
    from torchvision import models as zoo

    network = zoo.resnet50(weights=None)
    network.fc = nn.Identity()
    return network


def shapes_of(build):
    """The network that `build` makes, for its shapes alone.

    Parameters
    ----------
    build : callable
        Without arguments, returns a torch.nn.Module.

    Returns
    -------
    torch.nn.Module
        On torch's meta device, without numbers. On the CPU where a library asks for numbers while it builds, as
        older releases of timm do for transformers.
    """
    try:
        with torch.device("meta"):
            return build()
    except RuntimeError:
        return build()


def timm_network(name, **options):
    """A network of timm without weights."""
    import timm

    return timm.create_model(name, pretrained=False, **options)


def _pvt(name):
    from sfda.networks import pvt

    return pvt.PyramidVisionTransformer(pvt.DEPTHS[name])


def renamed_simclr_v2(state):
    """Weights in torchvision's names, of those that github.com/Separius/SimCLRv2-Pytorch writes; others as they are."""
    if not any(key.startswith("net.1.blocks.") for key in state):
        return state
    rules = (
        (r"^net\.0\.0\.", "conv1."), (r"^net\.0\.1\.0\.", "bn1."), (r"^net\.(\d)\.blocks\.(\d+)\.", r"layer\1.\2."),
        (r"\.projection\.shortcut\.", ".downsample.0."), (r"\.projection\.bn\.0\.", ".downsample.1."),
        # Convolutions and normalisations take turns.
        (r"\.net\.(\d)\.(0\.)?", lambda m: f".{'bn' if m[2] else 'conv'}{int(m[1]) // 2 + 1}."),
    )  # fmt: skip
    for pattern, ours in rules:
        state = {re.sub(pattern, ours, key): value for key, value in state.items()}
    return state


_resnet = partial(Checkpoint, build=_resnet50, layer="fc")
_transformer = partial(Checkpoint, interpolation="bicubic", layer="norm", pool="class token")
_APACHE, _NOT_COMMERCIAL, _BSD = "Apache-2.0", "CC-BY-NC-4.0", "BSD-2-Clause"
_SWAV_LICENCE = "see LICENSE of github.com/facebookresearch/swav"

_TORCHVISION = "https://download.pytorch.org/models/"
#: The paper's supervised networks, with the weights that it used (confirmed by its code). torchvision, itself
#: BSD-3-Clause, says that weights may have terms of their own.
SUPERVISED = {
    f"torchvision:{name}:IMAGENET1K_V1": Checkpoint(_TORCHVISION + file, "not stated")
    for name, file in {
        "resnet34": "resnet34-b627a593.pth", "resnet50": "resnet50-0676ba61.pth",
        "resnet101": "resnet101-63fe2227.pth", "resnet152": "resnet152-394f9c45.pth",
        "densenet121": "densenet121-a639ec97.pth", "densenet169": "densenet169-b2777c0a.pth",
        "densenet201": "densenet201-c1103571.pth", "mnasnet1_0": "mnasnet1.0_top1_73.512-f206786ef8.pth",
        "mobilenet_v2": "mobilenet_v2-b0353104.pth", "googlenet": "googlenet-1378be20.pth",
        "inception_v3": "inception_v3_google-0cc3c7bd.pth",
    }.items()
}  # fmt: skip

_BYOL = "https://storage.googleapis.com/deepmind-byol/checkpoints/"
_MOCO = "https://dl.fbaipublicfiles.com/moco/moco_checkpoints/"
_SWAV = "https://dl.fbaipublicfiles.com/deepcluster/"
_PCL = "https://storage.googleapis.com/sfr-pcl-data-research/PCL_checkpoint/"
_PYCONTRAST = "https://www.dropbox.com/sh/87d24jqsl6ra7t2/"
_SIMCLR = "https://storage.cloud.google.com/simclr-gcs/checkpoints/"
_SIMCLR_V2 = "https://console.cloud.google.com/storage/browser/simclr-checkpoints/simclrv2/pretrained/"
_CONVERT_BYOL = (
    f"curl -LO {_BYOL}pretrain_res50x1.pkl", "git clone https://github.com/chigur/byol-convert",
    "pip install torch torchvision dill jax dm-haiku", "python byol-convert/convert.py pretrain_res50x1.pkl {path}",
)  # fmt: skip
_CONVERT_SIMCLR = (
    f"unzip ResNet50_1x.zip  # of {_SIMCLR}ResNet50_1x.zip, by a browser",
    "git clone https://github.com/tonylins/simclr-converter",
    "pip install torch tensorflow", "python simclr-converter/convert.py ResNet50_1x/model.ckpt-225206 {path}",
)  # fmt: skip
_CONVERT_SIMCLR_V2 = (
    "git clone https://github.com/Separius/SimCLRv2-Pytorch", "pip install torch tensorflow requests tqdm",
    "python SimCLRv2-Pytorch/download.py r50_1x_sk0",
    "python SimCLRv2-Pytorch/convert.py r50_1x_sk0/model.ckpt-250228", "mv r50_1x_sk0.pth {path}",
)  # fmt: skip
#: The paper's self-supervised networks; the places as L. Ericsson, H. Gouk and T. Hospedales (*How well do
#: self-supervised models transfer?*, CVPR 2021) list them.
SELF_SUPERVISED = {
    "byol": _resnet(_BYOL + "pretrain_res50x1.pkl", _APACHE, convert=_CONVERT_BYOL),
    "deepcluster-v2": _resnet(_SWAV + "deepclusterv2_800ep_pretrain.pth.tar", _SWAV_LICENCE),
    "infomin": _resnet(_PYCONTRAST + "AAAzMTynP3Qc8mIE4XWkgILUa/InfoMin_800.pth?dl=1", _BSD, "encoder."),
    "insdis": _resnet(_PYCONTRAST + "AACcsSIt1_Njv7GsmsuzZ6Sta/InsDis.pth?dl=1", _BSD, "encoder."),
    "moco-v1": _resnet(
        _MOCO + "moco_v1_200ep/moco_v1_200ep_pretrain.pth.tar", _NOT_COMMERCIAL, "encoder_q.", md5="b251726a"
    ),
    "moco-v2": _resnet(
        _MOCO + "moco_v2_800ep/moco_v2_800ep_pretrain.pth.tar", _NOT_COMMERCIAL, "encoder_q.", md5="a04e12f8"
    ),
    "pcl-v1": _resnet(_PCL + "PCL_v1_epoch200.pth.tar", "MIT", "encoder_q."),
    "pcl-v2": _resnet(_PCL + "PCL_v2_epoch200.pth.tar", "MIT", "encoder_q."),
    "sela-v2": _resnet(_SWAV + "selav2_400ep_pretrain.pth.tar", _SWAV_LICENCE),
    "simclr-v1": _resnet(_SIMCLR + "ResNet50_1x.zip", _APACHE, convert=_CONVERT_SIMCLR),
    "simclr-v2": _resnet(_SIMCLR_V2 + "r50_1x_sk0", _APACHE, convert=_CONVERT_SIMCLR_V2),
    "swav": _resnet(_SWAV + "swav_800ep_pretrain.pth.tar", _SWAV_LICENCE),
}

_FACEBOOK = "https://dl.fbaipublicfiles.com/"
_PVT = "https://github.com/whai362/PVT/releases/download/v2/"
_SWIN = "https://github.com/SwinTransformer/storage/releases/download/v1.0.0/"
#: Ten vision transformers, with the weights and the features for which F. Meng et al. (*Foundation Model is
#: Efficient Multimodal Multitask Model Selector*, NeurIPS 2023) publish accuracies. What enters the last
#: normalisation is taken: the class token, of PVT v2 the mean of the tokens, of Swin the average of the map.
TRANSFORMERS = {
    **{
        name: _transformer(f"{_FACEBOOK}deit/{file}", _APACHE, build=partial(timm_network, f"{name}_patch16_224"))
        for name, file in {
            "deit_tiny": "deit_tiny_patch16_224-a1311bcf.pth",
            "deit_small": "deit_small_patch16_224-cd65a155.pth",
            "deit_base": "deit_base_patch16_224-b5f2ef4d.pth",
        }.items()
    },
    "dino_small": _transformer(
        _FACEBOOK + "dino/dino_deitsmall16_pretrain/dino_deitsmall16_pretrain.pth", _APACHE,
        build=partial(timm_network, "vit_small_patch16_224", num_classes=0),
    ),
    "mocov3_small": _transformer(
        _FACEBOOK + "moco-v3/vit-s-300ep/vit-s-300ep.pth.tar", _NOT_COMMERCIAL, "base_encoder.",
        # 12 heads, where others of its width have 6; its fixed position embeddings are in the file.
        build=partial(timm_network, "vit_small_patch16_224", num_classes=0, num_heads=12),
        interpolation="bilinear",
    ),
    "pvtv2_b2": _transformer(
        _PVT + "pvt_v2_b2.pth", _APACHE, build=partial(timm_network, "pvt_v2_b2"),
        renamed=True, layer="stages.3.norm", pool="token mean",
    ),
    "pvt_tiny": _transformer(_PVT + "pvt_tiny.pth", _APACHE, build=partial(_pvt, "pvt_tiny")),
    "pvt_small": _transformer(_PVT + "pvt_small.pth", _APACHE, build=partial(_pvt, "pvt_small")),
    "pvt_medium": _transformer(_PVT + "pvt_medium.pth", _APACHE, build=partial(_pvt, "pvt_medium")),
    "swin_t": _transformer(
        _SWIN + "swin_tiny_patch4_window7_224.pth", "MIT",
        build=partial(timm_network, "swin_tiny_patch4_window7_224"),
        renamed=True, pool="channels-last average",
    ),
}  # fmt: skip

#: Names of whole zoos, all of which :func:`sfda.networks.backbones.load` takes.
ZOOS = {
    "supervised": tuple(SUPERVISED),
    "self-supervised": tuple(f"self-supervised:{name}" for name in SELF_SUPERVISED),
    "transformers": tuple(f"transformer:{name}" for name in TRANSFORMERS),
    "pocket": tuple(f"pocket:{name}" for name in pocket.POCKET),
}
