"""Writes a step graph as C99: a header, a source with the weights, and a program that generates text."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import refrain
from refrain.nn.step_graph import Operation, StepGraph

from .c_helpers import definitions
from .c_memory import Plan, plan
from .c_templates import HEADER, PROGRAM, SOURCE
from .formats import Options
from .rounded import Rounded

LINE = 110


class Source:
    """C code of a step.

    Args:
        graph: the step.
        rounded: name -> matrix in int8; empty for float32.
        options: what is written.
    """

    def __init__(self, graph: StepGraph, rounded: Mapping[str, Rounded], options: Options) -> None:
        self.graph, self.rounded, self.options = graph, rounded, options
        self.plan: Plan = plan(graph)
        self.used: set[str] = set()
        self.fields = identifiers([state.name for state in graph.states])
        self.arrays = identifiers(list(graph.weights), "w_")

    def header(self) -> str:
        """The content of `model.h`."""
        state_bytes = 4 * sum(state.size for state in self.graph.states)
        fields = [f"    float {self.fields[state.name]}[{state.size}];" for state in self.graph.states]
        values = {
            "VERSION": refrain.__version__,
            "STATE": f"{state_bytes:,}",
            "STACK": f"{4 * self.plan.work:,}",
            "CONSTANTS": f"{self.constant_bytes():,}",
            "VOCABULARY": str(self.graph.vocabulary_size),
            "START": str(self.options.start),
            "FIELDS": "\n".join(fields) or "    float unused[1];",
        }
        return _filled(HEADER, values)

    def constant_bytes(self) -> int:
        """The bytes of the weights."""
        rounded = [int(matrix.multiples.size) + 4 * len(matrix.scales) for matrix in self.rounded.values()]
        return sum(rounded) + 4 * sum(
            int(array.size) for name, array in self.graph.weights.items() if name not in self.rounded
        )

    def source(self) -> str:
        """The content of `model.c`."""
        step = "\n".join(f"    {line}" for line in self.step_lines())
        begin = []
        for state in self.graph.states:
            field = self.fields[state.name]
            if state.initial.any():
                begin.append(f"    for (i = 0; i < {state.size}; ++i) state->{field}[i] = begin_{field}[i];")
            else:
                begin.append(f"    for (i = 0; i < {state.size}; ++i) state->{field}[i] = 0.0f;")
        values = {
            "FUNCTIONS": definitions(self.used, libm=self.options.libm),
            "WEIGHTS": "\n".join(self.weight_lines()),
            "BEGIN": "\n".join(begin),
            "WORK": f"    float work[{self.plan.work}];\n" if self.plan.work else "",
            "STEP": step,
        }
        return _filled(SOURCE, values)

    def weight_lines(self) -> Iterator[str]:
        """The definitions of the weights."""
        for state in self.graph.states:
            if state.initial.any():
                yield from definition("float", f"begin_{self.fields[state.name]}", state.initial)
        for name, array in self.graph.weights.items():
            own = self.arrays[name]
            if name in self.rounded:
                yield from definition("int8_t", own, self.rounded[name].multiples)
                yield from definition("float", f"{own}_scales", self.rounded[name].scales)
            else:
                yield from definition("float", own, array)

    def step_lines(self) -> Iterator[str]:
        """The statements of a step."""
        widths = {name: len(array) if array.ndim == 1 else 0 for name, array in self.graph.weights.items()}
        widths |= {state.name: state.size for state in self.graph.states}
        for operation in self.plan.operations:
            widths |= dict(zip(operation.outputs, operation.widths, strict=True))
        for operation in self.plan.operations:
            yield from self.statements(operation, widths)
        if (result := self.at(self.graph.flat().log_probabilities)) != "out":
            yield self.call("copy", result, "out", self.graph.vocabulary_size)
        for state, name in zip(self.graph.states, self.plan.after, strict=True):
            if name != state.name:
                yield self.call("copy", self.at(name), f"state->{self.fields[state.name]}", state.size)

    def statements(self, operation: Operation, widths: Mapping[str, int]) -> Iterator[str]:
        """The statements of an operation."""
        kind, width = operation.kind, operation.widths[0]
        names = operation.inputs
        y = self.at(operation.outputs[0]) if kind != "split" else ""
        if kind == "split":
            # the parts are read where they are
            return
        if kind == "gather":
            first, *end = map(int, operation.numbers)
            row = f"token - {first}" if first else "token"
            row = f"token < {end[0]} ? {row} : -1" if end and end[0] < self.graph.vocabulary_size else row
            yield self.with_matrix(kind, names[1], row, y, width)
        elif kind == "differs":
            yield f"({y})[0] = token == {int(operation.numbers[0])} ? 0.0f : 1.0f;"
        elif kind == "matmul":
            columns = self.graph.weights[names[1]].shape[1]
            yield self.with_matrix(kind, names[1], self.at(names[0]), y, width, columns)
        elif kind in ("add", "mul"):
            is_column = widths[names[1]] == 1 and width > 1
            b = f"({self.at(names[1])})[0]" if is_column else self.at(names[1])
            yield self.call(f"{kind}_number" if is_column else kind, self.at(names[0]), b, y, width)
        elif kind == "affine":
            yield self.call(kind, self.at(names[0]), *map(number, operation.numbers), y, width)
        elif kind == "concat":
            place = self.plan.places[operation.outputs[0]]
            offset = place.offset
            for name in names:
                yield self.call("copy", self.at(name), _sum(place.array, offset), widths[name])
                offset += widths[name]
        else:
            yield self.call(kind, *(self.at(name) for name in names), y, width)

    def with_matrix(self, kind: str, weight: str, *arguments: Any) -> str:
        """A call of a function that reads a matrix."""
        own = self.arrays[weight]
        if weight in self.rounded:
            return self.call(f"{kind}_int8", own, f"{own}_scales", *arguments)
        return self.call(kind, own, *arguments)

    def call(self, name: str, *arguments: Any) -> str:
        """A call of a C function of `FUNCTIONS`."""
        self.used.add(name)
        # the C library has a function of that name
        called = "hyperbolic_tangent" if name == "tanh" else name
        return f"{called}({', '.join(str(argument) for argument in arguments)});"

    def at(self, name: str) -> str:
        """The address of a value."""
        place = self.plan.places[name]
        if place.array in self.fields:
            return _sum(f"state->{self.fields[place.array]}", place.offset)
        return _sum(self.arrays.get(place.array, place.array), place.offset)

    def program(self) -> str:
        """The content of `main.c`."""
        rows = [f"    {{{literal(token)}, {len(token)}}}," for token in self.options.tokens]
        return _filled(PROGRAM, {"TOKENS": "\n".join(rows)})


def _sum(array: str, offset: int) -> str:
    return f"{array} + {offset}" if offset else array


def _filled(template: str, values: Mapping[str, str]) -> str:
    return re.sub(r"@(\w+)@", lambda match: values[match[1]], template)


def identifiers(names: Sequence[str], prefix: str = "") -> dict[str, str]:
    """A C identifier for each name, none of them twice."""
    found: dict[str, str] = {}
    for name in names:
        plain = prefix + re.sub(r"[^A-Za-z0-9_]", "_", name)
        own, count = plain, 2
        while own in found.values():
            own, count = f"{plain}_{count}", count + 1
        found[name] = own
    return found


def number(value: float) -> str:
    """A float constant of C, with the nine digits that are exact in float32."""
    text = f"{value:.9g}"
    return f"{text}f" if "." in text or "e" in text else f"{text}.0f"


def definition(kind: str, name: str, array: Any) -> Iterator[str]:
    """The lines of the definition of a constant array."""
    flat = array.reshape(-1)
    written = number if kind == "float" else str
    entries = [written(value) for value in flat.tolist()]
    yield f"static const {kind} {name}[{flat.size}] = {{"
    per_line = LINE // 5 if kind == "int8_t" else LINE // 14
    for start in range(0, len(entries), per_line):
        yield "    " + ", ".join(entries[start : start + per_line]) + ","
    yield "};"


def literal(token: bytes) -> str:
    """A C string of any bytes."""
    plain = {ord(sign) for sign in " !#$%&'()*+,-./:;<=>@[]^_`{|}~"} | set(range(48, 58)) | set(range(65, 91))
    plain |= set(range(97, 123))
    return '"' + "".join(chr(byte) if byte in plain else f"\\{byte:03o}" for byte in token) + '"'
