"""Random inputs: valid examples with random damage, and documents and tables made from scratch."""

import json
import string

# mostly what TOML and JSON are made of
ALPHABET = [*string.printable.encode() * 5, *range(256)]
TEXT = [*string.printable, "é", "日", "\u2028", "\ufeff", "\x00", "\x1b", "\ud800", "𝄞"]
RECIPE = b"""# a recipe
extends = "zaremba-small"
name = "fuzz"
[data]
corpus = "x"
min_count = 2
[model]
hidden_sizes = [20, 30]
dropout = 0.5
head = {kind = "mixture", components = 3}
[training]
epochs = 3
schedule = {kind = "exponential", hold_epochs = 1, decay = 0.5}
learning_rate = 1e-3
[sparsity]
l1 = {strength = 1e-4}
"""
TAGGER_RECIPE = b"""extends = "pos-default"
[data]
column = "upos"
max_tokens = 100
[model]
hidden_sizes = [12]
suffixes = 3
[training]
optimizer = {kind = "sgd", momentum = 0.9}
unknown_rate = 0.25
"""
SETTINGS = [
    "training.epochs", "model.hidden_sizes", "data.corpus", "training.schedule.kind", "name", "model.tied",
    "model.head", "model.head.components", "model.cell.plan.layers", "sparsity.l1", "sparsity.l1.strength",
    "training.optimizer", "training.optimizer.trigger_window", "sparsity.group_lasso.widths", "data.errors",
]  # fmt: skip
VALUES = [
    "mixture", "3", "[1,2]", "x", "1e400", "-0.0", "{a=1}", "2020-01-01", "12:00:00", "'x", "nan", "none", "[[]]",
    "\n", "true", "[]", "{}", '""', "[[[[[[1]]]]]]", "0x10", "1_000", "9" * 400, "-1", "nt-asgd", "inf",
]  # fmt: skip
CELLS = [f"Model/RNN/multi_rnn_cell/cell_{layer}/basic_lstm_cell/weights" for layer in range(2)]
ISS = {
    "save_path": "/tmp",
    "learning_rate": 1.0,
    "weight_decay": 0.0,
    "dropout_keep_prob": 0.6,
    "grouplasso": {
        "global_decay": 0.003,
        CELLS[0]: {"structure_decay_multi": 1.0, "coupled_layer": CELLS[1]},
        CELLS[1]: {"row_decay_multi": 1.0, "col_decay_multi": 1.0, "couple_split_num": 1},
        "Model/softmax_w": {"row_decay_multi": 1.0, "col_decay_multi": 0.0},
    },
}
CONLLU = """# text = The cats sleep .
1\tThe\tthe\tDET\tDT\tDefinite=Def\t2\tdet\t_\t_
2-3\tcatssleep\t_\t_\t_\t_\t_\t_\t_\t_
2\tcats\tcat\tNOUN\tNNS\tNumber=Plur\t3\tnsubj\t_\t_
3\tsleep\tsleep\tVERB\tVBP\t_\t0\troot\t_\tSpaceAfter=No
3.1\tx\t_\t_\t_\t_\t_\t_\t_\t_
4\t.\t.\tPUNCT\t.\t_\t3\tpunct\t_\t_

1\té\té\tX\tX\t_\t0\troot\t_\t_

""".encode()
COLUMNS = b"the\tD\ncats\tN\nsleep\tV\n\na\tD\ndog\tN\n\n"
TABLE = "label\tsentence\nneg\tthe old cat\npos\tthe young dog\nneg\té\n".encode()
CORPUS = "the cat sat on the mat\n\nthe <unk> dog é 日本 ran\n".encode() * 3
ODD_TEXTS = [
    b"", b"\n", b"a", b"\xef\xbb\xbf", b"\xef\xbb\xbfa b\r\nc\r\n", b"\x00", b"\xff\xfe\x00", b"\xc3", b"a\x00b\n",
    b"\r\n\r\n", b"a" * 5000, b"\n" * 5000, b" \t \n", b"\xed\xa0\x80\n", b"\x1b[31m\n", b"a\x85b\x0cc\x1c\n",
]  # fmt: skip
PLAIN = [
    None,
    True,
    False,
    0,
    -1,
    3,
    1e300,
    1.5,
    "",
    "x",
    "os:system",
    [],
    {},
    [[]],
    10**30,
    "9" * 50,
    -(2**63),
    "\x00",
]


def mutated(draw, content, alphabet, most=4):
    """One to `most` random insertions, deletions, replacements and doublings."""
    content = list(content)
    for _ in range(draw.randint(1, most)):
        at = draw.randrange(len(content) + 1)
        match draw.randrange(4):
            case 0:
                content[at:at] = draw.choices(alphabet, k=draw.randint(1, 3))
            case 1:
                del content[at : at + draw.randint(1, 8)]
            case 2:
                content[at : at + 1] = draw.choices(alphabet, k=1)
            case 3:
                content[at:at] = content[at : at + draw.randint(1, 30)]
    return content


def damaged(draw, content, most=3):
    """Damaged bytes."""
    return bytes(mutated(draw, content, ALPHABET, most))


def damaged_text(draw, text):
    """Damaged text."""
    return "".join(mutated(draw, text, TEXT))


def plain(draw, depth=3):
    """Random plain data."""
    if depth and draw.random() < 0.4:
        values = [plain(draw, depth - 1) for _ in range(draw.randrange(4))]
        keys = draw.choices(["kind", "words", "$tensor", "$dict", "step", "a.b", ""], k=len(values))
        return values if draw.random() < 0.5 else dict(zip(keys, values, strict=True))
    return draw.choice(PLAIN)


def places(tree):
    """Every place of a tree of dicts and lists: its container and its key."""
    found = []
    for key in tree if isinstance(tree, dict) else range(len(tree)):
        found.append((tree, key))
        if isinstance(tree[key], dict | list):
            found += places(tree[key])
    return found


def document(draw, example):
    """A JSON document: an example with another value, without a key, with another key, or damaged as text."""
    if draw.random() < 0.2:
        return damaged(draw, json.dumps(example).encode())
    tree = {"": json.loads(json.dumps(example))}
    for _ in range(draw.randint(1, 2)):
        found = places(tree)
        container, key = draw.choice(found)
        others = [(box, name) for box, name in found if box is not container]
        match draw.randrange(5):
            case 0 | 1:
                container[key] = plain(draw)
            case 2 if key != "":
                del container[key]
            case 3 if isinstance(container, dict):
                container[draw.choice(["kind", "x", "", "words", "sha256", "format"])] = plain(draw)
            case 4 if others:
                # the value of another place
                box, name = draw.choice(others)
                container[key] = json.loads(json.dumps(box[name]))
    return json.dumps(tree.get("", tree)).encode()


def tensor_file(draw, example):
    """A safetensors file with a header by hand, or a damaged one."""
    if draw.random() < 0.5:
        # the header, where damage matters more, is in the first bytes
        size = min(len(example), 8 + int.from_bytes(example[:8], "little"))
        return damaged(draw, example[:size]) + example[size:]
    header = {}
    for _ in range(draw.randrange(4)):
        start = draw.choice([0, 4, 8, -4, 1 << 62, 1 << 70])
        header[draw.choice(["head.bias", "a", "", "__metadata__"])] = {
            "dtype": draw.choice(["F32", "BF16", "I64", "U8", "F8_E4M3", "X", 3, None]),
            "shape": draw.choice([[], [1], [2, 2], [0], [1 << 40, 1 << 40], [-1], "x", [1.5]]),
            "data_offsets": draw.choice([[start, start + 4], [start, 0], [0], [], "x", [0, 1 << 63]]),
        }
    text = json.dumps(header).encode() + b" " * draw.randrange(9)
    size = draw.choice([len(text), len(text) + 1, 0, 1, 1 << 63, (1 << 64) - 1, 100_000_001])
    return size.to_bytes(8, "little") + text + bytes(draw.randrange(20))
