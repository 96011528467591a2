"""What callers may send, in each protocol, and the sentence that they get for anything else."""

import json
import struct

import pytest

from perch.asgi import Refusal
from perch.serving.columns import CATEGORY_LIMIT_CHARACTERS, ROW_LIMIT, Inputs
from perch.serving.inference import Infer, model_metadata
from perch.serving.question import Identity
from perch.serving.rows import Predict, Rank
from perch.workload.schema import Schema

SCHEMA = Schema(numeric=("price",), categorical=("site",), baseline=("site",))
INPUTS = Inputs(SCHEMA)
IDENTITY = Identity("ads", "3")
INFER, PREDICT, RANK = Infer(INPUTS, IDENTITY), Predict(INPUTS), Rank(INPUTS, IDENTITY)

PRICE = {"name": "price", "shape": [2], "datatype": "FP64", "data": [1, 2.5]}
SITE = {"name": "site", "shape": [2], "datatype": "BYTES", "data": ["a", None]}
COLUMNS = {"price": [1.0, 2.5], "site": ["a", None]}


def ask(parse, body, headers=None):
    return parse(body if isinstance(body, bytes) else json.dumps(body).encode(), headers or {})


def refusal(parse, body, headers=None):
    with pytest.raises(Refusal) as caught:
        ask(parse, body, headers)
    return caught.value


def binary(header, *parts):
    head = json.dumps(header).encode()
    return head + b"".join(parts), {b"inference-header-content-length": str(len(head)).encode()}


def test_an_instance_of_v1_becomes_a_row():
    question = ask(PREDICT, {"instances": [{"site": "a", "price": 1}, {"price": 2.5, "site": None}]})
    assert question.columns == COLUMNS
    assert question.rows == 2
    assert json.loads(question.answer("r", [0.1, 0.2]).body) == {"predictions": [0.1, 0.2]}


def test_the_context_holds_for_every_candidate():
    question = ask(RANK, {"context": {"site": "a"}, "candidates": [{"price": 1}, {"price": None}]})
    assert question.columns == {"price": [1.0, None], "site": ["a", "a"]}


def test_a_slate_is_ordered_by_score_times_value_and_equals_keep_their_order():
    body = {"context": {"site": "a"}, "candidates": [{"price": 1}] * 4, "values": [1, 3, 2, 1]}
    answer = ask(RANK, body).answer("r", [0.2, 0.1, 0.1, 0.3])
    assert json.loads(answer.body) == {
        "request_id": "r", "model": "ads", "version": "3", "order": [1, 3, 0, 2], "scores": [0.2, 0.1, 0.1, 0.3],
    }  # fmt: skip
    assert answer.shown == 1


def test_without_values_a_slate_is_ordered_by_score():
    answer = ask(RANK, {"context": {}, "candidates": [{"price": 1, "site": "a"}] * 2}).answer("r", [0.1, 0.2])
    assert json.loads(answer.body)["order"] == [1, 0]


def test_a_tensor_of_v2_is_a_column():
    question = ask(INFER, {"id": "7", "inputs": [PRICE, {**SITE, "shape": [2, 1]}]})
    assert question.columns == COLUMNS
    assert json.loads(question.answer("r", [0.1, 0.2]).body) == {
        "model_name": "ads",
        "model_version": "3",
        "id": "7",
        "outputs": [{"name": "probability", "shape": [2], "datatype": "FP64", "data": [0.1, 0.2]}],
    }


def test_an_answer_without_an_id_of_the_callers_has_the_requests():
    assert json.loads(ask(INFER, {"inputs": [PRICE, SITE]}).answer("r", [0.1, 0.2]).body)["id"] == "r"


def test_metadata_is_enough_to_build_a_request():
    metadata = json.loads(model_metadata(INPUTS, IDENTITY))
    tensors = [
        {**tensor, "shape": [1], "data": [1.0 if tensor["datatype"] == "FP64" else "a"]}
        for tensor in metadata["inputs"]
    ]
    assert ask(INFER, {"inputs": tensors}).rows == 1


@pytest.mark.parametrize(
    ("datatype", "data"),
    [("FP32", struct.pack("<2f", 1, 2.5)), ("FP64", struct.pack("<2d", 1, 2.5))],
)
def test_binary_tensors_follow_the_header_in_their_order(datatype, data):
    site = b"\x01\0\0\0a\0\0\0\0"
    body, headers = binary(
        {
            "inputs": [
                {"name": "site", "shape": [2], "datatype": "BYTES", "parameters": {"binary_data_size": len(site)}},
                {"name": "price", "shape": [2], "datatype": datatype, "parameters": {"binary_data_size": len(data)}},
            ]
        },
        site,
        data,
    )
    assert ask(INFER, body, headers).columns == COLUMNS


def test_binary_integers_are_numbers_and_nan_is_missing():
    body, headers = binary({"inputs": [SITE, _binary_price("INT64", 16)]}, struct.pack("<2q", -3, 4))
    assert ask(INFER, body, headers).columns["price"] == [-3.0, 4.0]
    body, headers = binary({"inputs": [SITE, _binary_price("FP32", 8)]}, struct.pack("<2f", float("nan"), 4))
    assert ask(INFER, body, headers).columns["price"] == [None, 4.0]


@pytest.mark.parametrize(
    "wish",
    [
        {"parameters": {"binary_data_output": True}},
        {"outputs": [{"name": "probability", "parameters": {"binary_data": True}}]},
    ],
)
def test_an_output_is_binary_when_the_caller_asks_for_it(wish):
    answer = ask(INFER, {"inputs": [PRICE, SITE], **wish}).answer("r", [0.1, 0.2])
    ((_, length),) = answer.headers
    header, raw = answer.body[: int(length)], answer.body[int(length) :]
    assert json.loads(header)["outputs"][0]["parameters"] == {"binary_data_size": 16}
    assert struct.unpack("<2d", raw) == (0.1, 0.2)


def _binary_price(datatype, size):
    return {"name": "price", "shape": [2], "datatype": datatype, "parameters": {"binary_data_size": size}}


ROW = {"price": 1, "site": "a"}


@pytest.mark.parametrize(
    ("parse", "body", "says"),
    [
        (PREDICT, b"", "not JSON"),
        (PREDICT, b"hello", "not JSON"),
        (PREDICT, b"\xff\xfe", "not JSON"),
        (PREDICT, b'{"instances": [{"price": NaN, "site": "a"}]}', "NaN and Infinity do not exist"),
        (PREDICT, b'{"instances": [{"price": -Infinity, "site": "a"}]}', "not JSON"),
        (PREDICT, b'{"instances": [{"price": 1e999, "site": "a"}]}', "out of range"),
        (PREDICT, {}, "missing required field `instances`"),
        (PREDICT, [], "Expected `object`, got `array`"),
        (PREDICT, {"instances": []}, "no rows"),
        (PREDICT, {"instances": [{"price": True, "site": "a"}]}, "got `bool`"),
        (PREDICT, {"instances": [{"price": [1], "site": "a"}]}, "got `array`"),
        (PREDICT, {"instances": [ROW, {"price": "1", "site": "a"}]}, "'price' has a string in row 1; it takes numbers"),
        (PREDICT, {"instances": [{"price": 1, "site": 2}]}, "'site' has a number in row 0; it takes strings or null"),
        (PREDICT, {"instances": [ROW, {"price": 1}]}, "Row 1 lacks the column 'site'"),
        (PREDICT, {"instances": [{**ROW, "x": 1}]}, "Row 0 has an unknown column 'x'; the model reads price, site"),
        (RANK, {"context": {"site": "a"}, "candidates": []}, "no rows"),
        (RANK, {"context": {"site": "a"}, "candidates": [{"price": 1, "site": "b"}]}, "both for row 0 and for all"),
        (RANK, {"context": {}, "candidates": [{"price": 1}]}, "lacks the column 'site'"),
        (RANK, {"context": {"x": 1}, "candidates": [ROW]}, "unknown column 'x'"),
        (RANK, {"context": {"site": 1}, "candidates": [{"price": 1}]}, "takes strings"),
        (RANK, {"context": {}, "candidates": [ROW], "values": [1, 2]}, "2 values for 1 candidates"),
        (RANK, {"context": {}, "candidates": [ROW], "values": ["1"]}, "got `str`"),
        (INFER, {"inputs": []}, "lacks the column 'price'"),
        (INFER, {"inputs": [PRICE]}, "lacks the column 'site'"),
        (INFER, {"inputs": [PRICE, SITE, {**SITE, "name": "x"}]}, "unknown column 'x'"),
        (INFER, {"inputs": [PRICE, SITE, SITE]}, "'site' is given twice"),
        (INFER, {"inputs": [PRICE, {**SITE, "datatype": "FP64"}]}, "it takes BYTES"),
        (INFER, {"inputs": [{**PRICE, "datatype": "BYTES"}, SITE]}, "it takes one of UINT8"),
        (INFER, {"inputs": [{**PRICE, "data": ["a", "b"]}, SITE]}, "has a string in row 0"),
        (INFER, {"inputs": [{**PRICE, "data": [[1], [2]]}, SITE]}, "got `array`"),
        (INFER, {"inputs": [{**PRICE, "shape": [3]}, SITE]}, "has 2 values, but its shape says 3"),
        (INFER, {"inputs": [{**PRICE, "shape": [1, 2]}, SITE]}, "a column has [rows] or [rows, 1]"),
        (INFER, {"inputs": [{**PRICE, "shape": []}, SITE]}, "a column has [rows] or [rows, 1]"),
        (INFER, {"inputs": [{**PRICE, "shape": [-1]}, SITE]}, "a column has [rows] or [rows, 1]"),
        (INFER, {"inputs": [{**PRICE, "shape": [0], "data": []}, SITE]}, "no rows"),
        (INFER, {"inputs": [{**PRICE, "shape": [1], "data": [1]}, SITE]}, "'site' has 2 rows, 'price' has 1"),
        (INFER, {"inputs": [{**PRICE, "data": None}, SITE]}, "has no data"),
        (INFER, {"inputs": [PRICE, SITE], "outputs": [{"name": "x"}]}, "no output 'x'"),
    ],
)  # fmt: skip
def test_a_malformed_request_is_refused_with_what_is_wrong(parse, body, says):
    refused = refusal(parse, body)
    assert refused.status == 400
    assert says in str(refused)


@pytest.mark.parametrize(
    ("tensor", "data", "says"),
    [
        (_binary_price("FP64", 16), b"\0" * 8, "within the 8 bytes that are left"),
        (_binary_price("FP64", 8), b"\0" * 8, "2 values of FP64 are 16"),
        (_binary_price("FP64", "16"), b"\0" * 16, "`binary_data_size`"),
        (_binary_price("FP64", 16), b"\0" * 17, "1 bytes behind the JSON header belong to no tensor"),
        (_binary_price("FP64", 16), struct.pack("<2d", 1, float("inf")), "infinite"),
    ],
)
def test_malformed_binary_numbers_are_refused(tensor, data, says):
    body, headers = binary({"inputs": [tensor, SITE]}, data)
    assert says in str(refusal(INFER, body, headers))


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"\x01\0\0\0a", "does not hold 2 BYTES elements"),
        (b"\x01\0\0\0a\x09\0\0\0b", "does not hold 2 BYTES elements"),
        (b"\x01\0\0\0a\x01\0\0\0\xff", "not UTF-8"),
    ],
)
def test_malformed_binary_strings_are_refused(data, says):
    tensor = {"name": "site", "shape": [2], "datatype": "BYTES", "parameters": {"binary_data_size": len(data)}}
    body, headers = binary({"inputs": [PRICE, tensor]}, data)
    assert says in str(refusal(INFER, body, headers))


@pytest.mark.parametrize("length", [b"9999", b"-1", b"x"])
def test_a_wrong_length_of_the_json_header_is_refused(length):
    body = {"inputs": [PRICE, SITE]}
    assert "send the length" in str(refusal(INFER, body, {b"inference-header-content-length": length}))


def test_too_many_rows_are_refused_before_any_is_looked_at():
    assert refusal(PREDICT, {"instances": [{}] * (ROW_LIMIT + 1)}).status == 413
    assert refusal(INFER, {"inputs": [{**PRICE, "shape": [ROW_LIMIT + 1]}, SITE]}).status == 413


@pytest.mark.parametrize("characters", [CATEGORY_LIMIT_CHARACTERS, CATEGORY_LIMIT_CHARACTERS + 1])
def test_a_category_longer_than_any_is_refused_in_every_protocol(characters):
    site = "x" * characters
    asked = [
        (PREDICT, {"instances": [{"site": None, "price": 1}, {"site": site, "price": 1}]}),
        (RANK, {"context": {"site": site}, "candidates": [{"price": 1}]}),
        (INFER, {"inputs": [PRICE, {**SITE, "data": ["a", site]}]}),
    ]
    for parse, body in asked:
        if characters <= CATEGORY_LIMIT_CHARACTERS:
            assert site in ask(parse, body).columns["site"]
        else:
            refused = refusal(parse, body)
            assert refused.status == 400
            assert "1,001 characters" in str(refused)
