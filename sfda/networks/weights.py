"""Files of weights, read without running what is in them."""

import argparse
import contextlib
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from torch import nn

from sfda.files import in_one_line

UNREADABLE = "it is damaged, or holds more than weights and could run code; save the state dict alone"


def existing_file(path):
    """The path, of a file that is there; FileNotFoundError otherwise."""
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path or 'the file after ='} is missing")
    return Path(path)


def read_state(name, file):
    """The state dict in a file, out of its box, without the prefix of parallel training; nothing is run."""
    from safetensors.torch import load_file

    try:
        if file.suffix == ".safetensors":
            state = load_file(file)
        else:
            # The settings of the command line, which training scripts save beside the weights.
            with _settings_are_safe():
                state = torch.load(file, map_location="cpu", weights_only=True)
    except SafetensorError as error:
        raise ValueError(f"{name}: {file.name} cannot be read ({in_one_line(error)})") from error
    except Exception as error:  # damaged bytes make the unpickler stumble in any way
        raise ValueError(f"{name}: {file.name} cannot be read: {UNREADABLE}") from error
    for box in ("state_dict", "model"):
        if isinstance(state, Mapping) and isinstance(state.get(box), Mapping):
            state = state[box]
    if not isinstance(state, Mapping) or not all(map(torch.is_tensor, state.values())):
        found = ", ".join(map(str, state)) if isinstance(state, Mapping) else type(state).__name__
        expected = f"expected {file.name} to hold a state dict, alone or as 'state_dict' or 'model'"
        raise ValueError(f"{name}: {expected}, found {found[:100]}")
    return {key.removeprefix("module."): value for key, value in state.items()}


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
        raise ValueError(f"{name}: these are not its weights: {', '.join(wrong[:3])} and {len(wrong)} in all")
    filled.update(state)
    network.load_state_dict(filled)
