"""The commands, one module each: `add_parser` says what a command takes, `run` calls the library.

What a command needs is imported when it runs, so that `--help` is quick.
"""

import argparse
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    Commands: TypeAlias = argparse._SubParsersAction[argparse.ArgumentParser]
