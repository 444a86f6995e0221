"""Numbers from a chapter's cells into its sentences."""

from IPython.display import display


def glue(name, value):
    """Store `value` under `name`, for ``{glue:text}`` in the text of the same chapter.

    The same as ``myst_nb.glue`` without its display, for places that have no
    MyST-NB, such as Colab. Round first: the value is compared to its last
    digit when the chapter is tested.
    """
    if hasattr(value, "item"):  # NumPy's own numbers print as np.float64(...)
        value = value.item()
    mime = "application/papermill.record/"
    display(
        {f"{mime}text/plain": repr(value)},
        raw=True,
        metadata={"scrapbook": {"name": name, "mime_prefix": mime}},
    )
