"""A YAML file that people write in, changed key by key: their comments, their order and their quotes stay.

ruamel.yaml keeps a comment with the token before it, so a comment block between two keys hangs on the value above it
and would go with that value. Here a value takes along only the comment on its own line.
"""

from __future__ import annotations

import difflib
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from components.errors import ParamsError

WIDTH = 120


class Document:
    """The text of a file as nested mappings. `data` is ruamel's; `set` and `remove` change it, `text` writes it."""

    def __init__(self, path: Path, sequence_indent: int = 2) -> None:
        from ruamel.yaml import YAML
        from ruamel.yaml.error import YAMLError

        self.path = path
        self._yaml = YAML()
        self._yaml.width = WIDTH
        self._yaml.preserve_quotes = True
        # An empty value means the same, but does not say so.
        self._yaml.representer.add_representer(type(None), _null)
        if sequence_indent > 2:
            self._yaml.indent(mapping=2, sequence=sequence_indent, offset=sequence_indent - 2)
        try:
            self.before = path.read_text(encoding="utf-8")
            self.data: Any = self._yaml.load(self.before)
        except FileNotFoundError:
            raise ParamsError(
                f"there is no {path.name} in {path.resolve().parent}: run graft init in a clone of Graft"
            ) from None
        except (YAMLError, UnicodeDecodeError) as error:
            raise ParamsError(f"{path.name} is not valid YAML: {' '.join(str(error).split())}") from None
        if not isinstance(self.data, Mapping):
            raise ParamsError(f"{path.name} must hold sections, but holds {type(self.data).__name__}")
        self._text: str | None = self.before

    def get(self, *keys: str) -> Any:
        """The value at this place; None where there is none."""
        found = self.data
        for key in keys:
            if not isinstance(found, Mapping) or key not in found:
                return None
            found = found[key]
        return found

    def set(self, value: Any, *keys: str) -> None:
        """Puts a value there. A mapping replaces a mapping key by key, so what stays keeps its comments."""
        *parents, last = keys
        node = self.data
        for key in parents:
            if not isinstance(node.get(key), Mapping):
                self._put(node, key, {})
            node = node[key]
        self._merge(node, last, value)

    def remove(self, *keys: str) -> None:
        """Takes a key away, where it is."""
        node = self.get(*keys[:-1])
        if isinstance(node, Mapping) and keys[-1] in node:
            self._drop(node, keys[-1])

    def text(self) -> str:
        """The file's new text; to the letter the old one where nothing was changed."""
        if self._text is None:
            out = io.StringIO()
            self._yaml.dump(self.data, out)
            self._text = out.getvalue()
        return self._text

    def touched(self) -> None:
        """To be called by who changes `data` otherwise than with `set` and `remove`."""
        self._text = None

    def diff(self) -> str:
        """A unified diff of the file, without the names of two files above it."""
        before, after = self.before.splitlines(), self.text().splitlines()
        name = self.path.name
        return "\n".join(difflib.unified_diff(before, after, f"a/{name}", f"b/{name}", lineterm="", n=2))

    def _merge(self, node: Any, key: str, value: Any) -> None:
        old = node.get(key)
        if isinstance(value, Mapping) and isinstance(old, Mapping) and old and value:
            for name, item in value.items():
                self._merge(old, name, item)
            for gone in [name for name in old if name not in value]:
                self._drop(old, gone)
        elif key not in node or plain(old) != plain(value) or isinstance(old, bool) != isinstance(value, bool):
            self._put(node, key, value)

    def _put(self, node: Any, key: str, value: Any) -> None:
        self.touched()
        if key in node:
            below = _taken(node, key)
            node[key] = _styled(value)
            _hang(node, key, below, keep=not isinstance(value, Mapping))
            return
        last = next(reversed(node), None)
        below = "" if last is None or _flow(node) else _taken(node, last)
        node[key] = _styled(value)
        _hang(node, key, below, keep=False)

    def _drop(self, node: Any, key: str) -> None:
        self.touched()
        names = list(node)
        below, at = _taken(node, key), names.index(key)
        above = node.ca.items.pop(key, None)
        del node[key]
        if above and above[1]:  # a comment block that stands over the key goes to the next one
            below = "".join(token.value for token in above[1]) + below
        if not below or len(names) == 1:
            return
        if at:
            _hang(node, names[at - 1], _taken(node, names[at - 1]) + below, keep=True)
        else:
            node.yaml_set_comment_before_after_key(names[1], before=below.strip().removeprefix("# "))


def _null(representer: Any, _: None) -> Any:
    return representer.represent_scalar("tag:yaml.org,2002:null", "null")


def plain(value: Any) -> Any:
    """ruamel's nodes as Python's own."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return str(value) if isinstance(value, str) else value


def _styled(value: Any) -> Any:
    """Lists, empty mappings and mappings of nothing but scalars on one line, as people write them here."""
    from ruamel.yaml.comments import CommentedMap, CommentedSeq

    if isinstance(value, Mapping):
        made = CommentedMap((key, _styled(item)) for key, item in value.items())
        if all(not isinstance(item, (Mapping, list, tuple)) for item in value.values()):
            made.fa.set_flow_style()
        return made
    if isinstance(value, (list, tuple)):
        made = CommentedSeq(_styled(item) for item in value)
        made.fa.set_flow_style()
        return made
    return value


def _flow(node: Any) -> bool:
    return bool(node.fa.flow_style())


def _deepest(node: Any, key: str) -> tuple[Any, str]:
    """Where the comment after the value of `key` hangs: with the last key of the last mapping in it."""
    value = node[key]
    while isinstance(value, Mapping) and value and hasattr(value, "ca") and not _flow(value):
        node, key = value, next(reversed(value))
        value = node[key]
    return node, key


def _taken(node: Any, key: str) -> str:
    """The comment lines below the value of `key`, taken off it; the comment on its own line stays."""
    holder, name = _deepest(node, key)
    entry = holder.ca.items.get(name)
    token = entry[2] if entry and len(entry) > 2 else None
    if token is None:
        return ""
    first, newline, rest = token.value.partition("\n")
    token.value = first + newline
    if not first:
        entry[2] = None
    return rest if first else token.value[1:] + rest


def _hang(node: Any, key: str, below: str, *, keep: bool) -> None:
    """Puts comment lines below the value of `key`; with `keep` after the comment that stands on its own line."""
    from ruamel.yaml.error import CommentMark
    from ruamel.yaml.tokens import CommentToken

    entry = node.ca.items.setdefault(key, [None, None, None, None])
    own = entry[2].value.partition("\n")[0] if keep and entry[2] is not None else ""
    if not keep:
        entry[2] = None
    holder, name = _deepest(node, key)
    if holder is not node:
        entry = holder.ca.items.setdefault(name, [None, None, None, None])
        own = entry[2].value.partition("\n")[0] if entry[2] is not None else ""
    if below or own:
        column = entry[2].start_mark.column if entry[2] is not None else 0
        entry[2] = CommentToken(f"{own}\n{below}", CommentMark(column), None)
