"""The parts of the C code that are the same for every model; a word between @ signs is filled in."""

HEADER = """\
/* A recurrent language model in C99, written by refrain @VERSION@.

   State: @STATE@ bytes for each text that is read, in model_state.
   Stack: @STACK@ bytes in model_step, and a few more for its calls.
   Constants: @CONSTANTS@ bytes of weights. No memory is allocated, and nothing is shared between states. */

#ifndef MODEL_H
#define MODEL_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The number of tokens; ids are 0 to MODEL_VOCABULARY - 1. */
#define MODEL_VOCABULARY @VOCABULARY@

/* The id that ends a line, which the model reads before a text. */
#define MODEL_START @START@

typedef struct {
@FIELDS@
} model_state;

/* Sets the state to that before the first token. */
void model_begin(model_state *state);

/* Reads a token, and writes the natural log-probability of each next token to `out`. */
void model_step(model_state *state, int32_t token, float *out);

/* Reads `before` and then all tokens but the last, and returns the nats of the tokens: the negative natural logarithm
   of their probability. `out` has MODEL_VOCABULARY entries, which are overwritten. */
double model_score(model_state *state, int32_t before, const int32_t *tokens, size_t count, float *out);

#ifdef __cplusplus
}
#endif

#endif
"""

SOURCE = """\
#include "model.h"

@FUNCTIONS@
@WEIGHTS@

void model_begin(model_state *state) {
    int i;
    (void)i;
    (void)state;
@BEGIN@
}

void model_step(model_state *state, int32_t token, float *out) {
@WORK@    (void)state;
@STEP@
}

double model_score(model_state *state, int32_t before, const int32_t *tokens, size_t count, float *out) {
    double nats = 0.0;
    size_t i;
    for (i = 0; i < count; ++i) {
        model_step(state, before, out);
        before = tokens[i];
        nats -= (double)out[before];
    }
    return nats;
}
"""

PROGRAM = """\
/* Writes text that the model generates: ./main [TOKENS [SEED]] */

#include <math.h>
#include <stdio.h>

#include "model.h"

static const struct {
    const char *text;
    size_t size;
} tokens[MODEL_VOCABULARY] = {
@TOKENS@
};

/* The probabilities are divided by their sum, as that of rounded numbers differs from 1. */
static int32_t draw(const float *log_probabilities, double at) {
    double sum = 0.0, passed = 0.0;
    int32_t i;
    for (i = 0; i < MODEL_VOCABULARY; ++i) sum += exp((double)log_probabilities[i]);
    for (i = 0; i < MODEL_VOCABULARY - 1; ++i) {
        passed += exp((double)log_probabilities[i]) / sum;
        if (passed > at) break;
    }
    return i;
}

/* SplitMix64 (Steele, Lea and Flood, 2014): a number in [0, 1) */
static double uniform(uint64_t *state) {
    uint64_t mixed = *state += 0x9e3779b97f4a7c15u;
    mixed = (mixed ^ (mixed >> 30)) * 0xbf58476d1ce4e5b9u;
    mixed = (mixed ^ (mixed >> 27)) * 0x94d049bb133111ebu;
    mixed ^= mixed >> 31;
    return (double)(mixed >> 11) / 9007199254740992.0;
}

/* A whole number of digits alone, or -1. */
static int64_t number(const char *text) {
    int64_t value = 0;
    if (!*text) return -1;
    for (; *text; ++text) {
        if (*text < '0' || *text > '9' || value > INT64_MAX / 100) return -1;
        value = 10 * value + (*text - '0');
    }
    return value;
}

int main(int argc, char **argv) {
    static float log_probabilities[MODEL_VOCABULARY];
    static model_state state;
    int64_t count = argc > 1 ? number(argv[1]) : 50;
    int64_t given = argc > 2 ? number(argv[2]) : 0;
    uint64_t generator = (uint64_t)given;
    int32_t token = MODEL_START;
    if (argc > 3 || count < 0 || given < 0) {
        fprintf(stderr, "usage: %s [TOKENS [SEED]]\\nPrints TOKENS tokens (50), drawn with SEED (0).\\n", argv[0]);
        return 2;
    }
    model_begin(&state);
    while (count-- > 0) {
        model_step(&state, token, log_probabilities);
        token = draw(log_probabilities, uniform(&generator));
        fwrite(tokens[token].text, 1, tokens[token].size, stdout);
    }
    putchar('\\n');
    if (fflush(stdout) || ferror(stdout)) {
        fprintf(stderr, "%s: the text cannot be written\\n", argv[0]);
        return 1;
    }
    return 0;
}
"""
