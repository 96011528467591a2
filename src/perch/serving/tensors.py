"""Binary tensors of the Open Inference Protocol: raw values behind the JSON header of a body.

Numbers are little-endian; an element of BYTES is its length as a little-endian uint32, then its bytes. Binary has no
null, so NaN, and a BYTES element of no length, mean missing. See the protocol's `binary_tensor_data` extension.
"""

import struct

from perch.serving.columns import Value, bad_request

FORMATS = {
    "UINT8": "B",
    "UINT16": "H",
    "UINT32": "I",
    "UINT64": "Q",
    "INT8": "b",
    "INT16": "h",
    "INT32": "i",
    "INT64": "q",
    "FP16": "e",
    "FP32": "f",
    "FP64": "d",
}
"""`struct`'s format of each numeric datatype."""

_INFINITIES = (float("inf"), float("-inf"))


def unpack(name: str, datatype: str, count: int, data: bytes) -> list[Value]:
    """The `count` values of the tensor `name`.

    Raises:
        Refusal: 400, the bytes are not that many values of this datatype.
    """
    return _strings(name, count, data) if datatype == "BYTES" else _numbers(name, datatype, count, data)


def pack_fp64(values: list[float]) -> bytes:
    """Numbers as the bytes of an FP64 tensor."""
    return struct.pack(f"<{len(values)}d", *values)


def _numbers(name: str, datatype: str, count: int, data: bytes) -> list[Value]:
    form = struct.Struct(f"<{count}{FORMATS[datatype]}")
    if form.size != len(data):
        raise bad_request(f"Tensor {name!r} has {len(data)} bytes; {count} values of {datatype} are {form.size}.")
    values = [float(value) for value in form.unpack(data)]
    if any(value in _INFINITIES for value in values):
        raise bad_request(f"Tensor {name!r} holds an infinite value; send a finite one, or NaN for a missing one.")
    return [None if value != value else value for value in values]  # noqa: PLR0124 - only NaN differs from itself


def _strings(name: str, count: int, data: bytes) -> list[Value]:
    values: list[Value] = []
    at, end = 0, len(data)
    while at + 4 <= end and len(values) < count:
        start = at + 4
        at = start + int.from_bytes(data[at:start], "little")
        values.append(_text(name, data[start:at]) or None)
    if at != end or len(values) != count:
        raise bad_request(f"Tensor {name!r} does not hold {count} BYTES elements, each with its length before it.")
    return values


def _text(name: str, element: bytes) -> str:
    try:
        return element.decode()
    except UnicodeDecodeError:
        raise bad_request(f"Tensor {name!r} holds an element that is not UTF-8; send strings as UTF-8.") from None
