/* Softmax attention inside one protein with a bias by distance: scores of a few queries at a time, never leaving cache.

   All operands are rows of units of four bytes: a float, or a pair of bf16 that the processor multiplies and adds at
   once. So one product serves both, and only packing and rounding differ. Lengths are in tokens, strides in units. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "lanes.h"

enum {
    TALL = 6, WIDE = 4,    /* a product's rows and columns of lanes, whose sums fill the registers */
    PANEL = LANES * WIDE,  /* keys that lie together */
    ROWS = 24, BLOCK = 512 /* queries and keys whose scores are held at once */
};

typedef struct { const float *at; long stride; } Rows;

INLINE V multiply_add(V sum, V a, V b, const int is_bf16) {
#ifdef __AVX512BF16__
    if (is_bf16) return _mm512_dpbf16_ps(sum, (__m512bh)a, (__m512bh)b);
#endif
    return _mm512_fmadd_ps(a, b, sum);
}

/* out = start + a b, for a of (tall, depth) and b of (depth, wide lanes). */
INLINE void product(const int tall, const int wide, Rows a, Rows b, long depth, Rows start, float *out, long stride,
                    const int is_bf16) {
    V sum[TALL][WIDE], row[WIDE];
    for (int r = 0; r < tall; r++)
        for (int c = 0; c < wide; c++) sum[r][c] = _mm512_loadu_ps(start.at + r * start.stride + c * LANES);
    for (long d = 0; d < depth; d++) {
        for (int c = 0; c < wide; c++) row[c] = _mm512_loadu_ps(b.at + d * b.stride + c * LANES);
        for (int r = 0; r < tall; r++) {
            V one = all(a.at[r * a.stride + d]);
            for (int c = 0; c < wide; c++) sum[r][c] = multiply_add(sum[r][c], one, row[c], is_bf16);
        }
    }
    for (int r = 0; r < tall; r++)
        for (int c = 0; c < wide; c++) _mm512_storeu_ps(out + r * stride + c * LANES, sum[r][c]);
}

#define CASE(T, W) case T * 8 + W: product(T, W, a, b, depth, start, out, stride, is_bf16); break;
#define CASES(T) CASE(T, 1) CASE(T, 2) CASE(T, 3) CASE(T, 4)

/* A product of any size up to the largest, each compiled for itself. */
INLINE void sized_product(int tall, int wide, Rows a, Rows b, long depth, Rows start, float *out, long stride,
                          const int is_bf16) {
    switch (tall * 8 + wide) { CASES(1) CASES(2) CASES(3) CASES(4) CASES(5) CASES(6) }
}

static __attribute__((noinline)) void product_bf16(int tall, int wide, Rows a, Rows b, long depth, Rows start,
                                                   float *out, long stride) {
    sized_product(tall, wide, a, b, depth, start, out, stride, 1);
}

static __attribute__((noinline)) void product_fp32(int tall, int wide, Rows a, Rows b, long depth, Rows start,
                                                   float *out, long stride) {
    sized_product(tall, wide, a, b, depth, start, out, stride, 0);
}

/* The same for as many rows as there are, and columns up to a panel. */
INLINE void tall_product(long rows, long columns, Rows a, Rows b, long depth, Rows start, float *out, long stride,
                         const int is_bf16) {
    int wide = (int)((least(PANEL, columns) + LANES - 1) / LANES);
    for (long r = 0; r < rows; r += TALL) {
        Rows a_r = {a.at + r * a.stride, a.stride}, start_r = {start.at + r * start.stride, start.stride};
        (is_bf16 ? product_bf16 : product_fp32)((int)least(TALL, rows - r), wide, a_r, b, depth, start_r,
                                                out + r * stride, stride);
    }
}

/* One query's scores of a block into softmax weights, in place, bf16 in pairs from the front. `top` and `total` are the
   highest score and the sum of weights so far; what was mixed before has to be multiplied by the result. */
INLINE float weigh(float *scores, long num_keys, float *top, float *total, const int is_bf16) {
    long end = (num_keys + 2 * LANES - 1) / (2 * LANES) * (2 * LANES);
    for (long j = num_keys; j < end; j++) scores[j] = -INFINITY;
    V high = all(*top), low_sum = all(0), high_sum = all(0);
    for (long j = 0; j < end; j += LANES) high = larger(high, _mm512_loadu_ps(scores + j));
    float highest = _mm512_reduce_max_ps(high), factor = expf(*top - highest);
    for (long j = 0; j < end; j += 2 * LANES) {
        V a = exponential(_mm512_sub_ps(_mm512_loadu_ps(scores + j), all(highest)), is_bf16);
        V b = exponential(_mm512_sub_ps(_mm512_loadu_ps(scores + j + LANES), all(highest)), is_bf16);
        low_sum = _mm512_add_ps(low_sum, a), high_sum = _mm512_add_ps(high_sum, b);
        put(scores, j, a, is_bf16), put(scores, j + LANES, b, is_bf16);
    }
    *top = highest;
    *total = *total * factor + _mm512_reduce_add_ps(_mm512_add_ps(low_sum, high_sum));
    return factor;
}

/* A protein's keys and values of one head, packed. */
typedef struct {
    float *keys;   /* panels of 64 keys: (L / 64, units, 64) */
    float *values; /* (units of L, K): two tokens side by side in bf16 */
    long length, width;
} Packed;

/* Up to 16 rows of up to 16 units to columns, `stride` apart. */
INLINE void transpose(Rows from, long rows, long units, float *to, long stride) {
    V r[16], t[16];
    for (long i = 0; i < 16; i++)
        r[i] = i < rows ? _mm512_maskz_loadu_ps((__mmask16)((1u << units) - 1), from.at + i * from.stride) : all(0);
    for (int i = 0; i < 16; i += 2)
        t[i] = _mm512_unpacklo_ps(r[i], r[i + 1]), t[i + 1] = _mm512_unpackhi_ps(r[i], r[i + 1]);
    for (int i = 0; i < 16; i += 4)
        for (int half = 0; half < 2; half++) {
            __m512d a = _mm512_castps_pd(t[i + half]), b = _mm512_castps_pd(t[i + half + 2]);
            r[i + 2 * half] = _mm512_castpd_ps(_mm512_unpacklo_pd(a, b));
            r[i + 2 * half + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(a, b));
        }
    for (int i = 0; i < 4; i++) {
        t[i] = _mm512_shuffle_f32x4(r[i], r[i + 4], 0x88), t[i + 4] = _mm512_shuffle_f32x4(r[i], r[i + 4], 0xdd);
        t[i + 8] = _mm512_shuffle_f32x4(r[i + 8], r[i + 12], 0x88);
        t[i + 12] = _mm512_shuffle_f32x4(r[i + 8], r[i + 12], 0xdd);
    }
    for (int i = 0; i < 8; i++) {
        r[i] = _mm512_shuffle_f32x4(t[i], t[i + 8], 0x88);
        r[i + 8] = _mm512_shuffle_f32x4(t[i], t[i + 8], 0xdd);
    }
    for (long i = 0; i < units; i++) _mm512_storeu_ps(to + i * stride, r[i]);
}

static void pack_keys(Packed packed, Rows keys, long units) {
    for (long j = 0; j < packed.length; j += LANES)
        for (long u = 0; u < units; u += LANES) {
            Rows from = {keys.at + j * keys.stride + u, keys.stride};
            float *to = packed.keys + j / PANEL * PANEL * units + u * PANEL + j % PANEL;
            transpose(from, least(LANES, packed.length - j), least(LANES, units - u), to, PANEL);
        }
}

static void pack_values(Packed packed, Rows values, const int is_bf16) {
    long units = is_bf16 ? packed.width / 2 : packed.width;
    for (long j = 0; j < packed.length; j += is_bf16 ? 2 : 1) {
        const float *row = values.at + j * values.stride;
        float *to = packed.values + (is_bf16 ? j / 2 : j) * packed.width;
        if (!is_bf16) {
            memcpy(to, row, (size_t)units * sizeof *to);
            continue;
        }
        for (long c = 0; c < packed.width; c += LANES) {
            __m512i a = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)(row + c / 2))), b = {0};
            if (j + 1 < packed.length)
                b = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)(row + values.stride + c / 2)));
            _mm512_storeu_si512(to + c, _mm512_or_si512(a, _mm512_slli_epi32(b, 16)));
        }
    }
}

/* Some queries' scores of all keys, a block at a time, and the values mixed by them; `bias` is that of the first query
   and key. */
INLINE void attend_rows(Rows queries, long rows, Packed packed, const float *bias, char *out, long stride,
                        const int is_bf16) {
    float scores[ROWS * BLOCK] __attribute__((aligned(64))), mixed[ROWS * 256] __attribute__((aligned(64)));
    float top[ROWS], total[ROWS];
    long width = packed.width, units = is_bf16 ? width / 2 : width;
    for (long r = 0; r < rows; r++) top[r] = -INFINITY, total[r] = 0;
    memset(mixed, 0, (size_t)(rows * width) * sizeof *mixed);
    for (long j0 = 0; j0 < packed.length; j0 += BLOCK) {
        long num_keys = least(BLOCK, packed.length - j0), depth = is_bf16 ? (num_keys + 1) / 2 : num_keys;
        for (long j = 0; j < num_keys; j += PANEL) {
            Rows panel = {packed.keys + (j0 + j) * units, PANEL}, biases = {bias + j0 + j, -1};
            tall_product(rows, num_keys - j, queries, panel, units, biases, scores + j, BLOCK, is_bf16);
        }
        for (long r = 0; r < rows; r++) {
            V factor = all(weigh(scores + r * BLOCK, num_keys, top + r, total + r, is_bf16));
            for (long c = r * width; j0 && c < (r + 1) * width; c += LANES)
                _mm512_storeu_ps(mixed + c, _mm512_mul_ps(factor, _mm512_loadu_ps(mixed + c)));
        }
        for (long c = 0; c < width; c += PANEL) {
            Rows values = {packed.values + (is_bf16 ? j0 / 2 : j0) * width + c, width}, so_far = {mixed + c, width};
            tall_product(rows, width - c, (Rows){scores, BLOCK}, values, depth, so_far, mixed + c, width, is_bf16);
        }
    }
    for (long r = 0; r < rows; r++)
        for (long c = 0; c < width; c += LANES) {
            V x = _mm512_mul_ps(_mm512_loadu_ps(mixed + r * width + c), all(1 / total[r]));
            put(out, r * stride + c, x, is_bf16);
        }
}

INLINE void attend_head(Rows queries, Packed packed, const float *bias, long first, long end, char *out, long stride,
                        const int is_bf16) {
    for (long i = first; i < end; i += ROWS) {
        Rows some = {queries.at + i * queries.stride, queries.stride};
        attend_rows(some, least(ROWS, end - i), packed, bias - i, out + i * stride * (is_bf16 ? 2 : 4), stride, is_bf16);
    }
}

/* Queries first..end of some heads of one protein of `length` tokens. Heads lie `width` numbers apart; tokens of q, k
   and v `stride`, of out `out_stride`; bias is that of distance 0 of the first head, the next head's `bias_stride`
   further; it is read, but not used, up to 64 distances beyond the last. Returns 0, or 1 where memory ran out. */
int openankh_attend(const char *q, const char *k, const char *v, long stride, char *out, long out_stride,
                    const float *bias, long bias_stride, long length, long num_heads, long width, long first, long end,
                    int is_bf16) {
    long size = is_bf16 ? 2 : 4, units = width * size / 4, step = stride * size / 4;
    size_t bytes = (size_t)((length + PANEL - 1) / PANEL * PANEL * units) * sizeof(float);
    Packed packed = {aligned_alloc(64, bytes), aligned_alloc(64, bytes), length, width};
    for (long h = 0; packed.keys && packed.values && h < num_heads; h++, bias += bias_stride) {
        long at = h * width * size;
        Rows queries = {(const float *)(q + at), step}, values = {(const float *)(v + at), step};
        pack_keys(packed, (Rows){(const float *)(k + at), step}, units);
        if (is_bf16) {
            pack_values(packed, values, 1);
            attend_head(queries, packed, bias, first, end, out + at, out_stride, 1);
        } else {
            pack_values(packed, values, 0);
            attend_head(queries, packed, bias, first, end, out + at, out_stride, 0);
        }
    }
    int failed = !packed.keys || !packed.values;
    free(packed.keys), free(packed.values);
    return failed;
}
