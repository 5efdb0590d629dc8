"""Import paths of version 0.1: an import of one fails with the path that replaced it.

Python looks for a submodule where `from package import name` finds no attribute, so that the names which a package no
longer has are found here, too.
"""

import importlib.abc
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType

MOVED = {
    "refrain.bench.bench_picture": "refrain.pictures",
    "refrain.bench.check_picture": "refrain.pictures, as check_matplotlib",
    "refrain.bench.picture": "refrain.pictures.bench",
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
    "refrain.data.tagged.TaggedCorpus": "refrain.data.tagged.corpus",
    "refrain.data.tagged.TaggedSplit": "refrain.data.tagged.corpus",
    "refrain.data.tagged.against": "refrain.data.tagged.corpus",
    "refrain.data.tagged.counts_of": "refrain.data.tagged.corpus",
    "refrain.data.tagged.find_tagged": "refrain.data.tagged.folders",
    "refrain.data.tagged.looks_like_conllu": "refrain.data.tagged.formats",
    "refrain.data.tagged.read_tagged": "refrain.data.tagged.corpus",
    "refrain.data.tagged.split_tagged": "refrain.data.tagged.corpus",
    "refrain.data.text.Span": "refrain.data.text.files",
    "refrain.data.text.Spans": "refrain.data.text.files",
    "refrain.data.text.blocks": "refrain.data.text.files",
    "refrain.data.text.cut_points": "refrain.data.text.files",
    "refrain.data.text.line_offsets": "refrain.data.text.files",
    "refrain.data.text.part_of": "refrain.data.text.files",
    "refrain.data.text.place_of": "refrain.data.text.files",
    "refrain.data.text.raw_blocks": "refrain.data.text.files",
    "refrain.data.text.sha256_of": "refrain.data.text.files",
    "refrain.data.text.size_of": "refrain.data.text.files",
    "refrain.data.text.whole": "refrain.data.text.files",
    "refrain.data.token_file": "refrain.data.text.token_file",
    "refrain.data.tokenise": "refrain.data.tagged.tokenise",
    "refrain.data.vocabulary": "refrain.data or refrain.data.units",
    "refrain.data.word_corpus": "refrain.data.units.word.corpus",
    "refrain.evaluation.confusion_picture": "refrain.pictures.confusion",
    "refrain.evaluation.heat_map": "refrain.pictures.heat_map",
    "refrain.evaluation.probe_figures": "refrain.pictures.probe",
    "refrain.evaluation.timing": "refrain.bench.timing",
    "refrain.folders": "refrain.storage.folders",
    "refrain.models.prepare_tagger": "refrain.models, as pack_tagger",
    "refrain.models.prepared_tagger": "refrain.models.packed_tagger",
    "refrain.models.PADDING": "refrain.data",
    "refrain.nn.engine": "refrain.nn.kernels.backend",
    "refrain.nn.gpu": "refrain.nn.kernels.launch",
    "refrain.nn.native": "refrain.nn.kernels, which has compile, call, allocator and pages",
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
    "refrain.sparsity.Place": "refrain.sparsity, as UnitAxis",
    "refrain.sparsity.layout_picture": "refrain.pictures.layout",
    "refrain.sparsity.pictures": "refrain.pictures.sparsity",
    "refrain.sparsity.places": "refrain.sparsity, as unit_axes",
    "refrain.trained.Count": "refrain.trained.language_model",
    "refrain.trained.Score": "refrain.trained.language_model",
    "refrain.trained_tagger": "refrain.trained",
    "refrain.training.RunFolder": "refrain.storage.run_folder",
    "refrain.training.Stateful": "refrain.training, as Method",
    "refrain.training.run_folder": "refrain.storage.run_folder",
}
"""Old module, or old name of a package -> where it is now, or where the contents of the module are."""


class _MovedFinder(importlib.abc.MetaPathFinder):
    """Raises for the import of a module that has moved, if Python has not found another one."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname in MOVED:
            # without name=, by which Python would pass over the error in `from refrain import build`
            raise ModuleNotFoundError(f"{fullname} has moved: import it from {MOVED[fullname]}")
        return None


def install() -> None:
    """Add the finder of moved modules after all other finders. Another call changes nothing."""
    if not any(isinstance(finder, _MovedFinder) for finder in sys.meta_path):
        sys.meta_path.append(_MovedFinder())
