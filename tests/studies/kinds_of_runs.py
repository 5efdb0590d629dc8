"""Settings of small runs of each kind of model whose embedding or head can have a lower rank, or cannot."""

from refrain.training import PlainProgress

SMALL = (
    "model.embedding_size=12", "training.epochs=2", "training.batch_size=4", "training.window_steps=5",
    "training.sample_tokens=0", "data.unit=character",
)  # fmt: skip
KINDS = {
    "lstm": ("model.hidden_sizes=[10,14]",),
    "gru": ("model.hidden_sizes=[10,14]", "model.cell=gru"),
    "mlstm": ("model.hidden_sizes=[10,14]", "model.cell=multiplicative-lstm"),
    "narrow first layer": ("model.hidden_sizes=[2,14]",),
    "tied": ("model.hidden_sizes=[10,12]", "model.tied=true"),
    "tied, one layer": ("model.hidden_sizes=[12]", "model.tied=true"),
    "low rank": ("model.hidden_sizes=[10,14]", "model.head=low-rank", "model.head.rank=13"),
    "weight norm": ("model.hidden_sizes=[10,14]", "model.weight_norm=true", "model.init=standard"),
    "adaptive": ("model.hidden_sizes=[10,14]", "model.head=adaptive", "model.head.cutoffs=[3]"),
    "mixture": ("model.hidden_sizes=[10,14]", "model.head=mixture", "model.head.components=2"),
    "sparse layer": ("model.hidden_sizes=[10,14]", "model.cell=sparse-lstm", "model.cell.plan.kind=uniform",
                     "model.cell.plan.blocks=2", "model.cell.plan.density=0.6"),
    "sparse embedding": ("data.order=ascending", "model.hidden_sizes=[10,14]", "model.embedding.kind=sparse",
                         "model.embedding.blocks=2", "model.embedding.density=0.7"),
}  # fmt: skip
QUIET = PlainProgress(quiet=True)
