"""Pages of what resolving reports (KC1xx): names, kinds and references."""

from __future__ import annotations

from kcluster.rules.registry import documented


@documented("KC101")
def unknown_block() -> None:
    """
    What it checks
    A block's word is one that the language has at that place: `model`, `hardware`, `gpu`, `sla`, `serve`, `router` and `monitor` at
    the top of a file, and inside them the blocks that they hold.

    Why
    A block that is not understood would be ignored in silence, and with it what it was meant to set.

    Example
    ```kcluster bad
    model llama { id = "meta-llama/Llama-3.1-8B-Instruct" }
    hardwear box { gpus = 1 * l40s }   #! KC101
    hardware box { gpus = 1 * l40s }
    sla team { concurrency = 8, context = 8K, prompt = 2K, completion = 500 }
    ```

    ```kcluster good
    model llama { id = "meta-llama/Llama-3.1-8B-Instruct" }
    hardware box { gpus = 1 * l40s }
    sla team { concurrency = 8, context = 8K, prompt = 2K, completion = 500 }
    ```

    Fix
    Take the nearest name, which the message gives, or move the block to where it belongs.

    Source
    The table of blocks in `grammar/README.md`.
    """


@documented("KC102")
def unknown_attribute() -> None:
    """
    What it checks
    An attribute is one that its block has.

    Why
    A misspelt attribute would leave its default standing, which is the hardest mistake to see: the line is there, and does nothing.

    Example
    ```kcluster bad
    model llama { id = "meta-llama/Llama-3.1-8B-Instruct" }
    hardware box { gpus = 1 * l40s }
    sla team {
      concurency  = 32   #! KC102
      concurrency = 8
      context     = 8K
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
    Take the nearest name, which the message gives. A flag of the engine that the language has no attribute for goes into
    `args { "--flag" = value }`.

    Source
    The table of blocks in `grammar/README.md`.
    """


@documented("KC103")
def wrong_kind() -> None:
    """
    What it checks
    A value is of the kind that its attribute takes: a number, a size, a time, a rate, a word out of a list, a string, a list, `on` or
    `off`; and its unit is of that kind.

    Why
    A bare `3` for a time could be seconds or milliseconds, and `2GB` for one is a slip. What is meant is asked, not guessed.

    Example
    ```kcluster bad
    model llama { id = "meta-llama/Llama-3.1-8B-Instruct" }
    hardware box { gpus = 1 * l40s }
    sla team {
      concurrency = 8
      context     = 8K
      prompt      = 2K
      completion  = 500
      ttft       <= 2GB   #! KC103
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
    Write a value of the kind that the message names, with its unit.

    Source
    The table of blocks in `grammar/README.md`.
    """


@documented("KC104")
def given_twice() -> None:
    """
    What it checks
    An attribute stands once in its block, a name once among blocks of its kind, and a block that can stand once does.

    Why
    Of two values one would be ignored, and which one is not to be seen in the file.

    Example
    ```kcluster bad
    model llama { id = "meta-llama/Llama-3.1-8B-Instruct" }
    hardware box { gpus = 1 * l40s }
    sla team {
      concurrency = 8
      context     = 8K
      prompt      = 2K
      completion  = 500
      concurrency = 16   #! KC104
    }
    ```

    ```kcluster good
    model llama { id = "meta-llama/Llama-3.1-8B-Instruct" }
    hardware box { gpus = 1 * l40s }
    sla team { concurrency = 16, context = 8K, prompt = 2K, completion = 500 }
    ```

    Fix
    Delete one of the two; the first is labelled.

    Source
    The language, `grammar/README.md`.
    """


@documented("KC105")
def missing() -> None:
    """
    What it checks
    What a block cannot do without is there: a model's `id` or `config`, a hardware's `gpus`, and a serve's model and hardware where a
    file has several.

    Why
    Everything that has a sensible default has one; what is left is what only the author knows.

    Example
    ```kcluster bad
    model llama { id = "meta-llama/Llama-3.1-8B-Instruct" }
    hardware box { bus = pcie(4, x16) }   #! KC105
    sla team { concurrency = 8, context = 8K, prompt = 2K, completion = 500 }
    ```

    ```kcluster good
    model llama { id = "meta-llama/Llama-3.1-8B-Instruct" }
    hardware box { gpus = 1 * l40s, bus = pcie(4, x16) }
    sla team { concurrency = 8, context = 8K, prompt = 2K, completion = 500 }
    ```

    Fix
    Add the attribute that the message names.

    Source
    The table of blocks in `grammar/README.md`.
    """


@documented("KC106")
def unresolved_reference() -> None:
    """
    What it checks
    A name that a serve gives for its model, hardware, SLA or router is the name of such a block, here or in an imported file; a node or
    GPU that it picks exists.

    Why
    A serve without its model, or on a card that the machine lacks, is no plan.

    Example
    ```kcluster bad
    model llama { id = "meta-llama/Llama-3.1-8B-Instruct" }
    hardware box { gpus = 1 * l40s }
    sla team { concurrency = 8, context = 8K, prompt = 2K, completion = 500 }
    serve chat {
      model    = lama   #! KC106
      hardware = box
      sla      = team
    }
    ```

    ```kcluster good
    model llama { id = "meta-llama/Llama-3.1-8B-Instruct" }
    hardware box { gpus = 1 * l40s }
    sla team { concurrency = 8, context = 8K, prompt = 2K, completion = 500 }
    serve chat {
      model    = llama
      hardware = box
      sla      = team
    }
    ```

    Fix
    Take the nearest name, which the message gives, or add the block.

    Source
    The language, `grammar/README.md`.
    """


@documented("KC107")
def not_in_catalog() -> None:
    """
    What it checks
    A GPU, a model, a bus or a network is one that the catalog has a row for, or that the spec itself describes; and a model's
    architecture is one whose parameters and KV cache are understood.

    Why
    A guess at a card's memory or a model's layers would make every later figure a guess. A `config.json` of an architecture that is not
    understood is refused for the same reason, even though its fields can be read.

    Example
    ```kcluster bad
    model llama { id = "meta-llama/Llama-3.1-8B-Instruct" }
    hardware box { gpus = 1 * rtx-5099 }   #! KC107
    sla team { concurrency = 8, context = 8K, prompt = 2K, completion = 500 }
    ```

    ```kcluster good
    model llama { id = "meta-llama/Llama-3.1-8B-Instruct" }
    hardware box { gpus = 1 * rtx-5090 }
    sla team { concurrency = 8, context = 8K, prompt = 2K, completion = 500 }
    ```

    Fix
    Take the nearest name. A card that the catalog lacks is described by a `gpu NAME { memory = …, bandwidth = … }` block, a model by
    `config = "config.json"` or an inner `architecture` block.

    Source
    `kcluster catalog list gpus`, `models` and `links` print every row with its source.
    """


@documented("KC108")
def unused_block() -> None:
    """
    What it checks
    Every model, hardware, SLA, GPU and router block is used by a serve.

    Why
    A block that nothing uses is usually one that a serve was meant to name; its figures are in no plan.

    Example
    ```kcluster bad
    model llama { id = "meta-llama/Llama-3.1-8B-Instruct" }
    model qwen { id = "Qwen/Qwen3-8B" }   #! KC108
    hardware box { gpus = 1 * l40s }
    sla team { concurrency = 8, context = 8K, prompt = 2K, completion = 500 }
    serve chat {
      model    = llama
      hardware = box
      sla      = team
    }
    ```

    ```kcluster good
    model llama { id = "meta-llama/Llama-3.1-8B-Instruct" }
    hardware box { gpus = 1 * l40s }
    sla team { concurrency = 8, context = 8K, prompt = 2K, completion = 500 }
    serve chat {
      model    = llama
      hardware = box
      sla      = team
    }
    ```

    Fix
    Name the block in a serve, or delete it. Blocks of an imported file are not reported: a shared file may hold more than one spec uses.

    Source
    The language, `grammar/README.md`.
    """


@documented("KC109")
def bad_import() -> None:
    """
    What it checks
    An imported file exists, lies inside the project, and does not import its importer again.

    Why
    A spec is judged with everything that it brings in; a file from elsewhere on the machine would make the result depend on the machine.

    Example
    ```kcluster bad
    import "shared/modles.kcluster"   #! KC109
    model llama { id = "meta-llama/Llama-3.1-8B-Instruct" }
    hardware box { gpus = 1 * l40s }
    sla team { concurrency = 8, context = 8K, prompt = 2K, completion = 500 }
    ```

    ```kcluster good
    import "shared/models.kcluster"
    hardware box { gpus = 1 * l40s }
    sla team { concurrency = 8, context = 8K, prompt = 2K, completion = 500 }
    ```

    ```kcluster file=shared/models.kcluster
    model llama { id = "meta-llama/Llama-3.1-8B-Instruct" }
    ```

    Fix
    Correct the path, which is relative to the importing file. The project's root is the nearest folder with a `kcluster.toml`, a
    `pyproject.toml` or a `.git`, else the file's own folder.

    Source
    The language, `grammar/README.md`.
    """


@documented("KC110")
def bound_or_value() -> None:
    """
    What it checks
    `tokens_per_second` and `throughput` are bounds from below (`>=`), `ttft`, `itl` and `answer` from above (`<=`), and every other
    attribute is a value (`=`).

    Why
    A bound says what is asked of the cluster, a value what it is. Written the other way round, a limit reads as a setting.

    Example
    ```kcluster bad
    model llama { id = "meta-llama/Llama-3.1-8B-Instruct" }
    hardware box { gpus = 1 * l40s }
    sla team {
      concurrency = 8
      context     = 8K
      prompt      = 2K
      completion  = 500
      ttft        = 2s   #! KC110
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
    `kcluster lint --fix` writes the sign that belongs there.

    Source
    The language, `grammar/README.md`.
    """


@documented("KC111")
def useless_suppression() -> None:
    """
    What it checks
    A `# kcluster: ignore[KC204] reason` gives a reason, names codes that exist, and silences a finding of each.

    Why
    A finding that was silenced stays silenced when the spec changes. The reason is what lets the next reader judge whether it still
    holds, and a suppression without a finding hides the next one.

    Example
    ```kcluster bad
    model llama { id = "meta-llama/Llama-3.1-8B-Instruct" }
    hardware box { gpus = 1 * l40s }
    sla team {
      concurrency = 8   # kcluster: ignore[KC203] short chats only
      #!^ KC111
      context     = 8K
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
    Give the reason after the bracket, or delete the comment or the code that silences nothing.

    Source
    The language, `grammar/README.md`.
    """


@documented("KC112")
def cards_claimed_twice() -> None:
    """
    What it checks
    No card belongs to two serves, unless both pin it (`gpus = [0]`) and their `gpu_memory_utilization` add up to at most 1.

    Why
    Each engine takes its share of a card's whole memory at the start. The second of two engines on one card finds less free than it
    asks for and refuses to start.

    Example
    ```kcluster bad
    model llama { id = "meta-llama/Llama-3.1-8B-Instruct" }
    hardware box { gpus = 2 * l40s }
    sla team { concurrency = 4, context = 4K, prompt = 1K, completion = 500 }
    serve one {
      model = llama, hardware = box, sla = team
      gpus  = [0]
    }
    serve two {
      model = llama, hardware = box, sla = team
      gpus  = [0]   #! KC112
      engine vllm { port = 8001 }
    }
    ```

    ```kcluster good
    model llama { id = "meta-llama/Llama-3.1-8B-Instruct" }
    hardware box { gpus = 2 * l40s }
    sla team { concurrency = 4, context = 4K, prompt = 1K, completion = 500 }
    serve one {
      model = llama, hardware = box, sla = team
      gpus  = [0]
    }
    serve two {
      model = llama, hardware = box, sla = team
      gpus  = [1]
      engine vllm { port = 8001 }
    }
    ```

    Fix
    Give each serve cards of its own, or set both utilizations so that they add up to at most 1.

    Source
    vLLM 0.33, `v1/worker/utils.py`: an instance asks for total × `gpu_memory_utilization` and refuses where less is free; the value is per
    instance and not shared.
    """
