"""Which test files begin where several run at a time."""

# The files that take longest begin: one that begins last would keep a single core busy while the others wait.
FIRST = (
    "tests/test_rank.py", "tests/test_pages.py", "tests/test_benchmark.py", "tests/test_contributing.py",
    "book/09_transformers.ipynb", "book/04_rivals.ipynb", "book/08_self_supervised.ipynb", "book/10_ablations.ipynb",
    "book/11_choosing_several.ipynb", "book/06_pocket_zoo.ipynb", "tests/test_baselines.py", "tests/test_streaming.py",
)  # fmt: skip
