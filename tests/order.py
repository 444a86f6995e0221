"""Which test files begin where several run at a time."""

# Those that take five seconds or more, the longest first: one that began last would keep a single core busy while the
# others wait. `pytest --durations=0` tells.
FIRST = (
    "tests/house/test_pages.py", "book/10_past_results.ipynb", "tests/benchmark/test_paper_check.py", "tests/networks/test_pre_logits.py", "book/11_your_own.ipynb", "book/09_choosing_several.ipynb", "book/04_rivals.ipynb", "tests/benchmark/test_cells.py",
    "book/left_out.ipynb", "book/06_pocket_zoo.ipynb", "tests/streaming/test_cluster.py", "tests/metric/test_hostile_arrays.py", "book/08_ablations.ipynb", "tests/benchmark/test_resuming.py",
    "tests/house/test_contributing.py", "tests/house/test_gpu.py", "book/12_at_full_scale.ipynb", "tests/networks/test_checkpoints.py", "tests/networks/test_backbones.py",
    "tests/house/test_pocket_data.py", "book/07_who_wins.ipynb", "tests/benchmark/test_finetune.py",
    "tests/images/test_tasks.py", "tests/rank/test_result.py", "tests/house/test_wheel.py", "tests/rank/test_run.py", "tests/house/test_data.py",
    "tests/evidence/test_runs.py", "tests/rank/test_outlook.py", "tests/evidence/test_record.py",
)  # fmt: skip
