"""Import paths of version 0.1: an import of one fails with the path that replaced it."""

import importlib.abc
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType

MOVED = {
    "refrain.build": "refrain.assembly (settings to objects), refrain.runs (train, resume, load) or refrain.studies",
    "refrain.checkpoint": "refrain.storage.checkpoint",
    "refrain.data.buckets": "refrain.data.tagged.buckets",
    "refrain.data.byte_corpus": "refrain.data.units.byte.corpus",
    "refrain.data.byte_stream": "refrain.data.text.byte_stream",
    "refrain.data.cleaning": "refrain.data.text.cleaning",
    "refrain.data.columns": "refrain.data.tagged.columns",
    "refrain.data.conllu": "refrain.data.tagged.conllu",
    "refrain.data.labelled": "refrain.data.text.labelled",
    "refrain.data.python_names": "refrain.data.tagged.python_names",
    "refrain.data.sentences": "refrain.data.tagged.sentences",
    "refrain.data.shards": "refrain.data.text.shards",
    "refrain.data.splits": "refrain.data.text.splits",
    "refrain.data.streams": "refrain.data.text.streams",
    "refrain.data.tag_vocabulary": "refrain.data.tagged.vocabulary",
    "refrain.data.token_file": "refrain.data.text.token_file",
    "refrain.data.tokenise": "refrain.data.tagged.tokenise",
    "refrain.data.vocabulary": "refrain.data or refrain.data.units",
    "refrain.data.word_corpus": "refrain.data.units.word.corpus",
    "refrain.evaluation.confusion_picture": "refrain.pictures.confusion",
    "refrain.evaluation.heat_map": "refrain.pictures.heat_map",
    "refrain.evaluation.probe_figures": "refrain.pictures.probe",
    "refrain.evaluation.timing": "refrain.bench.timing",
    "refrain.folders": "refrain.storage.folders",
    "refrain.nn.engine": "refrain.nn.kernels.backend",
    "refrain.nn.gpu": "refrain.nn.kernels.launch",
    "refrain.nn.native": "refrain.nn.kernels.compile",
    "refrain.nn.prepared": "refrain.nn.kernels.packed_linear",
    "refrain.nn.products": "refrain.nn.kernels.matmul",
    "refrain.nn.recurrent.buffer_pool": "refrain.nn.kernels.workspace",
    "refrain.nn.recurrent.gates": "refrain.nn.recurrent.lstm.packed",
    "refrain.nn.recurrent.gru_scan": "refrain.nn.recurrent.gru.scan",
    "refrain.nn.recurrent.gru_window": "refrain.nn.recurrent.gru.cpu",
    "refrain.nn.recurrent.kernel_memory": "refrain.nn.kernels.workspace",
    "refrain.nn.recurrent.lstm_cell": "refrain.nn.recurrent.lstm.cell",
    "refrain.nn.recurrent.lstm_gates": "refrain.nn.recurrent.lstm.gates",
    "refrain.nn.recurrent.lstm_window": "refrain.nn.recurrent.lstm.cpu",
    "refrain.nn.recurrent.multiplicative_lstm_window": "refrain.nn.recurrent.multiplicative_lstm.cpu",
    "refrain.nn.recurrent.prepared": "refrain.nn.recurrent.packed",
    "refrain.nn.recurrent.prepared_bidirectional": "refrain.nn.recurrent.packed_bidirectional",
    "refrain.nn.recurrent.scan": "refrain.nn.recurrent.protocol",
    "refrain.nn.recurrent.sparse_scan": "refrain.nn.recurrent.sparse_lstm.scan",
    "refrain.nn.recurrent.sparse_window": "refrain.nn.recurrent.sparse_lstm.cpu",
    "refrain.nn.recurrent.spread_sparse_lstm": "refrain.nn.recurrent.sparse_lstm.distributed",
    "refrain.nn.recurrent.window_scan": "refrain.nn.recurrent.lstm.scan",
    "refrain.plain_json": "refrain.storage.plain_json",
    "refrain.sparsity.layout_picture": "refrain.pictures.layout",
    "refrain.sparsity.pictures": "refrain.pictures.sparsity",
    "refrain.trained_tagger": "refrain.trained",
    "refrain.training.run_folder": "refrain.storage.run_folder",
}
"""Old module -> where its contents are now."""


class _MovedFinder(importlib.abc.MetaPathFinder):
    """Fails the import of a module that has moved, where Python has found nothing else."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname in MOVED:
            raise ModuleNotFoundError(f"{fullname} has moved: import it from {MOVED[fullname]}", name=fullname)
        return None


def install() -> None:
    """Let Python ask for moved modules after all other finders. Calling it again changes nothing."""
    if not any(isinstance(finder, _MovedFinder) for finder in sys.meta_path):
        sys.meta_path.append(_MovedFinder())
