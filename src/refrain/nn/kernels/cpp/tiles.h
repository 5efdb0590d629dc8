// Matrix multiplications by the tile registers of AMX: of bf16 with sums in float32, and of bytes with sums in integers
// of 32 bits.
//
// A tile has up to 16 rows of 64 bytes. One instruction multiplies 16 words of depth of up to 16 rows by as many words
// of 16 columns, and adds the products to a third tile.
#pragma once

#include "vectors.h"

// words of depth that one instruction multiplies
constexpr int STRIPE = 16;

#if defined(__AMX_BF16__) && defined(__AMX_INT8__) && defined(__AVX512BF16__)

template <typename Element>
constexpr bool BY_TILES = false;
template <>
constexpr bool BY_TILES<bf16> = true;
template <>
constexpr bool BY_TILES<uint8_t> = true;

// Some compilers do not know that instructions for tiles read memory; before this, everything is written.
static inline void finish_stores() { asm volatile("" ::: "memory"); }

// The tile registers of a thread: their shape is set by the first multiplication and by each of other rows, and they
// are released at the end. Tiles 0 and 1 have the sums of the first rows for two vectors of columns, 2 and 3 those of
// the other rows, 4 and 5 the rows, 6 and 7 the columns.
class Tiles {
    int first = 0, second = 0;

    struct alignas(64) Shape {
        uint8_t palette = 1, start = 0, reserved[14] = {};
        uint16_t bytes[16] = {};
        uint8_t rows[16] = {};
    };

  public:
    Tiles() = default;
    Tiles(const Tiles&) = delete;
    Tiles& operator=(const Tiles&) = delete;
    ~Tiles() {
        if (first) _tile_release();
    }

    // Sums of up to two times 16 rows; without others, `others` is 0.
    void set_rows(int rows, int others) {
        if (rows == first && others == second) return;
        first = rows;
        second = others;
        const int all[8] = {rows, rows, others, others, rows, others, STRIPE, STRIPE};
        Shape shape;
        for (int tile = 0; tile < 8; ++tile) {
            shape.rows[tile] = (uint8_t)all[tile];
            shape.bytes[tile] = all[tile] ? 64 : 0;
        }
        finish_stores();
        _tile_loadconfig(&shape);
    }
};

// words of depth after which the columns are read that are prefetched
constexpr int64_t EARLIER = 2 * STRIPE;

// Add the products of the rows in tile A and of the columns in tile B to the sums in tile C. The names of tiles are
// words of the assembler, so this is no function.
#define MULTIPLY_TILES(C, A, B)                        \
    do {                                               \
        if constexpr (sizeof(Element) == sizeof(bf16)) \
            _tile_dpbf16ps(C, A, B);                   \
        else                                           \
            _tile_dpbusd(C, A, B);                     \
    } while (false)

// The sums of a part of the rows, and of two vectors of a panel of V, or of its last one, `ONE`.
template <typename Element, int V, bool ONE, bool OTHERS>
static inline void multiply_two(const uint32_t* a, int64_t rows, int64_t own, const uint32_t* columns, int64_t depth,
                                float* out) {
    constexpr size_t ROW = V * LANES * sizeof(float), WORDS = STRIPE * sizeof(uint32_t);
    _tile_zero(0);
    if (!ONE) _tile_zero(1);
    if (OTHERS) _tile_zero(2);
    if (OTHERS && !ONE) _tile_zero(3);
    for (int64_t k = 0; k < depth; k += STRIPE, a += STRIPE * rows, columns += STRIPE * V * LANES) {
        for (int word = 0; word < STRIPE; ++word)
            for (int v = 0; v < (ONE ? 1 : 2); ++v)
                __builtin_prefetch(columns + ((EARLIER + word) * V + v) * LANES, 0, 3);
        _tile_loadd(6, columns, ROW);
        _tile_loadd(4, a, WORDS);
        MULTIPLY_TILES(0, 4, 6);
        if (OTHERS) _tile_loadd(5, a + own * STRIPE, WORDS);
        if (OTHERS) MULTIPLY_TILES(2, 5, 6);
        if (ONE) continue;
        _tile_loadd(7, columns + LANES, ROW);
        MULTIPLY_TILES(1, 4, 7);
        if (OTHERS) MULTIPLY_TILES(3, 5, 7);
    }
    _tile_stored(0, out, ROW);
    if (!ONE) _tile_stored(1, out + LANES, ROW);
    if (OTHERS) _tile_stored(2, out + own * V * LANES, ROW);
    if (OTHERS && !ONE) _tile_stored(3, out + own * V * LANES + LANES, ROW);
}

// The sums of up to 16 rows and of the four vectors of a panel, which is read from its beginning to its end.
template <typename Element>
static inline void multiply_four(const uint32_t* a, int64_t rows, const uint32_t* columns, int64_t depth, float* out) {
    constexpr size_t ROW = 4 * LANES * sizeof(float), WORDS = STRIPE * sizeof(uint32_t);
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    for (int64_t k = 0; k < depth; k += STRIPE, a += STRIPE * rows, columns += STRIPE * 4 * LANES) {
        for (int line = 0; line < STRIPE * 4; ++line)
            __builtin_prefetch(columns + EARLIER * 4 * LANES + line * LANES, 0, 3);
        _tile_loadd(4, a, WORDS);
        _tile_loadd(6, columns, ROW);
        MULTIPLY_TILES(0, 4, 6);
        _tile_loadd(7, columns + LANES, ROW);
        MULTIPLY_TILES(1, 4, 7);
        _tile_loadd(6, columns + 2 * LANES, ROW);
        MULTIPLY_TILES(2, 4, 6);
        _tile_loadd(7, columns + 3 * LANES, ROW);
        MULTIPLY_TILES(3, 4, 7);
    }
    _tile_stored(0, out, ROW);
    _tile_stored(1, out + LANES, ROW);
    _tile_stored(2, out + 2 * LANES, ROW);
    _tile_stored(3, out + 3 * LANES, ROW);
}

// All rows times one panel of V vectors, as `multiply` in matmul.h.
template <typename Element, int V>
static void multiply_by_tiles(Tiles& tiles, const uint32_t* a, int64_t rows, const uint32_t* panel, int64_t depth,
                              float* out) {
    const int64_t parts = (rows + 2 * STRIPE - 1) / (2 * STRIPE);
    finish_stores();
    for (int64_t part = 0; part < parts; ++part) {
        const int64_t first = rows * part / parts, count = rows * (part + 1) / parts - first;
        const int64_t own = count > STRIPE ? (count + 1) / 2 : count;
        if (V == 4 && count == own) {
            tiles.set_rows((int)own, (int)own);
            multiply_four<Element>(a + first * STRIPE, rows, panel, depth, out + first * V * LANES);
            continue;
        }
        tiles.set_rows((int)own, (int)(count - own));
        for (int v = 0; v < V; v += 2) {
            const uint32_t* columns = panel + v * LANES;
            float* sums = out + (first * V + v) * LANES;
            const uint32_t* from = a + first * STRIPE;
            if (v + 1 == V)
                count > own ? multiply_two<Element, V, true, true>(from, rows, own, columns, depth, sums)
                            : multiply_two<Element, V, true, false>(from, rows, own, columns, depth, sums);
            else
                count > own ? multiply_two<Element, V, false, true>(from, rows, own, columns, depth, sums)
                            : multiply_two<Element, V, false, false>(from, rows, own, columns, depth, sums);
        }
    }
    finish_stores();
}

#else

template <typename Element>
constexpr bool BY_TILES = false;

struct Tiles {};

template <typename Element, int V>
static void multiply_by_tiles(Tiles&, const uint32_t*, int64_t, const uint32_t*, int64_t, float*) {}

#endif
