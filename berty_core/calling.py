"""Call what a plugin brings, and say in words what it did instead of returning. Invariant: the caller goes on."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

from .errors import UserError

IMPORT_TIME = 10.0  # seconds for a module that should import neither a driver nor a library; a small board may take 1
CALL_TIME = 5.0  # seconds for a hook, which registers, and for a probe, which has no side effects

T = TypeVar("T")


class PluginFault(UserError):
    """A plugin that cannot be used; the text is the reason."""

    def __init__(self, reason: str, remedy: str = "") -> None:
        super().__init__(reason)
        self.remedy = remedy


class _Late(Exception):
    """A call did not end in its time."""


class _Interrupted(Exception):
    """A stranger's function raised KeyboardInterrupt by itself: nobody pressed Ctrl-C."""


def _within(seconds: float, call: Callable[[], T]) -> T:
    """Call a stranger's function on a thread that is left behind if it does not end in time. Raises what it raises."""
    results: list[T] = []
    errors: list[BaseException] = []

    def work() -> None:
        try:
            results.append(call())
        except KeyboardInterrupt:
            errors.append(_Interrupted())
        except BaseException as error:  # also SystemExit: a plugin does not end the node
            errors.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(seconds)
    if errors:
        raise errors[0]
    if not results:
        raise _Late
    return results[0]


def supervised(seconds: float | None, what: str, call: Callable[[], T]) -> T:
    """Call a stranger's function; PluginFault says in words what it did instead of returning. None: no limit."""
    try:
        return call() if seconds is None else _within(seconds, call)
    except PluginFault:
        raise
    except _Late:
        raise PluginFault(f"{what} did not end within {seconds:g} s") from None
    except _Interrupted:
        raise PluginFault(f"{what} raised KeyboardInterrupt") from None
    except SystemExit as error:
        raise PluginFault(f"{what} called sys.exit({'' if error.code is None else repr(error.code)})") from error
    except Exception as error:
        raise PluginFault(f"{what} raised {type(error).__name__}: {error}") from error
