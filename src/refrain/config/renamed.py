"""The names that settings had in version 0.1, for the message about an old name."""

from typing import Any

NAMES = {
    "model.intermediate_sizes": "model.cell.intermediate_sizes (with model.cell=multiplicative-lstm)",
    "model.sparse_layers": "model.cell.plan.of (with model.cell=sparse-lstm model.cell.plan=fraction)",
    "model.sparse_fraction": "model.cell.plan.fraction (with model.cell=sparse-lstm model.cell.plan=fraction)",
    "model.sparse_blocks": "model.cell.plan.blocks (with model.cell=sparse-lstm model.cell.plan=uniform)",
    "model.sparse_density": "model.cell.plan.density (with model.cell=sparse-lstm model.cell.plan=uniform)",
    "model.layer_blocks": "model.cell.plan.layers (with model.cell=sparse-lstm model.cell.plan=explicit)",
    "model.embedding_blocks": "model.embedding.blocks (with model.embedding=sparse)",
    "model.embedding_density": "model.embedding.density (with model.embedding=sparse)",
    "model.embedding_bands": "model.embedding.bands (with model.embedding=bands)",
    "model.components": "model.head.components (with model.head=mixture)",
    "model.latent_dropout": "model.head.latent_dropout (with model.head=mixture)",
    "model.cutoffs": "model.head.cutoffs (with model.head=adaptive)",
    "model.dropout_kind": "model.dropout_mask",
    "model.init_scale": "model.init.scale (with model.init=uniform)",
    "training.engine": "training.backend",
    "training.momentum": "training.optimizer.momentum (with training.optimizer=sgd)",
    "training.trigger_window": "training.optimizer.trigger_window (with training.optimizer=nt-asgd)",
    "training.window_length": "training.windows",
    "training.window_cap": "training.windows.cap (with training.windows=random)",
    "training.tail": "training.windows.tail (with training.windows=fixed)",
    "sparsity.l1": "sparsity.l1.strength",
    "sparsity.l1_on": "sparsity.l1.on",
    "sparsity.group_lasso": "sparsity.group_lasso.strength",
    "sparsity.group_widths": "sparsity.group_lasso.widths",
    "sparsity.group_multipliers": "sparsity.group_lasso.multipliers",
    "sparsity.group_scaling": "sparsity.group_lasso.scaling",
    "sparsity.group_overlap": "sparsity.group_lasso.overlap",
    "sparsity.row_lasso": "sparsity.row_lasso.strength",
    "sparsity.row_lasso_on": "sparsity.row_lasso.on",
    "sparsity.column_lasso": "sparsity.column_lasso.strength",
    "sparsity.column_lasso_on": "sparsity.column_lasso.on",
    "sparsity.threshold": "sparsity.zeros.threshold (with sparsity.zeros=threshold)",
    "sparsity.prune": "sparsity.prune.share",
    "sparsity.prune_begin": "sparsity.prune.begin",
    "sparsity.prune_end": "sparsity.prune.end",
}

NAMES_WITH_VALUES = {
    ("model.sparse_layers", "none"): "model.cell=lstm",
    ("model.sparse_layers", "direct"): "model.cell.plan=uniform (with model.cell=sparse-lstm)",
    ("model.embedding_blocks", 1): "model.embedding=dense",
    ("sparsity.l1", 0): "sparsity.l1=none",
    ("sparsity.group_lasso", 0): "sparsity.group_lasso=none",
    ("sparsity.row_lasso", 0): "sparsity.row_lasso=none",
    ("sparsity.column_lasso", 0): "sparsity.column_lasso=none",
    ("sparsity.prune", 0): "sparsity.prune=none",
}
"""Values of version 0.1 that now belong to another setting than the other values of their setting."""

VALUES = {
    ("model.cell", "mlstm"): "multiplicative-lstm",
    ("training.backend", "plain"): "torch",
    ("training.backend", "scan"): "native",
}


def new_name(name: str, value: Any) -> str | None:
    """What a setting of version 0.1 is now called, or None.

    Args:
        name: dotted.
        value: as it was given; some values have become settings of their own.
    """
    value = "none" if value is None else value
    by_value = NAMES_WITH_VALUES.get((name, value)) if isinstance(value, str | int | float) else None
    return by_value or NAMES.get(name)


def new_value(name: str, value: Any) -> str | None:
    """What a value of version 0.1 is now called, or None.

    Args:
        name: of the setting, dotted.
        value: as it was given.
    """
    return VALUES.get((name, value)) if isinstance(value, str) else None
