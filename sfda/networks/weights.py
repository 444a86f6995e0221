"""Files of weights, read without running what is in them."""

import argparse
import contextlib
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from torch import nn

from sfda.files import in_one_line

#: Where a published file has the state dict, the first that there is.
BOXES = ("state_dict", "model", "model_state", "resnet")
_AVERAGED = {"ema", "teacher", "swa"}  # words of averaged weights, which are taken before others, as timm does
_POINTER = b"version https://git-lfs"
UNREADABLE = "it is damaged, or holds more than weights and could run code; save the state dict alone"


def existing_file(path):
    """The path, of a file that is there; FileNotFoundError otherwise."""
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path or 'the file after ='} is missing")
    return Path(path)


def read_state(name, file):
    """The state dict in a file, out of its box; nothing is run."""
    state = _opened(name, file)
    box = next((box for box in BOXES if isinstance(state, Mapping) and isinstance(state.get(box), Mapping)), None)
    while isinstance(state, Mapping) and isinstance(state.get(box), Mapping):
        state = state[box]
    if not isinstance(state, Mapping) or not all(map(torch.is_tensor, state.values())):
        found = ", ".join(map(str, state)) if isinstance(state, Mapping) else type(state).__name__
        expected = f"expected {file.name} to hold a state dict, alone or as one of {', '.join(BOXES)}"
        raise ValueError(f"{name}: {expected}, found {found[:100]}")
    return {key.removeprefix("module."): value for key, value in state.items()}


def _opened(name, file):
    """What is in a file of weights."""
    from safetensors.torch import load_file

    with open(file, "rb") as opened:
        if opened.read(len(_POINTER)) == _POINTER:
            raise ValueError(f"{name}: {file.name} is a pointer of Git LFS, not the file; `git lfs pull` fetches it")
    try:
        if file.suffix == ".safetensors":
            return load_file(file)
        # The settings of the command line, which training scripts save beside the weights.
        with _settings_are_safe():
            return torch.load(file, map_location="cpu", weights_only=True)
    except SafetensorError as error:
        raise ValueError(f"{name}: {file.name} cannot be read ({in_one_line(error)})") from error
    except Exception as error:  # damaged bytes make the unpickler stumble in any way
        raise ValueError(f"{name}: {file.name} cannot be read: {UNREADABLE}") from error


def own_state(name, file, network):
    """Weights in a file of one's own in the names of `network`, and what was chosen among what is there, in words.

    Training scripts keep the state dict in an entry of the file, and torch.compile, Lightning and others put a prefix
    before every name. Entry and prefix are taken with which most weights of the network are there, in its shapes; of
    equals the fewest that it has not, then averaged weights, then the usual entries. What has another prefix is left,
    such as a loss's.
    """
    known, choices = network.state_dict(), []
    for box, state in _state_dicts(_opened(name, file)):
        found = Counter(
            key.removesuffix(end)
            for key in state
            for end in (key.split(".", n)[-1] for n in range(key.count(".") + 1))
            if end in known and known[end].shape == state[key].shape
        )
        for word, n in found.items():
            averaged = next((part for part in (box, word) if _AVERAGED & set(re.split(r"[._]", part.lower()))), "")
            surplus = sum(key.startswith(word) and key.removeprefix(word) not in known for key in state)
            rank = n, -surplus, bool(averaged), box.rpartition(".")[2] in ("", *BOXES), not word
            choices.append((rank, averaged, word, state, box))
    if not choices:
        return read_state(name, file), ""
    best = max(rank for rank, *_ in choices)
    (_, averaged, word, state, box), *alike = (choice for choice in choices if choice[0] == best)
    own = {key.removeprefix(word): value for key, value in state.items() if key.startswith(word)}
    words = [f"averaged weights, {averaged!r}, were taken"] if averaged else []
    words += [f"its weights are those under {word!r}"] if word not in ("", "module.", averaged) else []
    words += [f"of {len(alike) + 1} alike those in {box!r} were taken"] if alike else []
    if others := len(state) - len(own):
        words.append(f"left out: {others} other{'s' * (others > 1)}")
    return own, "; ".join(words)


def _state_dicts(content, box=""):
    """Mappings from names to tensors within what a file holds, each with where it is."""
    if not isinstance(content, Mapping) or not all(isinstance(key, str) for key in content):
        return
    if tensors := {key: value for key, value in content.items() if torch.is_tensor(value)}:
        yield box, tensors
    for key, value in content.items():
        yield from _state_dicts(value, f"{box}.{key}" if box else key)


@contextlib.contextmanager
def _settings_are_safe():
    """torch.load takes the values of a command line; torch 2.5 has a context for it, 2.4 has not."""
    before = torch.serialization.get_safe_globals()
    torch.serialization.add_safe_globals([argparse.Namespace])
    try:
        yield
    finally:
        torch.serialization.clear_safe_globals()
        torch.serialization.add_safe_globals(before)


def set_layer(network, name, layer):
    """Put `layer` in the place of the module called `name`."""
    path, _, last = name.rpartition(".")
    setattr(network.get_submodule(path), last, layer)


def fit_classifier(network, layer, state):
    """Give the classifier the size that it has in the file, or remove it; return what fits.

    Its outputs are not used, but a network should not claim weights that it has not got.
    """
    keys = {key for key in state if key.startswith(f"{layer}.")}
    weight, biased = state.get(f"{layer}.weight"), f"{layer}.bias" in state
    if weight is not None and weight.ndim == 2:
        classifier = nn.Linear(weight.shape[1], weight.shape[0], biased)
    elif weight is not None and weight.ndim == 4:
        classifier = nn.Conv2d(weight.shape[1], weight.shape[0], weight.shape[2:], bias=biased)
    else:  # none, or one of several layers
        set_layer(network, layer, nn.Identity())
        return {key: value for key, value in state.items() if key not in keys}
    set_layer(network, layer, classifier)
    return state


def fill(name, network, state):
    """Load the weights, every one of them."""
    filled = network.state_dict()  # with its metadata, which MNASNet asks for
    wrong = [
        key for key in filled | state
        if key not in filled or key not in state or filled[key].shape != state[key].shape
        # Counts of training steps, which old files lack and evaluation does not read.
        if key in state or not key.endswith(".num_batches_tracked")
    ]  # fmt: skip
    if wrong:
        kinds = {"missing": [key for key in wrong if key not in state],
                 "unknown": [key for key in wrong if key not in filled],
                 "of another shape": [key for key in wrong if key in filled and key in state]}  # fmt: skip
        which = "; ".join(f"{kind}: {', '.join(keys[:3])} ({len(keys)})" for kind, keys in kinds.items() if keys)
        raise ValueError(f"{name}: these are not its weights, of which there are {len(filled)}; {which}")
    filled.update(state)
    network.load_state_dict(filled)
