"""Strict readers for environment variables: a wrong value ends the process with one line, never with a stack trace.

An empty variable counts as unset, because `NAME=` in an env file is how people switch a line off.
Wherever a secret is read, NAME_FILE may name a file that holds it (Docker secrets), and wins over NAME.
Needs nothing else.
"""

import os
import sys
from collections.abc import Collection
from pathlib import Path
from typing import NoReturn

TRUE = ("1", "true", "yes", "on")
FALSE = ("0", "false", "no", "off")


def fail(message: str) -> NoReturn:
    """End the process with exit status 1 and this one line on standard error."""
    sys.exit(f"settings: {message}")


def text(name: str, default: str = "") -> str:
    """Return the variable without surrounding white space, or the default where it is unset or empty."""
    return os.environ.get(name, "").strip() or default


def boolean(name: str, default: bool) -> bool:
    """Return a boolean; anything but the accepted words ends the process."""
    value = text(name).lower()
    if not value:
        return default
    if value not in TRUE + FALSE:
        fail(f"{name}={value!r} is not a boolean; use one of {', '.join(TRUE + FALSE)}")
    return value in TRUE


def integer(name: str, default: int, *, least: int, most: int) -> int:
    """Return a whole number from least to most, both included; anything else ends the process."""
    value = text(name, str(default))
    # Not longer than this, because int() raises on thousands of digits.
    if not (value.isascii() and value.isdigit() and len(value) < 20 and least <= int(value) <= most):
        fail(f"{name}={value!r} is not a whole number from {least} to {most}")
    return int(value)


def choice(name: str, default: str, accepted: Collection[str]) -> str:
    """Return one of the accepted words; any other ends the process."""
    value = text(name, default)
    if value not in accepted:
        fail(f"{name}={value!r} is unknown; use one of {', '.join(accepted)}")
    return value


def words(name: str, default: str = "") -> list[str]:
    """Return what the variable lists, separated by white space."""
    return text(name, default).split()


def secret(name: str, default: str = "") -> str:
    """Return a secret from the file that NAME_FILE names, or else from NAME.

    A file that cannot be read, is not text or is empty ends the process; the secret itself is never printed.
    """
    path = text(f"{name}_FILE")
    if not path:
        return text(name, default)
    try:
        value = Path(path).read_text(encoding="utf-8").strip()
    except OSError as error:
        fail(f"{name}_FILE={path!r} cannot be read ({error.strerror}); `make secrets` writes it")
    except UnicodeDecodeError:
        fail(f"{name}_FILE={path!r} is not text; delete it, then `make secrets` writes it anew")
    if not value:
        fail(f"{name}_FILE={path!r} is empty; delete it, then `make secrets` writes it anew")
    return value
