"""Which test files begin where several run at a time."""

# Those that take 20 seconds or more, the longest first: one that began last would keep a single core busy while the
# others wait. `pytest --durations=0` tells.
FIRST = (
    "tests/test_pages.py", "tests/test_benchmark.py", "tests/test_cluster.py", "tests/test_rank.py", "book/13_your_own.ipynb",
    "book/11_choosing_several.ipynb", "book/04_rivals.ipynb", "book/left_out.ipynb", "tests/test_streaming.py",
    "tests/test_contributing.py", "tests/test_checkpoints.py", "tests/test_ranked.py", "tests/test_hostile_arrays.py",
    "book/10_ablations.ipynb", "book/06_pocket_zoo.ipynb", "book/05_published_numbers.ipynb", "tests/test_setup_cell.py",
    "book/09_transformers.ipynb", "book/07_supervised.ipynb", "book/08_self_supervised.ipynb", "book/12_at_full_scale.ipynb",
    "tests/test_data.py", "tests/test_pocket_data.py",
)  # fmt: skip
