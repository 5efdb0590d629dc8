"""The JSON files of iss-rnns as settings: the code of Wen et al. (2018), arXiv 1709.05027, its directory `ptb`.

A file decides learning rate, dropout and everything about sparsity. Its keys are names of TensorFlow variables. Except
for the embedding, a matrix there is the transpose of ours: (inputs, outputs), the input weight of a layer on top of its
recurrent one.
"""

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from refrain.errors import UserError, shortened, shown

from .mistakes import first_of
from .toml_file import read_settings

TOP = ("save_path", "learning_rate", "weight_decay", "dropout_keep_prob", "grouplasso")
PER_VARIABLE = ("structure_decay_multi", "row_decay_multi", "col_decay_multi", "coupled_layer", "couple_split_num")
CELL = "Model/RNN/multi_rnn_cell/cell_{}/basic_lstm_cell/weights"
SOFTMAX = "Model/softmax_w"
EMBEDDING = "Model/embedding"
SMALLEST_THRESHOLD = 0.0001


def read_iss_json(path: str | Path) -> dict[str, Any]:
    """The document in a file; comments from `#` to the end of the line are left out.

    Args:
        path: of the file.

    Raises:
        UserError: when it cannot be read, or is not an object of JSON.
    """

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        counts = Counter(name for name, _ in pairs)
        if repeated := [name for name, count in counts.items() if count > 1]:
            raise ValueError(f"{shown(repeated[0])} is given twice")
        return dict(pairs)

    try:
        # strings first, so that a # inside of one stays
        text = re.sub(r'("(?:\\.|[^"\\\n])*+"?)|#[^\n]*', lambda match: match[1] or "", read_settings(Path(path)))
        document = json.loads(text, object_pairs_hook=once)
    except UserError:
        raise
    except RecursionError:
        raise UserError(f"{path}: is nested too deeply for settings; remove the surplus brackets") from None
    except ValueError as error:
        raise UserError(f"{path}: not JSON: {shortened(str(error), 200)}") from None
    if not isinstance(document, dict):
        raise UserError(f"{path}: must hold an object, as in {{'learning_rate': 1.0}}")
    return document


def iss_settings(document: Mapping[str, Any], model: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """What a file asks for, as settings.

    Args:
        document: as from `read_iss_json`.
        model: the settings of the model that it is for: `cell`, `hidden_sizes`, `tied`, `head`.

    Returns:
        Settings by name, none of which is a sparsity setting at its default; and what is wrong, a line each.
    """
    surplus = [name for name in document if name not in TOP]
    problems = first_of(surplus, lambda name: f"{shortened(name)}: unknown key; known: {', '.join(TOP)}")
    if not isinstance(document.get("save_path", ""), str):
        problems.append(f"save_path: must be text (got {shown(document['save_path'])})")
    numbers = {
        name: _number(document, name, problems)
        for name in ("learning_rate", "weight_decay", "dropout_keep_prob")
        if name in document
    }
    settings: dict[str, Any] = {}
    if (rate := numbers.get("learning_rate")) is not None:
        settings["training.learning_rate"] = rate
    if (keep := numbers.get("dropout_keep_prob")) is not None:
        if 0 < keep <= 1:
            # without the dust of binary fractions
            settings["model.dropout"] = round(1 - keep, 12)
        else:
            problems.append(f"dropout_keep_prob: must be greater than 0 and at most 1 (got {keep:g})")
    decay = numbers.get("weight_decay") or 0.0
    sparse: dict[str, Any] = {}
    if decay:
        sparse |= {"l1.strength": decay, "l1.on": ("stack.*", "head.*")}
    if "grouplasso" in document:
        sparse |= _group_lasso(document["grouplasso"], model, problems)
    if sparse:
        threshold = max(SMALLEST_THRESHOLD, 2 * decay)
        sparse |= {"strengths_for": "sum-over-time", "zeros": "threshold", "zeros.threshold": threshold}
    return settings | {f"sparsity.{name}": value for name, value in sparse.items()}, problems


def _number(group: Mapping[str, Any], name: str, problems: list[str], place: str = "") -> float | None:
    """A number of at least 0, or None where it is something else."""
    value = group[name]
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e100:
        problems.append(f"{place}{name}: must be a number of at least 0 (got {shown(value)})")
        return None
    return float(value)


def _group_lasso(section: Any, model: Mapping[str, Any], problems: list[str]) -> dict[str, Any]:
    """The section `grouplasso` as sparsity settings; nothing where something is wrong."""
    if not isinstance(section, dict):
        problems.append(f"grouplasso: must be an object (got {shown(section)})")
        return {}
    if (model["cell"], model["head"]) != ({"kind": "lstm"}, {"kind": "softmax"}) or model["tied"]:
        problems.append(
            "grouplasso: speaks of LSTM layers under a softmax with a weight of its own; "
            "it goes with model.cell=lstm model.head=softmax model.tied=false"
        )
        return {}
    if "global_decay" not in section:
        problems.append("grouplasso.global_decay: must be given")
        return {}
    strength = _number(section, "global_decay", problems, "grouplasso.")
    cells = [CELL.format(i) for i in range(len(model["hidden_sizes"]))]
    before = len(problems)
    terms = {name: _terms(name, section[name], cells, problems) for name in section if name != "global_decay"}
    if strength is None or len(problems) > before:
        return {}
    found = _units(strength, terms, cells) | _lines(strength, terms, problems)
    if not found and len(problems) == before:
        problems.append("grouplasso: penalises nothing; leave it out, or give numbers greater than 0")
    return found


def _terms(name: str, given: Any, cells: Sequence[str], problems: list[str]) -> dict[str, float]:
    """What a variable's penalties are multiplied with, those above 0."""
    place = f"grouplasso.{shortened(name, 100)}"
    if name not in (*cells, SOFTMAX, EMBEDDING):
        problems.append(f"{place}: no matrix of this model; known: {', '.join([*cells, SOFTMAX, EMBEDDING])}")
        return {}
    if not isinstance(given, dict):
        problems.append(f"{place}: must be an object (got {shown(given)})")
        return {}
    for key in given:
        if key.startswith("block_"):
            problems.append(f"{place}.{shortened(key)}: group lasso on blocks is not supported, in iss-rnns neither")
        elif key not in PER_VARIABLE:
            problems.append(f"{place}.{shortened(key)}: unknown key; known: {', '.join(PER_VARIABLE)}")
    numbers = {key: _number(given, key, problems, f"{place}.") for key in PER_VARIABLE[:3] if key in given}
    if numbers.get("structure_decay_multi"):
        if name not in cells:
            problems.append(f"{place}.structure_decay_multi: only a layer has units; the layers are {', '.join(cells)}")
        else:
            _check_reader(place, given, ([*cells[1:], SOFTMAX])[cells.index(name)], problems)
    return {key: number for key, number in numbers.items() if number}


def _check_reader(place: str, given: Mapping[str, Any], reader: str, problems: list[str]) -> None:
    """A unit's group takes in what reads it, which the model defines; the file must agree."""
    if (coupled := given.get("coupled_layer")) != reader:
        problems.append(f"{place}.coupled_layer: the units of this layer are read by {reader} (got {shown(coupled)})")
    # of a layer above, the first half of the rows is for what comes from below
    parts = 1 if reader == SOFTMAX else 2
    if given.get("couple_split_num", 2) != parts:
        problems.append(
            f"{place}.couple_split_num: must be {parts} with {reader} (got {shown(given.get('couple_split_num', 2))}; "
            "2 if not given)"
        )


def _units(strength: float, terms: Mapping[str, Mapping[str, float]], cells: Sequence[str]) -> dict[str, Any]:
    """Group lasso on the units of layers."""
    factors = {
        f"layer{cells.index(name)}.hidden": numbers["structure_decay_multi"]
        for name, numbers in terms.items()
        if "structure_decay_multi" in numbers
    }
    if not factors or not strength:
        return {}
    settings: dict[str, Any] = {
        "group_lasso.strength": strength,
        "group_lasso.widths": ("*.hidden",) if len(factors) == len(cells) else tuple(sorted(factors)),
    }
    if multipliers := tuple(f"{width}={factor!r}" for width, factor in sorted(factors.items()) if factor != 1):
        settings["group_lasso.multipliers"] = multipliers
    return settings


def _lines(strength: float, terms: Mapping[str, Mapping[str, float]], problems: list[str]) -> dict[str, Any]:
    """Group lasso on rows and columns: there of the transpose, but for the embedding."""
    settings: dict[str, Any] = {}
    for penalty, key in (("row_lasso", "col_decay_multi"), ("column_lasso", "row_decay_multi")):
        other = {"row_decay_multi": "col_decay_multi", "col_decay_multi": "row_decay_multi"}[key]
        factors = {name: numbers.get(other if name == EMBEDDING else key, 0.0) for name, numbers in terms.items()}
        factors = {name: factor for name, factor in factors.items() if factor and strength}
        if len(set(factors.values())) > 1:
            problems.append(
                f"grouplasso: {key} must be the same wherever it is not 0 (got {shown(sorted(factors.values()))})"
            )
        elif factors:
            settings[f"{penalty}.strength"] = strength * next(iter(factors.values()))
            settings[f"{penalty}.on"] = tuple(ours for name in factors for ours in _matrices(name))
    return settings


def _matrices(name: str) -> tuple[str, ...]:
    """Our names of a variable."""
    if layer := re.search(r"/cell_(\d+)/", name):
        return (f"stack.layers.{layer[1]}.weight_ih", f"stack.layers.{layer[1]}.weight_hh")
    return ("head.weight",) if name == SOFTMAX else ("embedding.weight",)
