"""Data sets of Hugging Face: objects of the package ``datasets``, folders that it saved, parquet files."""

import io
import re
from collections import Counter
from pathlib import Path

import numpy as np

from sfda.files import in_one_line
from sfda.images.image_sets import Images, ImageSet, read_image
from sfda.images.layout import folders_in, part_of
from sfda.metric import inputs

SAVED = ("dataset_dict.json", "dataset_info.json")  # what save_to_disk writes
_SHARD = re.compile(r"-\d+-of-(\d+)(-[0-9a-f]+)?$")  # train-00000-of-00002.parquet, once with a checksum


def is_hugging_face(dataset):
    """Whether it is an object of the package ``datasets``; this does not import it."""
    # A module of one's own may be called datasets, too.
    theirs = any(c.__module__.partition(".")[0] == "datasets" for c in type(dataset).__mro__)
    return theirs and hasattr(dataset, "column_names")


def is_saved(path):
    """Whether a path is a folder that ``save_to_disk`` wrote, a parquet file, or a folder of such files."""
    path = Path(path)
    if not path.is_dir():
        return path.suffix.lower() == ".parquet"
    return any((path / name).is_file() for name in SAVED) or bool(_parquet(path))


def _parquet(folder):
    """Parquet files of a folder, or of the one called data in it, as the hub lays them out; no other folders."""
    if set(folders_in(folder)) <= {"data"} and not ((folder / "data").is_dir() and folders_in(folder / "data")):
        return sorted([*folder.glob("*.parquet"), *folder.glob("data/*.parquet")])
    return []


def read_saved(path):
    """A data set that ``save_to_disk`` wrote, or of parquet files, as :func:`from_hugging_face` takes it.

    Parameters
    ----------
    path : path
        A folder of ``save_to_disk``; a ``.parquet`` file; or a folder of them, also in one called data, whose names
        say which part they are of: ``train-00000-of-00002.parquet``, ``test.parquet``. Parquet files are read into
        memory, as they are encoded there; what ``save_to_disk`` wrote is mapped.

    Returns
    -------
    ImageSet

    Raises
    ------
    ValueError
        The package is not installed, the files cannot be read, or as :func:`from_hugging_face`.
    """
    path = Path(path)
    try:
        import datasets
        from pyarrow import parquet
    except ImportError:
        raise ValueError(f"{path}: this needs the package datasets: pip install 'sfda[datasets]'") from None
    shards = {}
    for file in _parquet(path) if path.is_dir() else [path]:
        shards.setdefault(_SHARD.sub("", file.stem), []).append(file)
    for stem, files in shards.items() if path.is_dir() else ():
        pieces = _SHARD.search(files[0].stem)
        if pieces and int(pieces[1]) != len(files):
            raise ValueError(f"{path}: expected {int(pieces[1])} files of {stem}, found {len(files)}")
    try:
        if not shards:
            whole = datasets.load_from_disk(str(path))
        else:
            whole = {name: datasets.Dataset(parquet.read_table(files)) for name, files in shards.items()}
    except Exception as error:  # damaged files make their readers stumble in any way
        raise ValueError(f"{path}: cannot be read as a data set ({in_one_line(error)})") from error
    return from_hugging_face(whole, path.name if path.is_dir() else path.stem)


def from_hugging_face(dataset, name="data set"):
    """A data set of Hugging Face with one column of images and one of labels.

    Parameters
    ----------
    dataset : datasets.Dataset or datasets.DatasetDict
        Of a dictionary the parts are told by their names: train, with validation and test in any of their spellings;
        one part alone is for training, whatever its name.
    name : str, default "data set"

    Returns
    -------
    ImageSet
        With the names of classes that the label column has, or else the labels themselves. Judged by accuracy. A part
        none of whose images has a label, as of contests, is left out and counted.

    Raises
    ------
    ValueError
        Not one column of images and one of labels, an image without a label, parts of other names, a class that the
        training part has not, or fewer than two classes.

    Notes
    -----
    The label column is the one of kind ``ClassLabel`` or called label, labels, class or target, of whole numbers,
    booleans or strings. Where there are several, keep one: ``select_columns``.
    """
    parts = _parts(dataset, name)
    columns, found, left_out = _columns(parts["train"], name), {}, Counter()
    image, label = columns
    for part, rows in parts.items():
        if missing := [column for column in columns if column not in rows.column_names]:
            raise ValueError(f"{name}: its {part} part has no column {missing[0]!r}")
        labels = _labels(rows, label)
        lost = np.array([each is None for each in labels])
        if lost.all():
            left_out[f"images of the {part} part, which has no labels"] += len(lost)
        elif lost.any():
            raise ValueError(f"{name}: row {int(lost.argmax())} of its {part} part has no label; filter such rows out")
        else:
            found[part] = rows, labels
    if "train" not in found:
        raise ValueError(f"{name}: its images have no labels")
    try:
        _, distinct = inputs.as_labels(found["train"][1], len(found["train"][1]))
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error
    # By name, for the numbers of a ClassLabel may differ from part to part.
    names = getattr(parts["train"].features[label], "names", None)
    places = {value: i for i, value in enumerate(names or distinct.tolist())}
    trained, classes, made = set(found["train"][1]), list(map(str, places)), {}
    for part, (rows, labels) in found.items():
        if strange := [each for each in labels if each not in trained]:
            raise ValueError(f"{name}: its {part} part has a class {strange[0]!r}, which the training part has not")
        made[part] = Images(_Rows(rows, image, f"{name}, {part}"), [places[each] for each in labels])
    return ImageSet(name, made["train"], made.get("validation"), made.get("test"), classes, left_out=dict(left_out))


def _parts(dataset, name):
    """Data sets by what part they are."""
    if hasattr(dataset, "keys"):
        roles = {key: part_of(str(key)) for key in dataset}
        if len(roles) > 1:
            strange = [key for key, part in roles.items() if part is None]
            if strange or len(set(roles.values())) < len(roles) or "train" not in roles.values():
                raise ValueError(
                    f"{name}: expected parts called train, validation and test, found {', '.join(map(str, roles))}; "
                    "choose some of them, or one"
                )
            parts = {part: dataset[key] for key, part in roles.items()}
        else:
            parts = {"train": next(iter(dataset.values()))}
    else:
        parts = {"train": dataset}
    for rows in parts.values():
        if not hasattr(rows, "__len__"):
            raise ValueError(f"{name}: expected a data set with a length, got {type(rows).__name__}, which streams")
    if not len(parts.get("train", ())):
        raise ValueError(f"{name}: expected at least one image, found none")
    return parts


def _columns(rows, name):
    """The names of the image column and of the label column."""
    import datasets

    kinds = rows.features
    images = [key for key, kind in kinds.items() if isinstance(kind, datasets.Image) or _encoded(kind)]
    # A column of other values, such as a source or a width, is never taken for labels.
    named = [key for key in kinds if key.lower() in ("label", "labels", "class", "target")]
    labels = list(dict.fromkeys(named + [key for key, kind in kinds.items() if isinstance(kind, datasets.ClassLabel)]))
    for what, found in (("image", images), ("label", labels)):
        if len(found) != 1:
            raise ValueError(
                f"{name}: expected one {what} column, found {', '.join(found) or 'none'} among "
                f"{', '.join(rows.column_names)}; keep one of images and one of labels (select_columns)"
            )
    return images[0], labels[0]


def _encoded(kind):
    """An image's file as parquet has it where nothing says that it is one."""
    return isinstance(kind, dict) and {"bytes", "path"} == set(kind)


def _labels(rows, column):
    """Labels of all rows; None where there is none, which a ClassLabel calls -1."""
    values = list(rows.with_format(None)[column])
    if (names := getattr(rows.features[column], "names", None)) is not None:
        return [None if value is None or value < 0 else names[value] for value in values]
    return values


class _Rows:
    """Images of one part; `describe` tells them by their files' bytes, or by their files."""

    def __init__(self, rows, column, name):
        import datasets

        self.rows, self.column, self.name = rows.select_columns([column]).with_format(None), column, name
        if isinstance(rows.features[column], datasets.Image):
            self.rows = self.rows.cast_column(column, datasets.Image(decode=False))

    def __getitem__(self, row):
        file = self.rows[row][self.column] or {}
        content, path = file.get("bytes"), file.get("path")
        if content is None and path is None:
            raise OSError(f"{self.name}, image {row}: there is none")
        return read_image(path if content is None else io.BytesIO(content), f"{self.name}, image {row}")

    def describe(self, rows, digest):
        for row in rows:
            file = self.rows[int(row)][self.column] or {}
            content, path = file.get("bytes"), file.get("path") or ""
            if content is None:
                try:
                    content = Path(path).read_bytes()
                except OSError:  # to read it will fail
                    content = f"unreadable {path}".encode()
            digest.update(len(content).to_bytes(8, "little") + content)
