"""Values set in a YAML file, with everything else, comments too, as it stands."""

from __future__ import annotations

from collections.abc import Sequence

import yaml
from yaml.nodes import CollectionNode, MappingNode, Node


def set_at(text: str, path: Sequence[str], value: str) -> str:
    """`text` with `value`, in YAML on one line, at `path`; missing mappings are made."""
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    if not isinstance(root, MappingNode):
        return _block(path, value, indent=0).lstrip("\n") + "\n"
    node: Node = root
    for depth, key in enumerate(path):
        inner = _value(node, key)
        if inner is None:
            return _added(text, node, path[depth:], value)
        node = inner
    return text[: node.start_mark.index] + value + text[_end(node) :]


def _value(node: Node, key: str) -> Node | None:
    if not isinstance(node, MappingNode):
        return None
    return next((value for name, value in node.value if name.value == key), None)


def _added(text: str, node: Node, path: Sequence[str], value: str) -> str:
    """A key after the last one of a mapping, or in place of nothing."""
    if not isinstance(node, MappingNode) or not node.value:
        start, end = node.start_mark.index, _end(node)
        gap = "" if start == 0 or text[start - 1] == " " else " "
        return text[:start] + gap + "{" + _flow(path, value) + "}" + text[end:]
    if node.flow_style:
        at = _end(node.value[-1][1])
        return text[:at] + ", " + _flow(path, value) + text[at:]
    line = text.find("\n", _end(node.value[-1][1]))
    at = len(text) if line < 0 else line
    return text[:at] + _block(path, value, indent=node.value[0][0].start_mark.column) + text[at:]


def _end(node: Node) -> int:
    """Where a node's own text ends: the parser counts comments after a block as part of it."""
    if not isinstance(node, CollectionNode) or node.flow_style or not node.value:
        return node.end_mark.index
    last = node.value[-1]
    return _end(last[1] if isinstance(last, tuple) else last)


def _flow(path: Sequence[str], value: str) -> str:
    for key in reversed(path[1:]):
        value = f"{{{key}: {value}}}"
    return f"{path[0]}: {value}"


def _block(path: Sequence[str], value: str, *, indent: int) -> str:
    lines = [f"{' ' * (indent + 2 * depth)}{key}:" for depth, key in enumerate(path)]
    return "\n" + "\n".join(lines) + f" {value}"
