"""A tiny transducer in ONNX files, and the best of all texts under it by brute force.

R tokens: the blank is token 0, and the unknown word, which a recogniser never writes either, is token 2.
"""

import math

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

NAMES = ("<blk>", "<sos/eos>", "<unk>", "a", "b", "c")
SILENT = (0, 2)
# a chunk of a second, because the programs add some silence to speech
FEATURES, CHUNK = 80, 100
RATE = 16000


def model(inputs, outputs, nodes, constants, metadata):
    """The bytes of an ONNX file; `inputs` and `outputs` are (name, element type, shape)."""
    values = [[helper.make_tensor_value_info(*each) for each in group] for group in (inputs, outputs)]
    weights = [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()]
    graph = helper.make_graph([helper.make_node(*node[:3], **node[3]) for node in nodes], "tiny", *values, weights)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    helper.set_model_props(made, {key: str(value) for key, value in metadata.items()})
    onnx.checker.check_model(made)
    return made.SerializeToString()


def encoder(scores, *, online):
    """Scores (frames, R) of each token at each frame, whatever the signal, of the streaming LSTM's interface or not."""
    f, i = TensorProto.FLOAT, TensorProto.INT64
    count, size = scores.shape
    # the sum of nothing of the features is zero for each utterance
    nodes = [
        ("Slice", ["x", "zero", "zero", "one"], ["nothing"], {}),
        ("ReduceSum", ["nothing", "axes"], ["zeros"], {"keepdims": 1}),
        ("Add", ["zeros", "scores"], ["encoder_out"], {}),
    ]
    constants = {
        "zero": np.array([0]),
        "one": np.array([1]),
        "axes": np.array([1, 2]),
        "scores": scores[None].astype(np.float32),
    }
    out = ("encoder_out", f, ["N", count, size])
    if online:
        states = [(name, f, [1, "N", 2]) for name in ("h", "c")]
        after = [(name, f, [1, "N", 2]) for name in ("next_h", "next_c")]
        nodes += [("Identity", [name], [f"next_{name}"], {}) for name in ("h", "c")]
        metadata = {
            "model_type": "lstm",
            "num_encoder_layers": 1,
            "T": CHUNK,
            "decode_chunk_len": CHUNK,
            "rnn_hidden_size": 2,
            "d_model": 2,
        }
        return model([("x", f, ["N", CHUNK, FEATURES]), *states], [out, *after], nodes, constants, metadata)
    nodes += [
        ("Mul", ["x_lens", "zero"], ["no_frames"], {}),
        ("Add", ["no_frames", "frames"], ["encoder_out_lens"], {}),
    ]
    constants["frames"] = np.array([count])
    inputs = [("x", f, ["N", "T", FEATURES]), ("x_lens", i, ["N"])]
    return model(inputs, [out, ("encoder_out_lens", i, ["N"])], nodes, constants, {"model_type": "conformer"})


def decoder(scores):
    """Scores (R, R) of each token after each."""
    nodes = [("Gather", ["scores", "y"], ["rows"], {"axis": 0}), ("Squeeze", ["rows", "axes"], ["decoder_out"], {})]
    constants = {"scores": scores.astype(np.float32), "axes": np.array([1])}
    inputs = [("y", TensorProto.INT64, ["N", 1])]
    outputs = [("decoder_out", TensorProto.FLOAT, ["N", len(scores)])]
    return model(inputs, outputs, nodes, constants, {"vocab_size": len(scores), "context_size": 1})


def joiner(size):
    """The sum of both."""
    inputs = [(name, TensorProto.FLOAT, ["N", size]) for name in ("encoder_out", "decoder_out")]
    nodes = [("Add", ["encoder_out", "decoder_out"], ["logit"], {})]
    return model(inputs, [("logit", TensorProto.FLOAT, ["N", size])], nodes, {}, {"joiner_dim": size})


def write(folder, frames, pairs):
    """Write the files of the transducer, and the table of its tokens."""
    for online in (True, False):
        (folder / f"encoder-{'online' if online else 'offline'}.onnx").write_bytes(encoder(frames, online=online))
    (folder / "decoder.onnx").write_bytes(decoder(pairs))
    (folder / "joiner.onnx").write_bytes(joiner(len(pairs)))
    table = "".join(f"{name} {index}\n" for index, name in enumerate(NAMES))
    (folder / "tokens.txt").write_text(table, encoding="utf-8")


def log_softmax(scores):
    return scores - np.logaddexp.reduce(scores, -1, keepdims=True)


def texts(frames, pairs):
    """Every text -> the logarithm of the sum of the probabilities of its alignments."""
    found = {(): 0.0}
    for row in frames.astype(np.float64):
        after = {}
        for text, score in found.items():
            scores = score + log_softmax(row + pairs[text[-1] if text else 0])
            for token, added in enumerate(scores):
                key = text if token in SILENT else (*text, token)
                after[key] = np.logaddexp(after.get(key, -math.inf), added)
        found = after
    return found


def best(scores):
    """The text with the largest score divided by its length, in which the context of one blank counts."""
    return max(scores, key=lambda text: scores[text] / (len(text) + 1))
