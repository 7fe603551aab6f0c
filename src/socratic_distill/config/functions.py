"""Imports the functions of the user that a config names as 'module:name'.

Importing a module runs its code: check the config's grant first (`trust`).
"""

import difflib
import inspect
from collections.abc import Callable
from importlib import import_module
from typing import Any

from socratic_distill.errors import ConfigError


def import_function(path: str, role: str, expected: str, *, may_be_async: bool = False) -> Callable[..., Any]:
    """The function at 'module:name'.

    Args:
        path: where it is; the module `__main__` is the running script.
        role: what the function is for, as the beginning of messages.
        expected: what it takes and returns, with an example in which `{name}` is its name.
        may_be_async: whether it may be an async function.

    Raises:
        ConfigError: there is no such function; the message says what to write instead.
    """
    module_name, _, name = path.partition(":")
    try:
        module = import_module(module_name)
    except Exception as error:  # importing runs the module's code, which may raise any error
        raise ConfigError(
            f"{role} {path!r}: module {module_name!r} cannot be imported ({type(error).__name__}: {error}); "
            "write 'module:name' with a module that is installed or on PYTHONPATH, or '__main__:name' for a function "
            "of the running script"
        ) from error
    try:
        function = getattr(module, name)
    except AttributeError:
        functions = [attribute for attribute in vars(module) if callable(getattr(module, attribute))]
        close = difflib.get_close_matches(name, functions, n=1)
        hint = f"did you mean '{module_name}:{close[0]}'?" if close else "define it at the module's top level"
        late = ", above the call of train()" if module_name == "__main__" and not close else ""
        raise ConfigError(f"{role} {path!r}: {module_name!r} has no {name!r}; {hint}{late}") from None
    if not callable(function) or (inspect.iscoroutinefunction(function) and not may_be_async):
        what = "an async function" if callable(function) else f"of type {type(function).__name__}"
        raise ConfigError(
            f"{role} {path!r} is {what}; expected a plain function that {expected.replace('{name}', name)}"
        )
    return function
