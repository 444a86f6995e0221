"""Archives that somebody else made: their members stay in the folder they are unpacked to."""

import tarfile
from contextlib import contextmanager


@contextmanager
def confined():
    """Within it, tar files are unpacked without members that lead out of their folder.

    Those, and links and devices that are no data, raise ``tarfile.FilterError`` (PEP 706).
    Newer torchvision asks for it itself, Python from 3.14 on does it unasked; of zip files
    Python takes the ``..`` out of the names in every release.
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
