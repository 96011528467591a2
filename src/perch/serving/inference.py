"""The Open Inference Protocol (V2): one named tensor for each column, JSON or binary.

Clients differ in what they send, so the content type is never looked at: a body is binary if and only if it has the
header `Inference-Header-Content-Length`.
See https://github.com/kserve/open-inference-protocol and Triton's binary tensor data extension.
"""

from importlib.metadata import version
from math import prod
from typing import Any

import msgspec

from perch.asgi import Headers
from perch.serving import tensors
from perch.serving.columns import Inputs, Value, bad_request
from perch.serving.question import Answer, Identity, Question
from perch.serving.rows import decode

OUTPUT = "probability"

BINARY_HEADER = b"inference-header-content-length"


class InputTensor(msgspec.Struct):
    """A column."""

    name: str
    shape: list[int]
    datatype: str
    data: list[Value] | None = None
    """Values in row order; absent when they follow in binary."""

    parameters: dict[str, Any] = {}


class RequestedOutput(msgspec.Struct):
    """An output that the caller wants."""

    name: str
    parameters: dict[str, Any] = {}


class InferRequest(msgspec.Struct):
    """Body of `infer`, or its JSON header."""

    inputs: list[InputTensor]
    id: str | None = None
    outputs: list[RequestedOutput] = []
    parameters: dict[str, Any] = {}


class OutputTensor(msgspec.Struct, omit_defaults=True):
    """The probabilities."""

    name: str
    shape: list[int]
    datatype: str
    data: list[float] | None = None
    parameters: dict[str, int] | None = None


class InferResponse(msgspec.Struct):
    """Answer to `infer`, or its JSON header."""

    model_name: str
    model_version: str
    id: str
    outputs: list[OutputTensor]


_encode = msgspec.json.Encoder().encode


def server_metadata() -> bytes:
    """Answer to `GET /v2`."""
    return _encode({"name": "perch", "version": version("perch"), "extensions": ["binary_tensor_data"]})


def model_metadata(inputs: Inputs, identity: Identity) -> bytes:
    """Answer to `GET /v2/models/NAME`: enough for a generic client to build a request."""
    columns = [
        {"name": name, "datatype": "FP64" if name in inputs.numeric else "BYTES", "shape": [-1]}
        for name in inputs.names
    ]
    output = {"name": OUTPUT, "datatype": "FP64", "shape": [-1]}
    return _encode(
        {
            "name": identity.model,
            "versions": [identity.version],
            "platform": "perch",
            "inputs": columns,
            "outputs": [output],
        }
    )


class Infer:
    """Reads bodies of `infer`."""

    def __init__(self, inputs: Inputs, identity: Identity) -> None:
        self._inputs = inputs
        self._identity = identity
        self._decoder = msgspec.json.Decoder(InferRequest)

    def __call__(self, body: bytes, headers: Headers) -> Question:
        """See `perch.serving.question.Parse`."""
        length = headers.get(BINARY_HEADER)
        header, rest = (body, b"") if length is None else _split(body, length)
        request = decode(self._decoder, header)
        self._inputs.check_names([tensor.name for tensor in request.inputs])
        binary = _Binary(rest)
        columns = self._inputs.check({tensor.name: self._values(tensor, binary) for tensor in request.inputs})
        binary.check_used_up()
        wants_binary = _wants_binary(request)
        return Question(
            columns,
            request.inputs[0].shape[0],
            lambda request_id, scores: self._answer(request.id or request_id, scores, binary=wants_binary),
        )

    def _values(self, tensor: InputTensor, binary: "_Binary") -> list[Value]:
        self._check_tensor(tensor)
        rows = tensor.shape[0]
        if tensor.data is None:
            return tensors.unpack(tensor.name, tensor.datatype, rows, binary.take(tensor))
        if len(tensor.data) != rows:
            raise bad_request(f"Tensor {tensor.name!r} has {len(tensor.data)} values, but its shape says {rows}.")
        return tensor.data

    def _check_tensor(self, tensor: InputTensor) -> None:
        shape = tensor.shape
        if not shape or shape[0] < 0 or prod(shape) != shape[0]:
            raise bad_request(f"Tensor {tensor.name!r} has the shape {shape}; a column has [rows] or [rows, 1].")
        self._inputs.check_count(shape[0])
        numeric = tensor.name in self._inputs.numeric
        if tensor.datatype != "BYTES" if not numeric else tensor.datatype not in tensors.FORMATS:
            wanted = f"one of {', '.join(tensors.FORMATS)}" if numeric else "BYTES"
            raise bad_request(f"Tensor {tensor.name!r} has the datatype {tensor.datatype!r}; it takes {wanted}.")

    def _answer(self, request_id: str, scores: list[float], *, binary: bool) -> Answer:
        output = OutputTensor(OUTPUT, [len(scores)], "FP64", scores)
        response = InferResponse(self._identity.model, self._identity.version, request_id, [output])
        if not binary:
            return Answer(_encode(response))
        raw = tensors.pack_fp64(scores)
        output.data, output.parameters = None, {"binary_data_size": len(raw)}
        header = _encode(response)
        return Answer(
            header + raw,
            content_type=b"application/octet-stream",
            headers=((BINARY_HEADER, str(len(header)).encode()),),
        )


class _Binary:
    """The bytes behind the JSON header, which belong to the tensors in their order."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def take(self, tensor: InputTensor) -> bytes:
        size = tensor.parameters.get("binary_data_size")
        start, left = self._at, len(self._data) - self._at
        if type(size) is not int or not 0 <= size <= left:
            raise bad_request(
                f"Tensor {tensor.name!r} has no data, and no `binary_data_size` within the {left} bytes that are left "
                "behind the JSON header; send one of them."
            )
        self._at += size
        return self._data[start : self._at]

    def check_used_up(self) -> None:
        if self._at != len(self._data):
            raise bad_request(f"{len(self._data) - self._at} bytes behind the JSON header belong to no tensor.")


def _split(body: bytes, length: bytes) -> tuple[bytes, bytes]:
    if not length.isdigit() or int(length) > len(body):
        sentence = f"The header Inference-Header-Content-Length is {length.decode('latin-1')!r}"
        raise bad_request(f"{sentence}, but the body has {len(body)} bytes; send the length of its JSON part.")
    return body[: int(length)], body[int(length) :]


def _wants_binary(request: InferRequest) -> bool:
    for output in request.outputs:
        if output.name != OUTPUT:
            raise bad_request(f"There is no output {output.name!r}; the model has one, {OUTPUT!r}.")
    if request.outputs:
        return request.outputs[0].parameters.get("binary_data") is True
    return request.parameters.get("binary_data_output") is True
