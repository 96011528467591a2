import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

import numpy as np
import pytest

from perch.core.codec import dumps, loads
from perch.core.vector import Vector
from perch.errors import RolloutError


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


@dataclass(frozen=True)
class Leaf:
    number: float
    count: int = 0


class Twig(NamedTuple):
    wealth: Vector
    leaf: Leaf = Leaf(1.0)


@dataclass(frozen=True)
class Tree:
    name: str
    colour: Colour | None
    leaves: Mapping[Colour, Leaf]
    pair: tuple[int, float]
    many: tuple[Leaf, ...]
    yes: bool


TREE = Tree("t", Colour.RED, {Colour.BLUE: Leaf(0.1 + 0.2)}, (1, 2.5), (Leaf(1e-300, 3), Leaf(-0.0)), True)


def test_what_goes_in_comes_out():
    text = dumps(TREE)
    assert loads(Tree, text) == TREE
    assert dumps(loads(Tree, text)) == text
    assert "0.30000000000000004" in text


def test_a_field_that_has_a_default_may_be_missing_for_an_earlier_perch_did_not_know_it():
    assert loads(Leaf, '{"number":2.0}') == Leaf(2.0)
    assert loads(Twig, '{"wealth":[1.0]}') == Twig(Vector(np.array([1.0])))


def test_nothing_is_none():
    empty = Tree("", None, {}, (0, 0.0), (), False)
    assert loads(Tree, dumps(empty)) == empty


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"red"', '"green"', r"Tree\.colour should be one of red, blue, not 'green'"),
        ('"pair":[1,', '"pair":[true,', r"Tree\.pair\[0\] should be of type int, not True"),
        ('"pair":[1,2.5]', '"pair":[1]', r"Tree\.pair should be a list of 2"),
        ('"count":3', '"count":"3"', r"Tree\.many\[0\]\.count should be of type int, not '3'"),
        ('"yes":', '"no":', r"Tree should be an object with name, colour.* and nothing else, .*another version"),
        ('"yes":', '"no":true,"yes":', r"Tree should be an object with .* and nothing else, .*another version of P"),
        ('"number":', '"bumber":', r"Tree\.leaves\.blue should be an object with number, count and nothing else"),
        ('"leaves":{', '"leaves":[],"x":{', r"Tree should be an object"),
        ('"blue":{', '"pink":{', r"Tree\.leaves should be one of red, blue"),
        ("}", "", r"no JSON.*cut off"),
    ],
)
def test_text_that_does_not_fit_is_an_error_that_names_the_place(old, new, message):
    text = dumps(TREE)
    assert old in text
    with pytest.raises(RolloutError, match=message):
        loads(Tree, text.replace(old, new, 1))


@pytest.mark.parametrize(("field", "wanted"), [("leaves", "an object"), ("many", "a list")])
def test_a_container_of_another_kind_is_refused(field, wanted):
    data = {**json.loads(dumps(TREE)), field: 3}
    with pytest.raises(RolloutError, match=rf"Tree\.{field} should be {wanted}, not 3"):
        loads(Tree, json.dumps(data))


def test_numbers_that_json_lacks_are_refused():
    with pytest.raises(ValueError, match="not JSON compliant"):
        dumps(Leaf(float("nan")))


def test_types_without_a_form_are_refused():
    with pytest.raises(TypeError, match="no JSON for set"):
        dumps({"a": {1, 2}})


TWIG = Twig(Vector(np.array([0.1 + 0.2, 1e-300, 3.0])), Leaf(2.0))


def test_named_tuples_go_by_their_names_and_vectors_keep_every_bit():
    text = dumps(TWIG)
    assert text == '{"wealth":[0.30000000000000004,1e-300,3.0],"leaf":{"number":2.0,"count":0}}'
    assert loads(Twig, text) == TWIG
    assert hash(loads(Twig, text)) == hash(TWIG)


@pytest.mark.parametrize("wealth", ['"3"', "[true]", '[1.0,"2"]', "{}"])
def test_a_vector_of_anything_but_numbers_is_refused(wealth):
    text = '{"wealth":' + wealth + ',"leaf":{"number":2.0,"count":0}}'
    with pytest.raises(RolloutError, match=r"Twig\.wealth should be a list of numbers"):
        loads(Twig, text)


def test_a_vector_cannot_be_changed_once_it_is_part_of_a_state():
    with pytest.raises(ValueError, match="read-only"):
        TWIG.wealth.array[0] = 1.0
    assert TWIG.wealth != Vector(np.array([0.3, 1e-300, 3.0]))
