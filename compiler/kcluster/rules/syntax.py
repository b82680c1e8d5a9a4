"""Pages of what the parser reports (KC0xx)."""

from __future__ import annotations

from kcluster.rules.registry import documented


@documented("KC001")
def unexpected_token() -> None:
    """
    What it checks
    Every word, sign and value stands where the language has a place for it. The message says what was expected there and what
    stands there instead.

    Why
    The language is small on purpose: blocks `word name { … }`, attributes `name = value`, bounds `name <= value`. A sign too
    many or too few would otherwise be taken for something that the author did not mean. The parser goes on after the
    mistake, so one run reports every one.

    Example
    ```kcluster bad
    model llama {
      id      = "meta-llama/Llama-3.1-8B-Instruct"
      weights = = bf16   #! KC001
    }
    hardware box { gpus = 1 * l40s }
    sla team { concurrency = 8, context = 8K, prompt = 2K, completion = 500 }
    ```

    ```kcluster good
    model llama { id = "meta-llama/Llama-3.1-8B-Instruct", weights = bf16 }
    hardware box { gpus = 1 * l40s }
    sla team { concurrency = 8, context = 8K, prompt = 2K, completion = 500 }
    ```

    Fix
    Write what the message says was expected. An attribute ends at the end of its line, at `,` or at `}`; nothing else
    separates attributes, and new lines inside a value are free only within `[ ]` and `( )`.

    Source
    The grammar, `grammar/kcluster.lark`, which is the only definition of the syntax.
    """


@documented("KC002")
def unterminated() -> None:
    """
    What it checks
    Every string ends on its line, and every `{`, `[` and `(` is closed. The opening is labelled, since that is where the
    mistake was made, not the end of the file where it was noticed.

    Why
    A block that is never closed swallows the rest of the file, and every finding after it would be about the wrong thing.

    Example
    ```kcluster bad
    model llama { id = "meta-llama/Llama-3.1-8B-Instruct" }
    hardware box { gpus = 1 * l40s, model_path = "/models }
    #!^ KC002
    sla team { concurrency = 8, context = 8K, prompt = 2K, completion = 500 }
    ```

    ```kcluster good
    model llama { id = "meta-llama/Llama-3.1-8B-Instruct" }
    hardware box { gpus = 1 * l40s, model_path = "/models" }
    sla team { concurrency = 8, context = 8K, prompt = 2K, completion = 500 }
    ```

    Fix
    Close what the label points at. A string cannot hold a line end; `\\n` inside it is the escape for one.

    Source
    The grammar, `grammar/kcluster.lark`.
    """


@documented("KC003")
def bad_escape() -> None:
    r"""
    What it checks
    A backslash inside a string starts one of the escapes of JSON: `\"`, `\\`, `\/`, `\b`, `\f`, `\n`, `\r`, `\t` or `\u` with four
    hexadecimal digits.

    Why
    A path typed with backslashes, or a shell's escape, would silently become another string. Strings go into scripts and
    configurations, so what they hold must be certain.

    Example
    ```kcluster bad
    model llama { id = "meta-llama/Llama-3.1-8B-Instruct" }
    hardware box { gpus = 1 * l40s }
    sla team { concurrency = 8, context = 8K, prompt = 2K, completion = 500 }
    serve chat {
      model = llama, hardware = box, sla = team
      engine vllm {
        env { VLLM_LOGGING_PREFIX = "chat\! " }   #! KC003
      }
    }
    ```

    ```kcluster good
    model llama { id = "meta-llama/Llama-3.1-8B-Instruct" }
    hardware box { gpus = 1 * l40s }
    sla team { concurrency = 8, context = 8K, prompt = 2K, completion = 500 }
    serve chat {
      model = llama, hardware = box, sla = team
      engine vllm {
        env { VLLM_LOGGING_PREFIX = "chat! " }
      }
    }
    ```

    Fix
    Double the backslash where one is meant, else use the escape that is meant.

    Source
    RFC 8259, section 7, lists the escapes of JSON strings.
    """


@documented("KC004")
def invisible_character() -> None:
    """
    What it checks
    The file is UTF-8, and holds no control characters other than tab and line ends (Unicode category Cc) and no invisible or
    bidirectional ones (Cf), in strings and comments too. In the example, `<U+200B>` stands for a zero-width space.

    Why
    Characters that nobody sees make two strings that look equal differ, and bidirectional ones make a line read otherwise than it
    runs. They come with text copied from chats and web pages, and an address or a flag that holds one fails far from here.

    Example
    ```kcluster bad
    # the small<U+200B> one   #! KC004
    model llama { id = "meta-llama/Llama-3.1-8B-Instruct" }
    hardware box { gpus = 1 * l40s }
    sla team { concurrency = 8, context = 8K, prompt = 2K, completion = 500 }
    ```

    ```kcluster good
    model llama { id = "meta-llama/Llama-3.1-8B-Instruct" }
    hardware box { gpus = 1 * l40s }
    sla team { concurrency = 8, context = 8K, prompt = 2K, completion = 500 }
    ```

    Fix
    Delete the character that the finding points at; the message names it. Save the file as UTF-8.

    Source
    Unicode Technical Report 36, section 3; CVE-2021-42574 for the bidirectional case.
    """


@documented("KC005")
def bad_number() -> None:
    """
    What it checks
    A number is digits, with single `_` between them and at most one fraction. There are no signs, no exponents and no
    hexadecimal ones.

    Why
    No quantity of a cluster is negative, and `1e3`, `0x40` or `08` are read differently by the tools that the value would end up
    in (YAML reads `1e3` as a string or a number depending on its version).

    Example
    ```kcluster bad
    model llama { id = "meta-llama/Llama-3.1-8B-Instruct" }
    hardware box { gpus = 1 * l40s }
    sla team {
      concurrency = 8
      context     = 8e3   #! KC005
      prompt      = 2K
      completion  = 500
    }
    ```

    ```kcluster good
    model llama { id = "meta-llama/Llama-3.1-8B-Instruct" }
    hardware box { gpus = 1 * l40s }
    sla team { concurrency = 8, context = 8k, prompt = 2K, completion = 500 }
    ```

    Fix
    Write the number out (`8_000`), or with a suffix: `8k` is 8,000 tokens and `8K` is 8,192.

    Source
    The grammar, `grammar/kcluster.lark`. The suffixes are the engine's own: vLLM reads `--max-model-len 8k` as 8,000 and `8K` as
    8,192.
    """


@documented("KC006")
def unknown_unit() -> None:
    """
    What it checks
    What follows a number is a unit of the language: bytes (`KB`, `MB`, `GB`, `TB`, `KiB`, `MiB`, `GiB`, `TiB`), rates (`GB/s`, `Gb/s`,
    `25GbE`), times (`us`, `ms`, `s`, `min`, `h`), `tok/s`, `%`, or a token suffix (`k`, `K`, `m`, `M`).

    Why
    `GB` and `Gb` are eight apart, `GB` and `GiB` seven per cent; a unit that is guessed is a figure that is wrong.

    Example
    ```kcluster bad
    model llama { id = "meta-llama/Llama-3.1-8B-Instruct" }
    hardware box { gpus = 1 * l40s }
    sla team {
      concurrency = 8
      context     = 8K
      prompt      = 2K
      completion  = 500
      ttft       <= 2sek   #! KC006
    }
    ```

    ```kcluster good
    model llama { id = "meta-llama/Llama-3.1-8B-Instruct" }
    hardware box { gpus = 1 * l40s }
    sla team {
      concurrency = 8
      context     = 8K
      prompt      = 2K
      completion  = 500
      ttft       <= 2s
    }
    ```

    Fix
    Take the unit that the message suggests. Counts and tokens need none.

    Source
    GB is 10^9 bytes and GiB 2^30 by IEC 80000-13.
    """


@documented("KC007")
def beyond_limits() -> None:
    """
    What it checks
    The file is not larger, its brackets not deeper and its numbers not longer than any real spec needs.

    Why
    A spec is read by editors and by machines that build from text they did not write. A limit ends a hostile or broken file with
    one finding instead of minutes of work or a full memory.

    Example
    ```kcluster bad
    model llama { id = "meta-llama/Llama-3.1-8B-Instruct" }
    hardware box { gpus = 1 * l40s }
    sla team {
      concurrency = 8
      context     = 99999999999999999999999999999999   #! KC007
      prompt      = 2K
      completion  = 500
    }
    ```

    ```kcluster good
    model llama { id = "meta-llama/Llama-3.1-8B-Instruct" }
    hardware box { gpus = 1 * l40s }
    sla team { concurrency = 8, context = 8K, prompt = 2K, completion = 500 }
    ```

    Fix
    Write the number that is meant. A file that is too large wants to be several, joined by `import`.

    Source
    The limits stand in `compiler/kcluster/syntax/parser.py`; the largest spec in `specs/` is a hundred times below them.
    """
