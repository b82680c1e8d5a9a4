"""Known mistakes: the sentence, what a fix makes of the text, and what is understood all the same."""

from __future__ import annotations

import pytest

from .reading import mended, read, sound, trees

SAFE = [
    # (text, code, part of the message, the text with the fix)
    ("a { tp: 4 }", "KC001", "a value is given with `=`, not `:`", "a { tp = 4 }"),
    ("a { tp == 4 }", "KC001", "not `==`", "a { tp = 4 }"),
    ("a { ttft < 3s }", "KC001", "this bound is written `<=`, not `<`", "a { ttft <= 3s }"),
    ("a { ttft =< 3s }", "KC001", "not `=<`", "a { ttft <= 3s }"),
    ("a { tput ≥ 3 }", "KC001", "not `≥`", "a { tput >= 3 }"),
    ("a { tp = 4; pp = 1 }", "KC001", "without `;`", "a { tp = 4, pp = 1 }"),
    ("a {\n  tp = 4;\n}", "KC001", "without `;`", "a {\n  tp = 4\n}"),
    ("a { x = 'b' }", "KC001", "double quotes", 'a { x = "b" }'),
    ("a { x = “b” }", "KC001", "straight quotes", 'a { x = "b" }'),
    ("a { // c\n}", "KC001", "a comment begins with `#`", "a { # c\n}"),
    ("args { --flag = on }", "KC001", "a raw flag goes in quotes", 'args { "--flag" = on }'),
    ("a { id = meta/Llama-3 }", "KC001", "such text goes in quotes", 'a { id = "meta/Llama-3" }'),
    ("a { config = ./c.json }", "KC001", "such text goes in quotes", 'a { config = "./c.json" }'),
    ("a { h = [10.0.0.1:80] }", "KC001", "such text goes in quotes", 'a { h = ["10.0.0.1:80"] }'),
    ("a { x = modèle }", "KC001", "`modèle` is no word", 'a { x = "modèle" }'),
    ("engine vllm:0.33 { }", "KC001", "such text goes in quotes", 'engine "vllm:0.33" { }'),
    ("import base.kcluster\n", "KC001", "the path of an import goes in quotes", 'import "base.kcluster"\n'),
    ('import = "x"\n', "KC001", "an import takes no `=`", 'import "x"\n'),
    ('include "x"\n', "KC001", "by `import`, not `include`", 'import "x"\n'),
    ("a { v = 0.33.1 }", "KC005", "a version or an address goes in quotes", 'a { v = "0.33.1" }'),
    ("a { x = 1e6 }", "KC005", "there are no exponents", "a { x = 1000000 }"),
    ("a { x = 1.5e3 }", "KC005", "there are no exponents", "a { x = 1500 }"),
    ("a { x = 25e-2 }", "KC005", "there are no exponents", "a { x = 0.25 }"),
    ("a { x = 0x1F }", "KC005", "there are no hexadecimal numbers", "a { x = 31 }"),
    ("a { x = 0b101 }", "KC005", "there are no binary numbers", "a { x = 5 }"),
    ("a { x = +3 }", "KC005", "numbers have no sign", "a { x = 3 }"),
    ("a { x = .5 }", "KC005", "a digit belongs before the point", "a { x = 0.5 }"),
    ("a { x = 5. }", "KC005", "a digit belongs after the point", "a { x = 5 }"),
    ("a { x = 1__0 }", "KC005", "`_` stands between two digits", "a { x = 1_0 }"),
    ("a { x = 131,072 }", "KC005", "thousands are set off by `_`", "a { x = 131_072 }"),
    ("a { x = 1,000,000 }", "KC005", "thousands are set off by `_`", "a { x = 1_000_000 }"),
    ("a { g = [0-3] }", "KC001", "a range is written `0..3`", "a { g = [0..3] }"),
    ("a { g = 0..3 }", "KC001", "a range stands in a list", "a { g = [0..3] }"),
    ("a { x = 4 × y }", "KC001", "is written `*`", "a { x = 4 * y }"),
    ("a { x\u00a0= 3 }", "KC001", "U+00A0 (no-break space)", "a { x = 3 }"),
    ("a { tp 4 }", "KC001", "`=` is missing after `tp`", "a { tp = 4 }"),
    ("a { w fp8 }", "KC001", "`=` is missing after `w`", "a { w = fp8 }"),
    ('a { k env("X") }', "KC001", "`=` is missing after `k`", 'a { k = env("X") }'),
    ("a { l [1] }", "KC001", "`=` is missing after `l`", "a { l = [1] }"),
    ("a {\n  tp =\n    4\n}", "KC001", "the value of `tp` stands on the line", "a {\n  tp = 4\n}"),
    ("a {\n  tp\n  = 4\n}", "KC001", "the `=` of `tp` stands on the line", "a {\n  tp = 4\n}"),
    ("model x\n{\n a = 1\n}", "KC001", "the `{` of `model x` stands on the line", "model x {\n a = 1\n}"),
    ("parallel = { tp = 1 }", "KC001", "the block `parallel` takes no `=`", "parallel { tp = 1 }"),
    ("model: x { a = 1 }", "KC001", "the head of a block takes no `:`", "model x { a = 1 }"),
    ("a { tp = 4 pp = 1 }", "KC001", "is missing before `pp`", "a { tp = 4, pp = 1 }"),
    ("a { w = fp8 b { } }", "KC001", "is missing before `b`", "a { w = fp8, b { } }"),
    ('a { h = ["x" "y"] }', "KC001", "`,` is missing between", 'a { h = ["x", "y"] }'),
    ("a { b = f(x16 p2p = off) }", "KC001", "`,` is missing between", "a { b = f(x16, p2p = off) }"),
    ("a { g = 4x rtx-5090 }", "KC001", "a count is written `4 * rtx-5090`", "a { g = 4 * rtx-5090 }"),
    ("a { n = 8 infiniband(ndr) }", "KC001", "a count is written", "a { n = 8 * infiniband(ndr) }"),
    ('a { g = 4 "RTX 5090" }', "KC001", "a count is written", 'a { g = 4 * "RTX 5090" }'),
    ("a { g = rtx-5090 * 4 }", "KC001", "the count comes first", "a { g = 4 * rtx-5090 }"),
    ("a { g = rtx-5090 x 4 }", "KC001", "the count comes first", "a { g = 4 * rtx-5090 }"),
    ("a { x = = 3 }", "KC001", "`=` stands twice", "a { x = 3 }"),
    ("a { x = [1,,2] }", "KC001", "`,` stands twice", "a { x = [1,2] }"),
    ("a { x = 1,, y = 2 }", "KC001", "nothing stands before this `,`", "a { x = 1, y = 2 }"),
    ("a { tp tp = 4 }", "KC001", "`tp` stands twice", "a { tp = 4 }"),
    ("a { b = f(p2p <= off) }", "KC001", "an argument is given with `=`", "a { b = f(p2p = off) }"),
    ('a { x = "\\\'" }', "KC003", "`\\'` is not an escape", 'a { x = "\'" }'),
    ("a { x = \u200b3 }", "KC004", "invisible character U+200B (zero width space)", "a { x = 3 }"),
    ("model x\n  a = 1\n}\n", "KC001", "`{` is missing after `model x`", "model x {\n  a = 1\n}\n"),
    ("p tp = 4 }\n", "KC001", "`{` is missing after `p`", "p { tp = 4 }\n"),
]


@pytest.mark.parametrize(("text", "code", "message", "right"), SAFE, ids=[text for text, *_ in SAFE])
def test_safe_fix(text: str, code: str, message: str, right: str) -> None:
    file, found = read(text)
    assert [one.code for one in found] == [code]
    assert message in found[0].message
    assert not file.complete
    assert [fix.safety for fix in found[0].fixes] == ["safe"]
    assert mended(text, found) == right
    # What recovery understood is what the fix says: the spec is judged as the author meant it.
    assert trees(file) == trees(sound(right))


UNSAFE = [
    ("a { x => 3 }", "KC001", "not `=>`", "a { x >= 3 }"),
    ("a { max num seqs = 4 }", "KC001", "names hold no blanks", "a { max_num_seqs = 4 }"),
    ("a { x = [1, }", "KC002", "this `[` is never closed", "a { x = [1,] }"),
    ('a { x = "b }\nc { }', "KC002", "the string is never closed", 'a { x = "b" }\nc { }'),
    ('model "x {\n y = 1\n}\n', "KC002", "the string is never closed", 'model "x" {\n y = 1\n}\n'),
    ('a { x = ["b, 1] # c\n}', "KC002", "the string is never closed", 'a { x = ["b, 1"] # c\n}'),
    ('a { x = "C:\\models" }', "KC003", "`\\m` is not an escape", 'a { x = "C:\\\\models" }'),
    ('a { x = "\\u0000" }', "KC003", "the null character", 'a { x = "\\\\u0000" }'),
    ("a { b = f(1] }\n", "KC001", "`(` is closed by `)`, not by `]`", "a { b = f(1) }\n"),
    ("a { b = [f(1] }\n", "KC002", "this `(` is never closed", "a { b = [f(1)] }\n"),
    ("a { b = 1 } }\nc { }\n", "KC001", "a `}` too many", "a { b = 1  }\nc { }\n"),
    ("a {\n  b = 1\n", "KC002", "the block `a` is never closed", "a {\n  b = 1\n}\n"),
    ("a {\n  b = 1", "KC002", "the block `a` is never closed", "a {\n  b = 1\n}"),
    ("a {\n  b {\n    c = 1\n}\nd { }\n", "KC002", "the block `b` is never closed", "a {\n  b {\n    c = 1\n  }\n}\nd { }\n"),
    ("a {\n  b { c = 1\n  d = 2\n}\n", "KC002", "the block `b` is never closed", "a {\n  b { c = 1 }\n  d = 2\n}\n"),
    ("a { b = [1,{ 2] }\nc { }\n", "KC001", "a `{` too many", "a { b = [1, 2] }\nc { }\n"),
    ("a { b = f(1, p} = 2) }\nc { }\n", "KC001", "a `}` too many", "a { b = f(1, p = 2) }\nc { }\n"),
    ("a b /\n  c = 1\n}\nd { }\n", "KC001", "`{` is missing after `a b`, where `/` stands", "a b {\n  c = 1\n}\nd { }\n"),
    ("a 3\n  c = 1\n}\nd { }\n", "KC001", "`{` is missing after `a`, where `3` stands", "a {\n  c = 1\n}\nd { }\n"),
    ("a {\n  b = f(1,\n  c = 2)\n  d = [1,\n  e = 3\n}\n", "KC002", "this `[` is never", "a {\n  b = f(1,\n  c = 2)\n  d = [1,]\n  e = 3\n}\n"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "code", "message", "right"), UNSAFE, ids=[text for text, *_ in UNSAFE])
def test_unsafe_fix(text: str, code: str, message: str, right: str) -> None:
    file, found = read(text)
    assert [one.code for one in found] == [code]
    assert message in found[0].message
    assert not file.complete
    assert [fix.safety for fix in found[0].fixes] == ["unsafe"]
    assert mended(text, found) == right
    sound(right)


@pytest.mark.parametrize(
    ("text", "code", "message", "understood"),
    [
        ("a { x != 3, y = 1 }", "KC001", "`!=` has no meaning here", [("a", [], [("y", "=", 1)])]),
        ("a { x = -3, y = 1 }", "KC005", "numbers have no sign", [("a", [], [("y", "=", 1)])]),
        ("a { x = 2 * b + 2 * c\n y = 1 }", "KC001", "values are not added up", [("a", [], [("y", "=", 1)])]),
        ("a { x = 12345678901234567890, y = 1 }", "KC007", "20 digits", [("a", [], [("y", "=", 1)])]),
        ("a { x = 1e99 }", "KC005", "there are no exponents", [("a", [], [])]),
        ("a { /* c\n d */ x = 1 }", "KC001", "ends with its line", [("a", [], [("x", "=", 1)])]),
        ("a { x @ 3 }", "KC001", "`@` has no meaning here", [("a", [], [])]),
        ("a { modèle = 3, y = 1 }", "KC001", "U+00E8", [("a", [], [("y", "=", 1)])]),
        ("a { tp = , pp = 1 }", "KC001", "a value is missing after `tp =`", [("a", [], [("pp", "=", 1)])]),
        ("a {\n  tp =\n  pp = 1\n}", "KC001", "a value is missing after `tp =`", [("a", [], [("pp", "=", 1)])]),
        ("a { x = 3 4 }", "KC001", "expected the end of the line after the value, found `4`", [("a", [], [("x", "=", 3)])]),
        ("a { b }", "KC001", "expected `=`, `<=`, `>=` or `{` after `b`, found `}`", [("a", [], [])]),
        ("b c\n", "KC001", "expected `{` after `b c`, found the end of the line", []),
        ("b\nc { }", "KC001", "after `b`, found the end of the line", [("c", [], [])]),
        ("5 = 3\na { }", "KC001", "expected a block or an import, found `5`", [("a", [], [])]),
        ("x { { a = 1 } b = 2 }", "KC001", "expected an attribute, a block or `}`, found `{`", [("x", [], [("b", "=", 2)])]),
        ('a { x = b" }\n', "KC002", 'a `"` closes what no `"` opened', [("a", [], [("x", "=", '"b"')])]),
        ('a { x = "b"", y = 1 }\n', "KC002", 'a `"` too many', [("a", [], [("x", "=", '"b"'), ("y", "=", 1)])]),
        ("model 5 { x = 1 }", "KC001", "after `model`, found `5`", [("model", [], [("x", "=", 1)])]),
        ("model x! { y = 1 }", "KC001", "`!` has no meaning here", [("model", ["x"], [("y", "=", 1)])]),
        ("a { x = 64 GB per s }", "KC001", "found `per`", [("a", [], [])]),
        ("a { b = f(1,, }\nc { }", "KC002", "this `(` is never closed", [("a", [], [("b", "=", ("f", [1], {}))]), ("c", [], [])]),
        ("a { b = f 1) }\nc { }", "KC001", "a `)` too many", [("a", [], []), ("c", [], [])]),
        ("a {\n  b = 1\n  }\n  c = 2\n}\n", "KC001", "a `}` too many", [("a", [], [("b", "=", 1), ("c", "=", 2)])]),
        ("a {\n  b = 1\n} d { }\n  c = 2\n}\n", "KC001", "a `}` too many", [("a", [], [("b", "=", 1), ("d", [], []), ("c", "=", 2)])]),
        ("a {\n  b = 1\n} d {\n    c = 2\n  }\n}\n", "KC001", "a `}` too many", [("a", [], [("b", "=", 1), ("d", [], [("c", "=", 2)])])]),
        ("a {\n  b = 1\n} d {\n  c = 2\n}\n}\n", "KC001", "a `}` too many", [("a", [], [("b", "=", 1)]), ("d", [], [("c", "=", 2)])]),
        ("a { b = [{1}, 2] }\nc { }", "KC001", "a `{` too many", [("a", [], [("b", "=", [1, 2])]), ("c", [], [])]),
        ("a @\n  c = 1\n}\nd { }\n", "KC001", "`@` has no meaning here", [("a", [], [("c", "=", 1)]), ("d", [], [])]),
        ("a { }\n# b {\n  c = 1\n  e {\n    f = 2\n  }\n}\nd { }\n", "KC001", "a `}` too many", [("a", [], []), ("d", [], [])]),
        ('a {\n  b { k = f("X"} )\n}\n', "KC002", "this `(` is never closed", [("a", [], [("b", [], [("k", "=", ("f", ['"X"'], {}))])])]),
        ("import x y\na { }", "KC001", "expected a quoted path after `import`", [("a", [], [])]),
    ],
)  # fmt: skip
def test_no_fix(text: str, code: str, message: str, understood: list[object]) -> None:
    file, found = read(text)
    assert [one.code for one in found] == [code]
    assert message in found[0].message
    assert not file.complete
    assert trees(file) == understood


def test_several_mistakes_each_reported_once_and_in_order() -> None:
    file, found = read(
        "model x {\n  id: \"a\"\n  weights = = fp8\n}\nhardware y {\n  gpus = 4x b\n  hosts = ['h'\n  reserved = 1e3\n}\nsla z { a = }\n"
    )
    assert [(one.code, one.source.position(one.span.start).line) for one in found] == [
        ("KC001", 2),
        ("KC001", 3),
        ("KC001", 6),
        ("KC002", 7),
        ("KC001", 7),
        ("KC005", 8),
        ("KC001", 10),
    ]
    assert trees(file) == [
        ("model", ["x"], [("id", "=", '"a"'), ("weights", "=", "fp8")]),
        ("hardware", ["y"], [("gpus", "=", (4, "*", "b")), ("hosts", "=", ['"h"']), ("reserved", "=", 1000)]),
        ("sla", ["z"], []),
    ]


def test_the_opening_is_labelled() -> None:
    text = "a {\n  b {\n    c = 1\n}\nd { }\n"
    _, (found,) = read(text)
    assert found.source.slice(found.span) == "{"
    assert found.source.position(found.span.start).line == 2
    assert found.label == "opened here"
    assert found.source.position(found.labels[0].span.start).line == 4


def test_a_file_without_indentation_gets_one_report_for_a_lost_brace() -> None:
    _, found = read("a {\nb = 1\nc = 2\nd {\ne = 3\n}\nf = 1\n")
    assert [(one.code, one.message) for one in found] == [("KC002", "the block `a` is never closed")]


def test_fixes_do_not_touch_comments() -> None:
    text = "a {\n  tp = # why\n    4\n}\n"
    _, (found,) = read(text)
    assert found.fixes == ()
    text = "model x # why\n{\n}\n"
    _, found_ = read(text)
    assert mended(text, found_) == "model x { # why\n\n}\n"
