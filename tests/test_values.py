"""Values behave as attrs classes do: the same definitions, made by both, held side by side."""

from __future__ import annotations

import copy
import inspect
import pickle
import pkgutil
from importlib import import_module
from typing import Any, ClassVar, Generic, TypeVar

import attrs
import pytest

import kcluster
from kcluster import values

T = TypeVar("T")


def defined(kit: Any) -> dict[str, type]:
    """The same classes by attrs or by this package."""

    @kit.frozen
    class Point:
        """Doc."""

        SCALE: ClassVar[int] = 3
        x: int
        y: int = 2
        tags: list[str] = kit.field(factory=list, eq=False)

        def scaled(self) -> int:
            return self.x * self.SCALE

    @kit.frozen(cache_hash=True)
    class Named(Generic[T]):
        name: T
        _kept: str = kit.field(init=False, repr=False, eq=False)

        def __attrs_post_init__(self) -> None:
            object.__setattr__(self, "_kept", f"<{self.name}>")

    @kit.frozen(eq=False)
    class Only:
        a: int

    @kit.define(eq=False)
    class Open:
        a: int
        b: dict[str, int] = kit.field(factory=dict)

    @kit.frozen
    class Empty:
        pass

    return {one.__name__: one for one in (Point, Named, Only, Open, Empty)}


OURS, THEIRS = defined(values), defined(attrs)
BOTH = pytest.mark.parametrize("kit", [OURS, THEIRS], ids=["ours", "attrs"])


@BOTH
def test_fields_defaults_and_factories(kit: dict[str, Any]) -> None:
    one, other = kit["Point"](1), kit["Point"](1, tags=["t"])
    assert (one.x, one.y, one.tags, one.scaled()) == (1, 2, [], 3)
    assert one.tags is not kit["Point"](1).tags
    assert other.tags == ["t"]
    assert kit["Point"].__doc__ == "Doc."
    for wrong in ({}, {"x": 1, "z": 2}):
        with pytest.raises(TypeError):
            kit["Point"](**wrong)
    with pytest.raises(TypeError):
        kit["Point"](1, 2, [], 4)


@BOTH
def test_equality_and_hash(kit: dict[str, Any]) -> None:
    point, named, only = kit["Point"], kit["Named"], kit["Only"]
    assert point(1) == point(1, 2, ["not compared"]) != point(1, 3)
    assert hash(point(1)) == hash(point(1, tags=["x"]))
    assert point(1).__eq__(named("a")) is NotImplemented
    assert named("a") == named("a") != named("b")
    assert hash(named("a")) == hash(named("a")) == hash(named("a"))
    assert len({named("a"), named("a"), named("b")}) == 2
    assert only(1) != only(1)
    assert kit["Empty"]() == kit["Empty"]()
    with pytest.raises(TypeError):
        hash(point([]))


@BOTH
def test_values_have_their_fields_and_no_others(kit: dict[str, Any]) -> None:
    """That nothing writes to a frozen one is held by the type checker."""
    with pytest.raises(AttributeError):
        kit["Point"](1).other = 2
    opened = kit["Open"](1)
    opened.a = 2
    assert opened.a == 2
    with pytest.raises(AttributeError):
        opened.other = 3


@BOTH
def test_post_init_and_private_fields(kit: dict[str, Any]) -> None:
    assert kit["Named"]("a")._kept == "<a>"
    assert kit["Named"][str]("b").name == "b"


@BOTH
def test_repr_shows_what_is_shown(kit: dict[str, Any]) -> None:
    assert repr(kit["Point"](1)).endswith("Point(x=1, y=2, tags=[])")
    assert repr(kit["Named"]("a")).endswith("Named(name='a')")


@pytest.mark.parametrize("evolve", [values.evolve, attrs.evolve], ids=["ours", "attrs"])
@BOTH
def test_evolve(kit: dict[str, Any], evolve: Any) -> None:
    if kit is THEIRS and evolve is values.evolve:
        return
    assert evolve(kit["Point"](1), y=5) == kit["Point"](1, 5)
    assert evolve(kit["Named"]("a"), name="c")._kept == "<c>"
    with pytest.raises(TypeError):
        evolve(kit["Point"](1), wrong=5)


def test_tools_of_attrs_see_the_fields() -> None:
    for name, ours in OURS.items():
        mine, others = attrs.fields(ours), attrs.fields(THEIRS[name])
        assert attrs.has(ours)
        for field, other in zip(mine, others, strict=True):
            facts = [(one.name, one.alias, one.init, one.repr, one.eq, one.default) for one in (field, other)]
            assert facts[0] == facts[1]
    assert attrs.asdict(OURS["Point"](1)) == {"x": 1, "y": 2, "tags": []}
    assert [field.name for field in values.fields(OURS["Point"])] == ["x", "y", "tags"]


def test_values_have_no_dict_and_survive_copies() -> None:
    from kcluster.physics.cut import Cut
    from kcluster.source import Source, Span

    cut = Cut(tp=2)
    assert not hasattr(cut, "__dict__")
    assert hash(cut) == hash(copy.copy(cut)) == hash(pickle.loads(pickle.dumps(cut)))
    assert pickle.loads(pickle.dumps(Span(1, 2))) == copy.deepcopy(Span(1, 2)) == Span(1, 2)
    source = Source("a", "b\nc")
    assert pickle.loads(pickle.dumps(source)).position(2) == source.position(2)


def test_a_needed_field_after_one_with_a_default_is_a_mistake() -> None:
    @values.frozen
    class Wrong:
        a: int = 1
        b: int  # type: ignore[misc]

    with pytest.raises(TypeError, match="without a default"):
        Wrong(1, 2)


def test_every_value_of_the_package_can_be_made() -> None:
    """`__init__` is written when a class is first used: write all of them, so that a mistake in one shows here."""
    seen = 0
    for module in pkgutil.walk_packages(kcluster.__path__, "kcluster."):
        if module.name.endswith("__main__"):
            continue
        for _, cls in inspect.getmembers(import_module(module.name), inspect.isclass):
            if "__value_fields__" in vars(cls):
                seen += 1
                made = values._init(cls)
                assert list(inspect.signature(made).parameters)[1:] == [
                    row.alias for row in values.fields(cls) if row.init
                ]
    assert seen > 150
