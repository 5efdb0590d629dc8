"""TOML as it is read here: files of a limited size, values on the command line, and the lines of settings."""

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from refrain.errors import UserError, shortened
from refrain.storage.regular_files import read_regular

from .schema import DEEPEST, LONGEST_NAME

LARGEST_FILE = 1_000_000
MOST_PARTS = 16

REMEDIES = {
    "Cannot overwrite a value": "; give each name once, and a variant with settings as one table, such as [model.head] "
    'with kind = "mixture"',
    "Invalid value": '; text needs quotes, as in head = "mixture"',
}
"""What to do about a mistake in TOML, by how the parser's message begins."""

_PART = r"""(?:[\w-]++|"(?:\\.|[^"\\\n])*+"|'[^'\n]*+')"""
# where a key begins: at the beginning of a line, of a heading or of an inline table, and after a comma
_LONG_KEY = re.compile(rf"(?:^|[\[{{,])[ \t]*+{_PART}(?:[ \t]*+\.[ \t]*+{_PART}){{{MOST_PARTS}}}", re.MULTILINE)


def read_toml(path: Path) -> tuple[str, dict[str, Any]]:
    """The text of a file and the tree of its settings.

    Args:
        path: of a regular file.

    Raises:
        UserError: when it cannot be read, is too large, or is not TOML.
    """
    text = read_settings(path, missing="check the path, or choose a recipe from: refrain recipes")
    if found := _LONG_KEY.search(text):
        line = text.count("\n", 0, found.end()) + 1
        raise UserError(f"{path}:{line}: {_too_deep(found[0])}")
    try:
        return text, tomllib.loads(text)
    except RecursionError:
        raise UserError(f"{path}: is nested too deeply for settings; remove the surplus brackets") from None
    # a whole number of thousands of digits is a plain ValueError
    except ValueError as error:
        raise UserError(_not_toml(path, str(error))) from None


def read_settings(path: Path, *, missing: str = "check the path") -> str:
    """The text of a file of settings, with or without the byte order mark that some editors write.

    Args:
        path: of a regular file.
        missing: the remedy for a file that does not exist.

    Raises:
        UserError: when it cannot be read, is too large, or is not UTF-8.
    """
    try:
        text = read_regular(path, limit=LARGEST_FILE).decode("utf-8").removeprefix("\ufeff")
        return text.replace("\r\n", "\n").replace("\r", "\n")
    except FileNotFoundError as error:
        raise UserError(f"{path}: {error.strerror}; {missing}") from None
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; give a file of settings that can be read") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 at byte {error.start}") from None
    except ValueError as error:
        # a path with a NUL in it
        raise UserError(f"{shortened(str(path))}: {error}") from None


def _too_deep(key: str) -> str:
    return f"a name of more than {MOST_PARTS} parts ({shortened(key.strip(), 30)}); no setting has so many"


def _not_toml(path: Path, message: str) -> str:
    """What is wrong with a text that is not TOML: the line if the parser reports it, and the remedy if it is known."""
    line = ""
    if found := re.fullmatch(r"(.*) \(at line (\d+), column (\d+)\)", message, re.DOTALL):
        message, line = f"{found[1]} in column {found[3]}", f":{found[2]}"
    remedies = (hint for opening, hint in REMEDIES.items() if message.startswith(opening))
    return f"{path}{line}: {shortened(message, 200)}{next(remedies, '')}"


def lines_of(text: str) -> dict[str, int]:
    """The line of each key and table of a TOML text; enough for plain or dotted names.

    Args:
        text: of the file.
    """
    lines, table = {}, ""
    for number, line in enumerate(text.split("\n"), 1):
        if header := re.match(r"\s*\[+\s*([\w.\-]+)\s*\]", line):
            table = header[1][:LONGEST_NAME] + "."
            lines[_as_flattened(header[1])] = number
        elif key := re.match(r"\s*([\w.\-]+)\s*=", line):
            lines[_as_flattened(table + key[1])] = number
    return lines


def _as_flattened(name: str) -> str:
    """A name as deep and as long as `flatten` returns it."""
    return ".".join(name[:LONGEST_NAME].split(".")[: DEEPEST + 1])


def line_of(name: str, lines: Mapping[str, int]) -> int | str:
    """The line of a key, or of the inline table or heading that contains it.

    Args:
        name: of the setting, dotted.
        lines: from `lines_of`.
    """
    while name not in lines and "." in name:
        name = name.rpartition(".")[0]
    return lines.get(name, "?")


def value_of(text: str, *, as_text: bool = False) -> Any:
    """A setting's value as written on the command line: TOML where it is TOML, else text; `none` is no value.

    Args:
        text: what follows the equals sign.
        as_text: whether the setting takes text, so that `2024` and `true` are text without quotes.
    """
    try:
        if _LONG_KEY.search(text):
            return text
        # in a list, a comment or a second line after the value does not go unnoticed, and on two lines no bracket does
        (value,) = tomllib.loads(f"x = [{text}]")["x"]
        tomllib.loads(f"x = [{text}\n]")
        return text if text.endswith(",") or (as_text and not isinstance(value, str)) else value
    except (ValueError, RecursionError):
        return None if text in ("none", "None", "null") else text
