"""The command line, ``python -m sfda``: rank, record; pretrain, benchmark, score, paper, ablate, select."""

import argparse
import sys

import sfda.benchmark.command
import sfda.evidence.command
import sfda.rank.command


def build_parser():
    """The parser, with one subparser a command."""
    parser = argparse.ArgumentParser(
        prog="python -m sfda", description="Rank networks for your images; and the benchmarks of the SFDA companion."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    sfda.rank.command.add_parser(commands)
    sfda.evidence.command.add_record_parser(commands)
    sfda.benchmark.command.add_parsers(commands)
    return parser


def main(arguments=None):
    """Run one command; returns the exit code."""
    options = build_parser().parse_args(arguments)
    try:
        return options.run(options)
    except KeyboardInterrupt:
        print("stopped; what was finished is kept, and the same command goes on", file=sys.stderr)
        return 130
    except (ValueError, OSError, ImportError, RuntimeError, MemoryError) as error:
        # In one line, whatever names of files and classes are in it.
        print(f"python -m sfda: {' '.join(str(error).split())}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
