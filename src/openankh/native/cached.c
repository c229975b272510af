/* Attention of few queries to keys and values that are kept: decoding a token at a time. What a row of numbers becomes
   depends on that row alone, in the same order of operations whatever others are computed with it. */
#include "lanes.h"
#include <stdlib.h>
#include <string.h>

enum { QUERIES = 32, KEYS = 16 };

/* Some queries that read the same kept keys: rows `first` to `first + num` of the queries. Kept rows lie `stride` numbers
   apart. Query j reads those that row j / each of `table` (num / each, table_stride) lists, without a table those from 0
   on. */
typedef struct {
    int64_t first, num;
    char *keys, *values;
    const int32_t *table;
    int64_t table_stride, each;
} Group;

INLINE const int32_t *table_row(const Group *g, long j) {
    return g->table ? g->table + j / g->each * g->table_stride : 0;
}

INLINE const char *kept(const char *from, const int32_t *table, long t, long stride, const int is_bf16) {
    return from + (table ? table[t] : t) * stride * (is_bf16 ? 2 : 4);
}

/* The sums of sixteen vectors, one a lane: always in the same order of additions. */
INLINE V sums_of(V x[KEYS]) {
    V y[KEYS / 2], z[KEYS / 4];
    for (int i = 0; i < KEYS / 2; i++)
        y[i] = _mm512_add_ps(_mm512_unpacklo_ps(x[2 * i], x[2 * i + 1]), _mm512_unpackhi_ps(x[2 * i], x[2 * i + 1]));
    for (int i = 0; i < KEYS / 4; i++) {
        __m512d one = _mm512_castps_pd(y[2 * i]), two = _mm512_castps_pd(y[2 * i + 1]);
        z[i] = _mm512_add_ps(_mm512_castpd_ps(_mm512_unpacklo_pd(one, two)),
                             _mm512_castpd_ps(_mm512_unpackhi_pd(one, two)));
    }
    for (int i = 0; i < 2; i++)
        y[i] = _mm512_add_ps(_mm512_shuffle_f32x4(z[2 * i], z[2 * i + 1], 0x88),
                             _mm512_shuffle_f32x4(z[2 * i], z[2 * i + 1], 0xdd));
    return _mm512_add_ps(_mm512_shuffle_f32x4(y[0], y[1], 0x88), _mm512_shuffle_f32x4(y[0], y[1], 0xdd));
}

/* Scores of one query and sixteen keys, those of a head `room` after those of the head before. */
INLINE void score_keys(const char *q, const char *keys[KEYS], float *scores, long heads, long width, long room,
                       const int is_bf16) {
    for (long h = 0; h < heads; h++) {
        V x[KEYS];
        V first = get(q, h * width, is_bf16);
#pragma GCC unroll 16
        for (int i = 0; i < KEYS; i++) x[i] = _mm512_mul_ps(first, get(keys[i], h * width, is_bf16));
        for (long c = h * width + LANES; c < (h + 1) * width; c += LANES) {
            V next = get(q, c, is_bf16);
#pragma GCC unroll 16
            for (int i = 0; i < KEYS; i++) x[i] = _mm512_fmadd_ps(next, get(keys[i], c, is_bf16), x[i]);
        }
        _mm512_storeu_ps(scores + h * room, sums_of(x));
    }
}

INLINE __mmask16 lanes_until(long end) { return (__mmask16)(end >= LANES ? 0xffff : (1u << end) - 1); }

/* Scores of one head into weights that add up to what is returned; the bias of the last key stands before `end`. */
INLINE float soften(float *scores, long count, const float *end) {
    V most = all(-1e30f), sum = all(0);
    for (long t = 0; t < count; t += LANES) {
        __mmask16 there = lanes_until(count - t);
        V x = _mm512_maskz_loadu_ps(there, scores + t);
        if (end) x = _mm512_add_ps(x, _mm512_maskz_loadu_ps(there, end - count + t));
        _mm512_storeu_ps(scores + t, x);
        most = _mm512_mask_max_ps(most, there, most, x);
    }
    V highest = all(_mm512_reduce_max_ps(most));
    for (long t = 0; t < count; t += LANES) {
        V x = exponential(_mm512_sub_ps(_mm512_loadu_ps(scores + t), highest), 0);
        x = _mm512_maskz_mov_ps(lanes_until(count - t), x);
        _mm512_storeu_ps(scores + t, x);
        sum = _mm512_add_ps(sum, x);
    }
    return _mm512_reduce_add_ps(sum);
}

/* sum (wide vectors) += the weights of some keys times their values. */
INLINE void add_part(float *sum, const char *values[KEYS], const float *weights, long num, long c, const int wide,
                     const int is_bf16) {
    V x[4];
    for (int i = 0; i < wide; i++) x[i] = _mm512_loadu_ps(sum + c + i * LANES);
    for (long t = 0; t < num; t++)
        for (int i = 0; i < wide; i++)
            x[i] = _mm512_fmadd_ps(all(weights[t]), get(values[t], c + i * LANES, is_bf16), x[i]);
    for (int i = 0; i < wide; i++) _mm512_storeu_ps(sum + c + i * LANES, x[i]);
}

/* sum (heads, width) += the weights of at most sixteen keys, `room` apart from head to head, times their values. */
INLINE void add_values(float *sum, const char *values[KEYS], const float *weights, long num, long heads, long width,
                       long room, const int is_bf16) {
    for (long h = 0; h < heads; h++) {
        long c = h * width, end = c + width;
        for (; c + 4 * LANES <= end; c += 4 * LANES) add_part(sum, values, weights + h * room, num, c, 4, is_bf16);
        for (; c + 2 * LANES <= end; c += 2 * LANES) add_part(sum, values, weights + h * room, num, c, 2, is_bf16);
        for (; c < end; c += LANES) add_part(sum, values, weights + h * room, num, c, 1, is_bf16);
    }
}

/* Sixteen kept rows of query j from t0 on; beyond its last the last again. */
INLINE void find(const char *rows[KEYS], const char *from, const Group *g, long j, long t0, long count, long stride,
                 const int is_bf16) {
    const int32_t *table = table_row(g, j);
    for (long i = 0; i < KEYS; i++) rows[i] = kept(from, table, least(t0 + i, count - 1), stride, is_bf16);
}

typedef struct {
    const char *q;
    char *out;
    long q_stride, out_stride, stride, heads, width;
    const int32_t *counts;
    const float *bias;
    long bias_stride;
} Work;

/* Queries `from` to `to` of a group. Kept rows are read once for all of them, a few at a time. */
INLINE void attend_group(const Work *w, const Group *g, long from, long to, float *scores, float *sums, float *totals,
                         long room, const int is_bf16) {
    long size = is_bf16 ? 2 : 4, inner = w->heads * w->width, longest = 0, of_query = w->heads * room;
    const int32_t *counts = w->counts + g->first;
    const char *rows[KEYS];
    for (long j = from; j < to; j++) longest = counts[j] > longest ? counts[j] : longest;
    for (long t0 = 0; t0 < longest; t0 += KEYS)
        for (long j = from; j < to; j++) {
            if (t0 >= counts[j]) continue;
            find(rows, g->keys, g, j, t0, counts[j], w->stride, is_bf16);
            score_keys(w->q + (g->first + j) * w->q_stride * size, rows, scores + (j - from) * of_query + t0, w->heads,
                       w->width, room, is_bf16);
        }
    for (long j = from; j < to; j++)
        for (long h = 0; h < w->heads; h++)
            totals[(j - from) * w->heads + h] = soften(scores + (j - from) * of_query + h * room, counts[j],
                                                       w->bias ? w->bias + (h + 1) * w->bias_stride : 0);
    memset(sums, 0, (to - from) * inner * sizeof(float));
    for (long t0 = 0; t0 < longest; t0 += KEYS)
        for (long j = from; j < to; j++) {
            if (t0 >= counts[j]) continue;
            find(rows, g->values, g, j, t0, counts[j], w->stride, is_bf16);
            add_values(sums + (j - from) * inner, rows, scores + (j - from) * of_query + t0,
                       least(KEYS, counts[j] - t0), w->heads, w->width, room, is_bf16);
        }
    for (long j = from; j < to; j++)
        for (long c = 0; c < inner; c += LANES)
            put(w->out + (g->first + j) * w->out_stride * size, c,
                _mm512_div_ps(_mm512_loadu_ps(sums + (j - from) * inner + c),
                              all(totals[(j - from) * w->heads + c / w->width])), is_bf16);
}

/* Keep what rows of k and v hold, each at the place that `targets` gives it among its group's kept rows. */
static void keep_rows(const Work *w, const Group *g, const char *k, const char *v, const int32_t *targets, long size) {
    for (long r = g->first; r < g->first + g->num; r++) {
        long bytes = w->heads * w->width * size, to = targets[r] * w->stride * size, from = r * w->q_stride * size;
        memcpy(g->keys + to, k + from, bytes);
        memcpy(g->values + to, v + from, bytes);
    }
}

/* out = unscaled softmax attention of each group's queries; where there are targets, what follows a query in its row is
   its own key and value, kept first. Returns 1 when memory has run out. */
int openankh_attend_kept(const char *q, long q_stride, char *out, long out_stride, const Group *groups, long num_groups,
                         long stride, const int32_t *counts, const int32_t *targets, const float *bias,
                         long bias_stride, long heads, long width, long longest, int is_bf16) {
    Work w = {q, out, q_stride, out_stride, stride, heads, width, counts, bias, bias_stride};
    long inner = heads * width, room = (longest + LANES - 1) / LANES * LANES, size = is_bf16 ? 2 : 4;
    float *scores = malloc((size_t)QUERIES * heads * room * sizeof(float));
    float *sums = malloc((size_t)QUERIES * inner * sizeof(float));
    float *totals = malloc((size_t)QUERIES * heads * sizeof(float));
    if (scores && sums && totals)
        for (const Group *g = groups; g < groups + num_groups; g++) {
            if (targets) keep_rows(&w, g, q + inner * size, q + 2 * inner * size, targets, size);
            for (long from = 0; from < g->num; from += QUERIES) {
                long to = least(from + QUERIES, g->num);
                if (is_bf16) attend_group(&w, g, from, to, scores, sums, totals, room, 1);
                else attend_group(&w, g, from, to, scores, sums, totals, room, 0);
            }
        }
    int failed = !scores || !sums || !totals;
    free(totals);
    free(scores);
    free(sums);
    return failed;
}
