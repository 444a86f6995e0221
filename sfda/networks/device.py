"""What a result depends on besides its input: the device it was computed on, and the libraries' versions."""

import importlib.metadata
import platform
from contextlib import contextmanager

from sfda.files import in_one_line


def resolve_device(device="auto"):
    """Name of a torch device; "auto" is CUDA where there is a card, else the CPU."""
    import torch

    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    return str(torch.device(device))


def usable_device(device="auto"):
    """Name of a torch device, as :func:`resolve_device` gives it, that something can be put on; else ValueError.

    This starts CUDA in the process, whose forks then cannot use it.
    """
    import torch

    try:
        device = resolve_device(device)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:  # no such device, no such card, or no CUDA in this torch
        raise ValueError(f"device: cannot compute on {device} ({in_one_line(error)})") from None
    return device


@contextmanager
def memory_errors():
    """Within it, a device whose memory does not suffice raises MemoryError, as Python and NumPy do.

    torch has a type for it on CUDA alone; on the CPU its allocator raises RuntimeError, which only its own words
    tell from others.
    """
    import torch

    try:
        yield
    except RuntimeError as error:
        if isinstance(error, torch.cuda.OutOfMemoryError) or "DefaultCPUAllocator: can't allocate" in str(error):
            raise MemoryError(str(error)) from error
        raise


def device_name(device):
    """The card's or the processor's own name."""
    import torch

    if torch.device(device).type == "cuda":
        return torch.cuda.get_device_name(device)
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            names = [line.split(":", 1)[1].strip() for line in file if line.startswith("model name")]
        return names[0]
    except (OSError, IndexError):
        return platform.processor() or platform.machine()


def versions(*libraries):
    """Versions of installed libraries by name; None for one that is not there."""
    found = {}
    for library in libraries:
        try:
            found[library] = importlib.metadata.version(library)
        except importlib.metadata.PackageNotFoundError:
            found[library] = None
    return found
