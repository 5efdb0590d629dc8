"""The command `refrain bench prepare`."""

from .options import Device


def bench_prepare(
    recipe: str,
    settings: tuple[str, ...],
    data: str | None,
    megabytes: int | None,
    repeats: int,
    device: Device,
    *,
    json: bool,
) -> None:
    """Measure how fast a text is prepared by one process and by several, and print a row for each.

    Args:
        recipe: the recipe whose settings of the data are used.
        settings: settings of the data that change the recipe; `data.workers` is the number of processes.
        data: the corpus; None for a text that is made.
        megabytes: the size of that text in MB; None is 100.
        repeats: the number of measurements of each number of processes.
        device: must be `cpu` or `auto`.
        json: whether one JSON object is printed.

    Raises:
        UserError: when a number is not positive, the device is not the CPU, or the unit needs no preparation.
    """
    from refrain.config import Experiment, resolve
    from refrain.errors import UserError
    from refrain.recipes import RECIPES

    from .bench_table import table_of
    from .corpus import resolved_corpus
    from .output import log, print_json

    if device == "cuda":
        raise UserError("bench prepare measures the CPU; use --device cpu")
    if megabytes is not None and data is not None:
        raise UserError("--megabytes is the size of a text that is made; leave out --data, or --megabytes")
    size = 100 if megabytes is None else megabytes
    if min(size, repeats) < 1:
        raise UserError(f"--megabytes and --repeats must be at least 1 (got {size} and {repeats})")
    experiment = resolve(recipe, settings, RECIPES, corpus=resolved_corpus(data))
    if not isinstance(experiment, Experiment) or experiment.data.unit == "byte":
        raise UserError("bench prepare measures words, characters and subwords; set data.unit=word")

    from refrain.bench import prepare
    from refrain.progress import reporter, timing_reports

    chosen = experiment.data
    workers = chosen.workers or 2
    if workers < 2:
        raise UserError(f"data.workers is compared with one process, and must be at least 2 (got {workers})")
    if data is None:
        limits = {"min_count": 5} if chosen.unit == "word" and not chosen.is_changed("min_count") else {}
        chosen = chosen.model_copy(update={"corpus": prepare.MADE, **limits})
    log(f"{repeats} repeat{'s' * (repeats > 1)} of {f'{size:,} MB of text' if data is None else data}")
    with timing_reports(reporter()).step("measuring prepare, in turns"):
        rows = prepare.bench_prepare(chosen, megabytes=size, workers=workers, repeats=repeats)
    if json:
        print_json({"bench": "prepare", "unit": chosen.unit, "rows": rows})
    else:
        print(table_of(rows))
