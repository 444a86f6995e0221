"""Where the images of public data sets lie, and how torchvision may fetch them."""

import os
import tarfile
from contextlib import contextmanager
from pathlib import Path

from sfda.files import CACHE


def images_folder(folder=None):
    """Where images are looked for: `folder`, else $SFDA_IMAGES, else ``~/.cache/sfda/images``."""
    if folder is None:
        # An empty variable counts as none, not as the current folder.
        folder = os.environ.get("SFDA_IMAGES") or f"{CACHE}/images"
    return Path(folder).expanduser()


@contextmanager
def confined():
    """Within it, tar files are unpacked without members that lead out of their folder.

    Those, and links and devices that are no data, raise ``tarfile.FilterError`` (PEP 706). Newer torchvision asks
    for it itself, Python from 3.14 on does it unasked; of zip files Python takes the ``..`` out of the names in
    every release.
    """
    own = tarfile.TarFile.__dict__.get("extraction_filter")
    tarfile.TarFile.extraction_filter = staticmethod(tarfile.data_filter)
    try:
        yield
    finally:
        if own is None:
            del tarfile.TarFile.extraction_filter
        else:
            tarfile.TarFile.extraction_filter = own


def fetch(data_set, folder, **options):
    """Let a class of torchvision's data sets download what it reads into the folder."""
    from torchvision import datasets

    folder.mkdir(parents=True, exist_ok=True)
    with confined():
        getattr(datasets, data_set)(folder, **options, download=True)
