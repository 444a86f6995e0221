"""Which test files begin where several run at a time."""

# Those that take 20 seconds or more, the longest first: one that began last would keep a single core busy while the
# others wait. `pytest --durations=0` tells.
FIRST = (
    "tests/house/test_pages.py", "tests/benchmark/test_cells.py", "tests/streaming/test_cluster.py", "tests/rank/test_run.py", "book/13_your_own.ipynb",
    "book/11_choosing_several.ipynb", "book/04_rivals.ipynb", "book/left_out.ipynb", "tests/streaming/test_stream.py",
    "tests/house/test_contributing.py", "tests/networks/test_checkpoints.py", "tests/rank/test_result.py", "tests/metric/test_hostile_arrays.py",
    "book/10_ablations.ipynb", "book/06_pocket_zoo.ipynb", "book/05_published_numbers.ipynb", "tests/house/test_setup_cell.py",
    "book/09_transformers.ipynb", "book/07_supervised.ipynb", "book/08_self_supervised.ipynb", "book/12_at_full_scale.ipynb",
    "tests/house/test_wheel.py", "tests/house/test_data.py", "tests/house/test_pocket_data.py",
)  # fmt: skip
