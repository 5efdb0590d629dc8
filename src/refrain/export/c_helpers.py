"""The C functions that the operations of a step are calls of, and the mathematical functions for code without libm."""

LIBM = """\
#include <math.h>

#define EXP(x) expf(x)
#define LOG(x) logf(x)
#define TANH(x) tanhf(x)
"""

# exp: x = k ln 2 + r with a polynomial in r; log: m = 2^k f with the series of artanh((f - 1) / (f + 1))
OWN_MATHEMATICS = {
    "EXP": """\
static float EXP(float x) {
    union { float number; uint32_t bits; } power;
    float r;
    int k;
    if (x < -87.0f) return 0.0f;
    if (x > 88.0f) x = 88.0f;
    k = (int)(x * 1.44269504f + (x < 0.0f ? -0.5f : 0.5f));
    r = x - (float)k * 0.693359375f + (float)k * 2.12194440e-4f;
    power.bits = (uint32_t)(k + 127) << 23;
    return power.number *
           (1.0f + r * (1.0f + r * (0.5f + r * (1.66666667e-1f + r * (4.16666667e-2f + r * (8.33333333e-3f +
           r * 1.38888889e-3f))))));
}
""",
    "LOG": """\
static float LOG(float x) {
    union { float number; uint32_t bits; } value;
    float s, square;
    int k;
    value.number = x;
    k = (int)(value.bits >> 23) - 127;
    value.bits = (value.bits & 0x7fffffu) | 0x3f800000u;
    if (value.number > 1.41421356f) {
        value.number *= 0.5f;
        k += 1;
    }
    s = (value.number - 1.0f) / (value.number + 1.0f);
    square = s * s;
    return (float)k * 0.693147181f +
           2.0f * s *
           (1.0f + square * (0.333333333f + square * (0.2f + square * (0.142857143f + square * 0.111111111f))));
}
""",
    "TANH": """\
static float TANH(float x) {
    float e;
    if (x > 10.0f) return 1.0f;
    if (x < -10.0f) return -1.0f;
    e = EXP(2.0f * x);
    return (e - 1.0f) / (e + 1.0f);
}
""",
}

MATMUL = """\
/* y[row] = sum of w[row][i] * x[i], in sixteen sums that a compiler computes side by side, as with -O3 */
static void NAME(const TYPE *w, PARAMETERconst float *x, float *y, int rows, int columns) {
    int row, i, j, half;
    for (row = 0; row < rows; ++row, w += columns) {
        float sums[16] = {0.0f}, numbers[16];
        for (i = 0; i + 16 <= columns; i += 16) {
            for (j = 0; j < 16; ++j) numbers[j] = ENTRY(w[i + j]);
            for (j = 0; j < 16; ++j) sums[j] += numbers[j] * x[i + j];
        }
        for (; i < columns; ++i) sums[0] += ENTRY(w[i]) * x[i];
        for (half = 8; half > 0; half /= 2)
            for (j = 0; j < half; ++j) sums[j] += sums[j + half];
        y[row] = SCALE(sums[0]);
    }
}
"""

GATHER = """\
/* y = row `row` of w, and zeros for a negative row */
static void NAME(const TYPE *w, PARAMETERint32_t row, float *y, int columns) {
    int i;
    for (i = 0; i < columns; ++i) y[i] = row < 0 ? 0.0f : SCALE(ENTRY(w[(size_t)row * (size_t)columns + (size_t)i]));
}
"""


def _of_type(text: str, name: str, *, rounded: bool) -> str:
    text = text.replace("NAME", f"{name}_int8" if rounded else name)
    text = text.replace("TYPE", "int8_t" if rounded else "float")
    text = text.replace("PARAMETER", "const float *scales, " if rounded else "")
    text = text.replace("ENTRY(", "(float)(" if rounded else "(")
    return text.replace("SCALE(", "scales[row] * (" if rounded else "(")


def _each(name: str, parameters: str, expression: str) -> str:
    return (
        f"static void {name}({parameters}, float *y, int count) {{\n"
        f"    int i;\n"
        f"    for (i = 0; i < count; ++i) y[i] = {expression};\n"
        f"}}\n"
    )


FUNCTIONS = {
    "matmul": _of_type(MATMUL, "matmul", rounded=False),
    "matmul_int8": _of_type(MATMUL, "matmul", rounded=True),
    "gather": _of_type(GATHER, "gather", rounded=False),
    "gather_int8": _of_type(GATHER, "gather", rounded=True),
    "add": _each("add", "const float *a, const float *b", "a[i] + b[i]"),
    "mul": _each("mul", "const float *a, const float *b", "a[i] * b[i]"),
    "add_number": _each("add_number", "const float *a, float b", "a[i] + b"),
    "mul_number": _each("mul_number", "const float *a, float b", "a[i] * b"),
    "affine": _each("affine", "const float *x, float scale, float shift", "scale * x[i] + shift"),
    "sigmoid": _each("sigmoid", "const float *x", "1.0f / (1.0f + EXP(-x[i]))"),
    "tanh": _each("hyperbolic_tangent", "const float *x", "TANH(x[i])"),
    "relu": _each("relu", "const float *x", "x[i] > 0.0f ? x[i] : 0.0f"),
    "copy": _each("copy", "const float *x", "x[i]"),
    "log_softmax": """\
static void log_softmax(const float *x, float *y, int count) {
    float largest = x[0], sum = 0.0f, lost = 0.0f;
    int i;
    for (i = 1; i < count; ++i) largest = x[i] > largest ? x[i] : largest;
    for (i = 0; i < count; ++i) {
        /* what rounding lost is added to the next term (Kahan, 1965), as thousands of small terms follow a large one */
        float term = EXP(x[i] - largest) - lost, next = sum + term;
        lost = (next - sum) - term;
        sum = next;
    }
    largest += LOG(sum);
    for (i = 0; i < count; ++i) y[i] = x[i] - largest;
}
""",
    "log_add_exp": """\
static void log_add_exp(const float *a, const float *b, float *y, int count) {
    int i;
    for (i = 0; i < count; ++i) {
        float larger = a[i] > b[i] ? a[i] : b[i], smaller = a[i] > b[i] ? b[i] : a[i];
        y[i] = larger + LOG(1.0f + EXP(smaller - larger));
    }
}
""",
}
"""Name -> C function, in an order in which each one can be defined."""


def definitions(used: set[str], *, libm: bool) -> str:
    """The C functions that are called, and the mathematical functions that these call.

    Args:
        used: keys of `FUNCTIONS`.
        libm: whether the mathematical functions are those of the C library.
    """
    functions = [text for name, text in FUNCTIONS.items() if name in used]
    if libm:
        needed = [LIBM] if any(name in text for name in OWN_MATHEMATICS for text in functions) else []
        return "\n".join([*needed, *functions])
    called = {name for name in OWN_MATHEMATICS if any(f"{name}(" in text for text in functions)}
    called |= {"EXP"} if "TANH" in called else set()
    return "\n".join([*(text for name, text in OWN_MATHEMATICS.items() if name in called), *functions])
