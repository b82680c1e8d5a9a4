"""Values: what stages hand to each other. They are attrs classes to whoever checks or takes them apart, made without attrs.

A type checker sees `attrs.frozen` and its relatives, and `attrs.fields`, `attrs.evolve` and `attrs.has` work on every value.
What a class needs when it runs is made here: importing attrs and letting it write out the methods of the classes that a lint
loads took nine times a bare interpreter's start, this takes less than one (benchmarks/startup). It follows attrs in what it has:

* `frozen(eq=, cache_hash=)` and `define(eq=)` over annotated fields, with slots;
* `field(default=, factory=, init=, repr=, eq=)`;
* `__attrs_post_init__`, `evolve`, `fields`, equality and hash by class and fields.

There is no inheritance of fields, no validator and no converter. That nothing writes to a frozen value is held by the type checker:
while it runs nothing stops it, since a guard on each write made `__init__`, the most frequent call of a search, two and a half
times as long. `__init__` is written out when a class is first made use of, and compiled once for all classes of a shape;
comparing and hashing go through one C function that takes all fields at once.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from operator import attrgetter
from types import CodeType, FunctionType
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from attrs import define as define
    from attrs import evolve as evolve
    from attrs import field as field
    from attrs import fields as fields
    from attrs import frozen as frozen
else:
    _NOTHING: Final = object()
    _HASH: Final = "_cached_hash"

    class Field:
        """One field of a value."""

        __slots__ = ("alias", "default", "eq", "factory", "init", "name", "repr")

        def __init__(self, default: Any, factory: Any, init: bool, repr: bool, eq: bool) -> None:
            self.name = self.alias = ""
            self.default, self.factory, self.init, self.repr, self.eq = default, factory, init, repr, eq

        @property
        def required(self) -> bool:
            """Whether nothing stands in for it where it is not given."""
            return self.default is _NOTHING and self.factory is None

    def field(
        *, default: Any = _NOTHING, factory: Any = None, init: bool = True, repr: bool = True, eq: bool = True
    ) -> Any:
        return Field(default, factory, init, repr, eq)

    def frozen(cls: type | None = None, *, eq: bool = True, cache_hash: bool = False) -> Any:
        if cls is None:
            return lambda decorated: _made(decorated, True, eq, cache_hash)
        return _made(cls, True, eq, cache_hash)

    def define(cls: type | None = None, *, eq: bool = True) -> Any:
        if cls is None:
            return lambda decorated: _made(decorated, False, eq, False)
        return _made(cls, False, eq, False)

    def fields(cls: type) -> tuple[Field, ...]:
        return cls.__value_fields__

    def evolve(value: Any, /, **changes: Any) -> Any:
        cls = value.__class__
        for row in cls.__value_fields__:
            if row.init and row.alias not in changes:
                changes[row.alias] = getattr(value, row.name)
        return cls(**changes)

    def _made(cls: type, is_frozen: bool, eq: bool, cache_hash: bool) -> type:
        """The class once more, with slots and the methods of a value."""
        body = dict(cls.__dict__)
        rows = _rows(body)
        names = [row.name for row in rows]
        body.pop("__dict__", None)
        body.pop("__weakref__", None)
        body["__qualname__"] = cls.__qualname__
        body["__slots__"] = (*names, _HASH) if cache_hash else tuple(names)
        body["__match_args__"] = tuple(row.name for row in rows if row.init)
        body["__value_fields__"] = rows
        body["__attrs_attrs__"] = _ATTRIBUTES
        body.setdefault("__repr__", _repr)
        body["__getstate__"], body["__setstate__"] = _get_state, _set_state
        if eq:
            key = _key([row.name for row in rows if row.eq])
            body["__eq__"] = _equal(key)
            body["__hash__"] = _hash(key, cls.__qualname__, cache_hash) if is_frozen else None
        body["__init__"] = _init_later
        return type(cls)(cls.__name__, cls.__bases__, body)

    def _rows(body: dict[str, Any]) -> tuple[Field, ...]:
        rows = []
        for name, annotation in body.get("__annotations__", {}).items():
            if str(annotation).startswith("ClassVar"):
                continue
            given = body.pop(name, _NOTHING)
            row = given if given.__class__ is Field else Field(given, None, True, True, True)
            row.name, row.alias = name, name.lstrip("_")
            rows.append(row)
        return tuple(rows)

    def _init_later(self: Any, *given: Any, **named: Any) -> None:
        """The first call of a class writes its `__init__` out."""
        cls = self.__class__
        made = cls.__init__ = _init(cls)
        made(self, *given, **named)

    def _init(cls: type) -> Callable[..., None]:
        """The `__init__` of a class: the code of its shape, with the class's names and defaults."""
        rows = [
            row for row in cls.__value_fields__ if row.init or row.factory is not None or row.default is not _NOTHING
        ]
        code = _code(
            tuple((row.init, row.factory is not None) for row in rows),
            _HASH in cls.__slots__,
            hasattr(cls, "__attrs_post_init__"),
        )
        given = [row for row in rows if row.init]
        scope: dict[str, Any] = {"_nothing": _NOTHING}
        for number, row in enumerate(rows):
            scope[f"_default_{number}"] = row.default if row.factory is None else row.factory
        optional = [_NOTHING if row.factory is not None else row.default for row in given if not row.required]
        if any(row.required for row in given[len(given) - len(optional) :]):
            raise TypeError(f"{cls.__qualname__} has a field without a default after one with a default")
        names = {f"f{number}": row.name for number, row in enumerate(rows)}
        renamed = code.replace(
            co_varnames=("self", *(row.alias for row in given)),
            co_names=tuple(names.get(name, name) for name in code.co_names),
        )
        return FunctionType(renamed, scope, "__init__", tuple(optional))

    @cache
    def _code(fields: tuple[tuple[bool, bool], ...], cached: bool, post: bool) -> CodeType:
        """The code of `__init__` for fields of these kinds (given to it or not, by a factory or not), compiled once a shape: that
        is ten times dearer than to name its variables for a class."""
        parameters, lines = ["self"], []
        for number, (init, factory) in enumerate(fields):
            value = f"a{number}" if init else f"_default_{number}"
            if factory:
                made = f"_default_{number}()"
                value = f"{made} if a{number} is _nothing else a{number}" if init else made
            if init:
                parameters.append(f"a{number}")
            lines.append(f"    self.f{number} = {value}\n")
        lines += [f"    self.{_HASH} = None\n"] * cached + ["    self.__attrs_post_init__()\n"] * post
        text = f"def __init__({', '.join(parameters)}):\n{''.join(lines) or '    pass'}\n"
        module = compile(text, "<a value>", "exec", dont_inherit=True)
        return next(part for part in module.co_consts if isinstance(part, CodeType))

    def _key(names: list[str]) -> Callable[[Any], Any]:
        return attrgetter(*names) if names else (lambda value: ())

    def _equal(key: Callable[[Any], Any]) -> Callable[[Any, object], Any]:
        def __eq__(self: Any, other: object) -> Any:
            if other.__class__ is not self.__class__:
                return NotImplemented
            return self is other or key(self) == key(other)

        return __eq__

    def _hash(key: Callable[[Any], Any], salt: str, cached: bool) -> Callable[[Any], int]:
        def __hash__(self: Any) -> int:
            return hash((salt, key(self)))

        def cached_hash(self: Any) -> int:
            found: int | None = self._cached_hash
            if found is None:
                found = self._cached_hash = hash((salt, key(self)))
            return found

        return cached_hash if cached else __hash__

    def _repr(self: Any) -> str:
        shown = ", ".join(f"{row.name}={getattr(self, row.name)!r}" for row in self.__value_fields__ if row.repr)
        return f"{self.__class__.__qualname__}({shown})"

    def _get_state(self: Any) -> tuple[Any, ...]:
        return tuple(getattr(self, row.name) for row in self.__value_fields__)

    def _set_state(self: Any, state: tuple[Any, ...]) -> None:
        for row, value in zip(self.__value_fields__, state, strict=True):
            setattr(self, row.name, value)
        if _HASH in self.__slots__:
            self._cached_hash = None

    class _Attributes:
        """What attrs knows of a class, made when attrs first asks for it."""

        def __get__(self, value: Any, cls: type) -> Any:
            return _attributes(cls)

    @cache
    def _attributes(cls: type) -> Any:
        import attrs

        described = {}
        for row in cls.__value_fields__:
            default = attrs.Factory(row.factory) if row.factory is not None else row.default
            default = attrs.NOTHING if default is _NOTHING else default
            described[row.name] = attrs.field(default=default, init=row.init, repr=row.repr, eq=row.eq, kw_only=True)
        return attrs.fields(attrs.make_class(cls.__name__, described))

    _ATTRIBUTES: Final = _Attributes()

__all__ = ["define", "evolve", "field", "fields", "frozen"]
