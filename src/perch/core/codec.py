"""JSON for the frozen types of the core, by their annotations: what goes in comes out equal, bit for bit.

The ledger must replay to the same decisions, so floats are written by `repr` (the shortest text that reads back to the
same number), and nothing is coerced in silence: text that does not fit its type is an error that names the place.
A field that has a default may be missing: an earlier Perch did not know it, and the default means what was before. A
field that is not known is an error: a later Perch wrote it, and what it means would be lost.
Known are dataclasses (without what they derive themselves), named tuples, `Vector`, enums, `int`, `float`, `bool`,
`str`, `X | None`, `tuple[X, ...]`, `tuple[X, Y]` and `Mapping[X, Y]` with text keys.
"""

import json
from collections.abc import Callable, Hashable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from enum import Enum
from functools import cache
from types import NoneType, UnionType
from typing import Any, TypeVar, cast, get_args, get_origin, get_type_hints

import numpy as np

from perch.core.vector import Vector
from perch.errors import RolloutError

T = TypeVar("T")


def dumps(value: object) -> str:
    """Write a value of the core as one line of JSON. Raises `ValueError` on NaN and infinity, which JSON lacks."""
    return json.dumps(_plain(value), separators=(",", ":"), allow_nan=False)


def loads(kind: type[T], text: str) -> T:
    """Read a value of type `kind` from what `dumps` wrote.

    Raises:
        RolloutError: the text is no JSON, or does not fit `kind`; the message names the first place that does not.
    """
    try:
        value: T = _reader(cast("Hashable", kind))(json.loads(text), kind.__name__)
    except json.JSONDecodeError as error:
        raise RolloutError(f"A {kind.__name__} cannot be read, its text is no JSON: {error}. Was it cut off?") from None
    return value


def _plain(value: object) -> object:
    match value:
        case Enum():
            return value.value
        case None | bool() | int() | float() | str():
            return value
        case Mapping():
            return {str(_plain(key)): _plain(item) for key, item in value.items()}
        case Vector():
            return value.array.tolist()
        case _ if names := _field_names(cast("Hashable", type(value))):
            return {name: _plain(getattr(value, name)) for name in names}
        case tuple():
            return [_plain(item) for item in value]
    raise TypeError(f"The core has no JSON for {type(value).__name__}.")


@cache
def _field_names(kind: Any) -> tuple[str, ...]:  # noqa: ANN401  (annotations are values of many types)
    """What a dataclass or a named tuple is made from; nothing for other types."""
    if is_dataclass(kind):
        return tuple(field.name for field in fields(kind) if field.init)
    names: tuple[str, ...] = getattr(kind, "_fields", ())
    return names


Reader = Callable[[Any, str], Any]


@cache
def _reader(kind: Any) -> Reader:  # noqa: ANN401  (annotations are values of many types)
    origin, arguments = get_origin(kind), get_args(kind)
    if _field_names(kind):
        return _read_vector if kind is Vector else _record_reader(kind)
    if isinstance(kind, UnionType):
        return _optional_reader(_reader(next(a for a in arguments if a is not NoneType)))
    if origin is tuple:
        return _tuple_reader(arguments)
    if origin is Mapping:
        return _mapping_reader(*map(_reader, arguments))
    if issubclass(kind, Enum):
        return _enum_reader(kind)
    return _scalar_reader(kind)


def _misfit(place: str, wanted: str, found: object) -> RolloutError:
    return RolloutError(f"{place} should be {wanted}, not {found!r:.80}. Was it written by another version of Perch?")


def _record_reader(kind: type) -> Reader:
    hints, names, required = get_type_hints(kind), _field_names(kind), _required_names(kind)

    def read(data: Any, place: str) -> Any:  # noqa: ANN401  (parsed JSON)
        if not isinstance(data, dict) or not required <= data.keys() <= set(names):
            raise _misfit(place, f"an object with {', '.join(names)} and nothing else", data)
        return kind(**{name: _reader(hints[name])(item, f"{place}.{name}") for name, item in data.items()})

    return read


def _required_names(kind: Any) -> frozenset[str]:  # noqa: ANN401  (a dataclass or a named tuple)
    """The fields without a default."""
    if is_dataclass(kind):
        return frozenset(
            field.name for field in fields(kind) if field.init and MISSING is field.default is field.default_factory
        )
    return frozenset(set(_field_names(kind)) - set(kind._field_defaults))


def _read_vector(data: Any, place: str) -> Vector:  # noqa: ANN401  (parsed JSON)
    if not isinstance(data, list) or any(type(item) not in (float, int) for item in data):
        raise _misfit(place, "a list of numbers", data)
    return Vector(np.array(data, dtype=np.float64))


def _optional_reader(inner: Reader) -> Reader:
    return lambda data, place: None if data is None else inner(data, place)


def _tuple_reader(arguments: tuple[Any, ...]) -> Reader:
    repeated = arguments[-1] is Ellipsis

    def read(data: Any, place: str) -> Any:  # noqa: ANN401  (parsed JSON)
        if not isinstance(data, list) or not (repeated or len(data) == len(arguments)):
            raise _misfit(place, "a list" if repeated else f"a list of {len(arguments)}", data)
        kinds = arguments[:1] * len(data) if repeated else arguments
        return tuple(
            _reader(kind)(item, f"{place}[{i}]") for i, (kind, item) in enumerate(zip(kinds, data, strict=True))
        )

    return read


def _mapping_reader(key: Reader, item: Reader) -> Reader:
    def read(data: Any, place: str) -> Any:  # noqa: ANN401  (parsed JSON)
        if not isinstance(data, dict):
            raise _misfit(place, "an object", data)
        return {key(k, place): item(v, f"{place}.{k}") for k, v in data.items()}

    return read


def _enum_reader(kind: type[Enum]) -> Reader:
    def read(data: Any, place: str) -> Any:  # noqa: ANN401  (parsed JSON)
        try:
            return kind(data)
        except ValueError:
            raise _misfit(place, f"one of {', '.join(str(m.value) for m in kind)}", data) from None

    return read


def _scalar_reader(kind: Any) -> Reader:  # noqa: ANN401  (a class object)
    accepted = (float, int) if kind is float else (kind,)

    def read(data: Any, place: str) -> Any:  # noqa: ANN401  (parsed JSON)
        if type(data) not in accepted:
            raise _misfit(place, f"of type {kind.__name__}", data)
        return kind(data)

    return read
