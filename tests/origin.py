"""A copy of the working tree that git takes for the public repository, so that no network is needed.

Nothing but the standard library: tests/colab/run.py reads this without the project's environment.
"""

import os
import shutil
import subprocess

FOLDERS = ("sfda", "book", "data")  # what a chapter's clone is used for


def without_git_variables():
    """This environment without git's own variables, which would redirect git."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    return kept | {"GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": os.devnull}


def make_origin(root, folder, address, environment):
    """Commit a copy of `root` in `folder`; the environment in which git finds it at `address`."""
    for name in FOLDERS:
        shutil.copytree(root / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for command in (
        ["init", "--quiet", "--initial-branch=main"],
        *(["config", name, "0"] for name in ("core.compression", "pack.window")),  # what no network carries need not be small
        ["add", "--all"],
        ["-c", "user.name=test", "-c", "user.email=test@example.org", "commit", "--quiet", "--message=copy"],
    ):
        subprocess.run(["git", *command], cwd=folder, env=environment, check=True)
    return environment | {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": f"url.{folder.as_uri()}.insteadOf", "GIT_CONFIG_VALUE_0": address}
