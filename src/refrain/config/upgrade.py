"""The settings that version 0.1 wrote, in the words of this version."""

from collections.abc import Mapping
from typing import Any

FORMAT = 2
"""Of the document in `config.json`."""

Tree = dict[str, Any]

# settings that version 0.1 did not have, with the values that mean what it did
NEW_DROPOUT = {f"{place}_dropout_mask": None for place in ("embedding", "between", "output")}
NEW_INIT: dict[str, Tree] = {"standard": {"biases": 1}, "glorot": {"truncated": False}}
NEW_UNITS: Tree = {
    "max_characters": None,
    "pieces": 8000,
    "piece_model": "unigram",
    "piece_seed": 1,
    "tokens": None,
    "vocabulary": None,
    "workers": None,
}
NEW_TEXT: Tree = {"lowercase": False, "tokenise": False, "normalise": "none", **NEW_UNITS}
NEW_TAGGED: Tree = {"word_column": "auto", "underscore": "auto", "folds": None, "fold": 1, "fold_seed": None}
NEW_TRAINING: Tree = {
    "stop_min_epochs": 0,
    "max_minutes": None,
    "accumulate_windows": 1,
    "deterministic": False,
    "threads": None,
}

CELLS = {"mlstm": "multiplicative-lstm"}
BACKENDS = {"plain": "torch", "scan": "native"}


def upgraded(document: Mapping[str, Any]) -> Tree:
    """A document of format 1 as one of the present format. The old one is not changed.

    Args:
        document: with `format`, `task` and `experiment`, as version 0.1 wrote them.

    Raises:
        KeyError: when a setting is missing that version 0.1 always wrote.
    """
    old = document["experiment"]
    tagger = document.get("task") == "tagger"
    data = {**old["data"], "ties": None}
    new = {**old, "data": data, "model": _model(old["model"]), "training": _training(old["training"])}
    if tagger:
        # the only head that a tagger had
        new["model"] |= {"head": {"kind": "softmax"}, "skip_connection": False}
        new["data"] = {**data, **NEW_TAGGED}
        new["training"]["best_by"] = "accuracy"
    else:
        new["sparsity"] = _sparsity(old["sparsity"])
        new["data"] = {**data, **NEW_TEXT}
    return {**document, "format": FORMAT, "experiment": new}


def _model(old: Mapping[str, Any]) -> Tree:
    # a tagger has none of the settings that are asked for with `get`
    new = {**old, **NEW_DROPOUT}
    new["cell"] = _cell(old)
    new["embedding"] = _embedding(old)
    new["dropout_mask"] = new.pop("dropout_kind")
    for name in ("intermediate_sizes", "sparse_layers", "sparse_fraction", "sparse_blocks", "sparse_density"):
        new.pop(name, None)
    for name in ("layer_blocks", "embedding_blocks", "embedding_density", "embedding_bands"):
        new.pop(name, None)
    if "head" in old:
        new["head"] = _head(old["head"], new.pop("components"), new.pop("latent_dropout"), new.pop("cutoffs"))
    kind, scale = old.get("init", "standard"), new.pop("init_scale", None)
    new["init"] = {"kind": kind, **NEW_INIT.get(kind, {}), **({} if scale is None else {"scale": scale})}
    return new


def _cell(old: Mapping[str, Any]) -> Tree:
    plan = _plan(old)
    if plan is not None:
        return {"kind": "sparse-lstm", "plan": plan}
    cell: Tree = {"kind": CELLS.get(old["cell"], old["cell"])}
    if old["cell"] == "gru":
        cell["recurrent_bias"] = False
    if old["cell"] == "mlstm":
        cell["intermediate_sizes"] = old["intermediate_sizes"]
    return cell


def _plan(old: Mapping[str, Any]) -> Tree | None:
    """How sparse layers are laid out, or None for a model without them."""
    if old.get("layer_blocks") is not None:
        return {"kind": "explicit", "layers": [blocks or [] for blocks in old["layer_blocks"]]}
    if old["sparse_blocks"] is not None:
        return {"kind": "uniform", "blocks": old["sparse_blocks"], "density": old["sparse_density"]}
    if old.get("sparse_layers", "none") != "none":
        return {"kind": "fraction", "fraction": old["sparse_fraction"], "of": old["sparse_layers"]}
    return None


def _embedding(old: Mapping[str, Any]) -> Tree:
    if old.get("embedding_bands") is not None:
        return {"kind": "bands", "bands": old["embedding_bands"]}
    if old["embedding_blocks"] > 1:
        return {"kind": "sparse", "blocks": old["embedding_blocks"], "density": old["embedding_density"]}
    return {"kind": "dense"}


def _head(kind: str, components: Any, latent_dropout: Any, cutoffs: Any) -> Tree:
    fields: dict[str, Tree] = {
        "softmax": {},
        "mixture": {"components": components, "latent_dropout": latent_dropout},
        "adaptive": {"cutoffs": cutoffs},
    }
    return {"kind": kind, **fields[kind]}


def _training(old: Mapping[str, Any]) -> Tree:
    new = {**old, **NEW_TRAINING}
    engine = new.pop("engine")
    new["backend"] = BACKENDS.get(engine, engine)
    momentum, trigger = new.pop("momentum"), new.pop("trigger_window", None)
    new["optimizer"] = {"kind": old["optimizer"]}
    if old["optimizer"] == "sgd":
        new["optimizer"]["momentum"] = momentum
    if old["optimizer"] == "nt-asgd":
        new["optimizer"]["trigger_window"] = trigger
    new["schedule"] = _schedule(old["schedule"])
    if "window_length" in old:
        tail, cap = new.pop("tail"), new.pop("window_cap")
        kind = new.pop("window_length")
        new["windows"] = {"kind": kind} | ({"tail": tail} if kind == "fixed" else {"cap": cap})
    return new


def _schedule(old: Mapping[str, Any]) -> Tree:
    fields = {"exponential": ("decay", "hold_epochs", "step_epochs"), "plateau": ("decay",)}
    return {"kind": old["kind"], **{name: old[name] for name in fields.get(old["kind"], ())}}


def _sparsity(old: Mapping[str, Any]) -> Tree:
    def lasso(name: str) -> Tree | None:
        return {"strength": old[name], "on": old[f"{name}_on"]} if old[name] else None

    group = {name: old[f"group_{name}"] for name in ("widths", "multipliers", "scaling", "overlap")}
    prune = {"share": old["prune"], "begin": old["prune_begin"], "end": old["prune_end"]}
    target = old["target"]
    threshold = {} if old["threshold"] is None else {"threshold": old["threshold"]}
    return {
        "l1": lasso("l1"),
        "group_lasso": {"strength": old["group_lasso"], **group} if old["group_lasso"] else None,
        "row_lasso": lasso("row_lasso"),
        "column_lasso": lasso("column_lasso"),
        "strengths_for": old["strengths_for"],
        "zeros": {"kind": old["zeros"], **threshold},
        "freeze": old["freeze"],
        "prune": prune if old["prune"] else None,
        "target": {**target, "layer_multiply_adds": None, "penalised": "all"}
        if any(target[name] is not None for name in ("parameters", "multiply_adds", "bytes"))
        else None,
    }
