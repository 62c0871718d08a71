"""YAML checked against a model, with file, key and allowed values in every message."""

from __future__ import annotations

import re
import reprlib
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    model_validator,
)

from gemma_guard.errors import ConfigError, unknown

MAX_CHARS = 4 * 1024 * 1024
MAX_DEPTH = 50  # libyaml takes minutes for a file of brackets
MAX_MILLISECONDS = 3_600_000

Threshold = Annotated[float, Field(strict=True)]  # lax would read `block: yes` as 1.0
Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Amount = Annotated[float, Field(strict=True, ge=0, allow_inf_nan=False)]
Flag = Annotated[bool, Field(strict=True)]
Milliseconds = Annotated[int, Field(strict=True, gt=0, le=MAX_MILLISECONDS)]
Count = Annotated[int, Field(strict=True, gt=0)]


class Strict(BaseModel):
    """A mapping that refuses keys it does not know, and says which it does."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _refuse_unknown_keys(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        for key in given:
            if key not in cls.model_fields:
                raise ConfigError(unknown("key", key, cls.model_fields))
        return given


Model = TypeVar("Model", bound=BaseModel)


def read_text(path: Path) -> str:
    """What the file at `path` says; raises `ConfigError`."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from error


def parse(model: type[Model], text: str, *, source: str) -> Model:
    """YAML `text` as `model`; raises `ConfigError` that begins with `source`."""
    if len(text) > MAX_CHARS:
        raise ConfigError(f"{source}: {len(text):,} characters; at most {MAX_CHARS:,} are read")
    try:
        return model.model_validate(_load(text))
    except ValidationError as error:
        raise ConfigError(explain(error, source=source)) from error
    except ConfigError as error:
        raise ConfigError(f"{source}: {error}") from error


def either(sentence: str) -> WrapValidator:
    """For a field that takes several forms: `sentence` says which, in place of one error each."""

    def check(given: Any, take: ValidatorFunctionWrapHandler) -> Any:
        try:
            return take(given)
        except ValidationError as error:
            raise ConfigError(f"{_shown(given)} is not allowed; {sentence}") from error

    return WrapValidator(check)


def explain(error: ValidationError, *, source: str) -> str:
    """One line for each thing that is wrong, with its key."""
    lines = []
    for fault in error.errors(include_url=False):
        key = ".".join(str(part) for part in fault["loc"] if part != "[key]")
        message = _message(fault["type"], fault["msg"], fault["input"], fault.get("ctx", {}))
        lines.append(f"{source}: {key}: {message}" if key else f"{source}: {message}")
    return "\n".join(lines)


_NEEDED = {
    "bool_type": "true or false is needed",
    "date_from_datetime_parsing": "a date like 2027-01-31 is needed",
    "date_type": "a date like 2027-01-31 is needed",
    "dict_type": "a mapping is needed",
    "float_type": "a number is needed",
    "int_type": "a whole number is needed",
    "model_type": "a mapping is needed",
    "string_type": "text is needed, in quotes if it looks like a number, a date or yes and no",
    "tuple_type": "a list is needed",
}


def _message(kind: str, message: str, given: Any, context: Mapping[str, Any]) -> str:
    """Pydantic's `message` in the words of YAML, with what is allowed."""
    if kind in _NEEDED:
        return f"{_NEEDED[kind]}, got {_shown(given)}"
    if kind == "literal_error":
        return f"{_shown(given)} is not allowed; use {context['expected']}"
    if kind == "missing":
        return "this key is needed"
    return message.removeprefix("Value error, ")


def _shown(given: Any) -> str:
    """A value as a message shows it: in full only if it is short."""
    if given is None:
        return "nothing"
    if isinstance(given, Mapping):
        return "a mapping"
    if isinstance(given, list | tuple):
        return "a list"
    return reprlib.repr(given)


def dump(data: Any) -> str:
    """`data` as YAML in the order given, without aliases."""
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)


def _load(text: str) -> Any:
    try:
        _refuse_bombs(text)
        return yaml.load(text, Loader=_Loader)  # noqa: S506  a SafeLoader that refuses twins
    except ConfigError:
        raise
    except Exception as error:  # PyYAML lets through whatever int() or dict() raises
        raise ConfigError(f"not YAML: {error}") from error


def _refuse_bombs(text: str) -> None:
    """Refuse what would grow or nest without end, before any of it is built."""
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        if isinstance(event, yaml.AliasEvent):
            raise ConfigError("YAML aliases (*name) are refused; write it out or use extends")
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:
            raise ConfigError(f"nested deeper than {MAX_DEPTH} levels")


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """Knows what JSON knows; refuses a key given twice, of which YAML keeps the last in silence."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:  # noqa: FBT001, FBT002
        seen = set()
        for key, _ in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                raise ConfigError(f"line {line}: a key must be a word, not a list or a mapping")
            name = self.construct_object(key, deep=True)
            if name in seen:
                raise ConfigError(f"line {line}: {name!r} is given twice")
            seen.add(name)
        mapping: dict[Hashable, Any] = super().construct_mapping(node, deep=deep)
        return mapping


_PLAIN = ("null", "bool", "int", "float", "str", "seq", "map")
_Loader.yaml_constructors = {
    tag: construct
    for tag, construct in _Loader.yaml_constructors.items()
    if tag is None or tag.rpartition(":")[2] in _PLAIN
}
_Loader.yaml_implicit_resolvers = {
    first: [(tag, shape) for tag, shape in resolvers if not tag.endswith(":timestamp")]
    for first, resolvers in _Loader.yaml_implicit_resolvers.items()
}


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002
        return True


def _quoted(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    style = '"' if _BREAKS.search(text) else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_BREAKS = re.compile("[\x85\u2028\u2029\ufeff]")  # PyYAML folds these away elsewhere
_Dumper.add_representer(str, _quoted)
