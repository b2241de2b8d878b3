"""Parts of other packages, named by a setting as `package.module:factory`."""

from importlib import import_module
from typing import Any


def load_plugin(name: str, setting: str, expected: str) -> Any:
    """The object that a factory of another package makes.

    Args:
        name: `package.module:factory`; the factory (a function or a class) is called without arguments.
        setting: environment variable that said so, for the message.
        expected: what else it may say, for the message.

    Raises:
        ValueError: when the name has another form, or the module or the factory is not there.
    """
    module, _, factory = name.partition(":")
    if not (module and factory):
        raise ValueError(f"{setting} is {name!r}, expected {expected} or package.module:factory; correct or unset it")
    try:
        found = getattr(import_module(module), factory)
    except (ImportError, AttributeError) as error:
        raise ValueError(
            f"{setting} is {name!r}, which cannot be imported: {error}; install the package or put its folder on PYTHONPATH"
        ) from error
    if not callable(found):
        raise ValueError(
            f"{setting} is {name!r}, which is no function or class; name one that is called without arguments"
        )
    return found()
