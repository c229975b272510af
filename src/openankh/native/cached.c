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

/* scores (heads) of one query and one key, `room` apart. */
INLINE void score_key(const char *q, const char *k, float *scores, long heads, long width, long room, const int is_bf16) {
    for (long h = 0; h < heads; h++) {
        V sum = _mm512_mul_ps(get(q, h * width, is_bf16), get(k, h * width, is_bf16));
        for (long c = LANES; c < width; c += LANES)
            sum = _mm512_fmadd_ps(get(q, h * width + c, is_bf16), get(k, h * width + c, is_bf16), sum);
        scores[h * room] = _mm512_reduce_add_ps(sum);
    }
}

/* Scores of one head into weights that add up to 1; the bias of the last key stands last, before `end`. */
INLINE void soften(float *scores, long count, const float *end) {
    float most = -1e30f, total = 0;
    if (end)
        for (long t = 0; t < count; t++) scores[t] += end[t - count];
    for (long t = 0; t < count; t++) most = scores[t] > most ? scores[t] : most;
    V sum = all(0);
    for (long t = 0; t < count; t += LANES) { /* the room of a head is in whole vectors */
        __mmask16 there = (__mmask16)(count - t >= LANES ? 0xffff : (1u << (count - t)) - 1);
        V x = exponential(_mm512_sub_ps(_mm512_maskz_loadu_ps(there, scores + t), all(most)), 0);
        x = _mm512_maskz_mov_ps(there, x);
        _mm512_storeu_ps(scores + t, x);
        sum = _mm512_add_ps(sum, x);
    }
    total = _mm512_reduce_add_ps(sum);
    for (long t = 0; t < count; t += LANES)
        _mm512_storeu_ps(scores + t, _mm512_div_ps(_mm512_loadu_ps(scores + t), all(total)));
}

/* sum (heads, width) += weight of each head times the value. */
INLINE void add_value(float *sum, const char *v, const float *weights, long heads, long width, long room,
                      const int is_bf16) {
    for (long h = 0; h < heads; h++) {
        V weight = all(weights[h * room]);
        for (long c = h * width; c < (h + 1) * width; c += LANES)
            _mm512_storeu_ps(sum + c, _mm512_fmadd_ps(weight, get(v, c, is_bf16), _mm512_loadu_ps(sum + c)));
    }
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
INLINE void attend_group(const Work *w, const Group *g, long from, long to, float *scores, float *sums, long room,
                         const int is_bf16) {
    long size = is_bf16 ? 2 : 4, inner = w->heads * w->width, longest = 0;
    const int32_t *counts = w->counts + g->first;
    for (long j = from; j < to; j++) longest = counts[j] > longest ? counts[j] : longest;
    for (long t0 = 0; t0 < longest; t0 += KEYS)
        for (long j = from; j < to; j++) {
            const int32_t *table = table_row(g, j);
            for (long t = t0; t < least(t0 + KEYS, counts[j]); t++)
                score_key(w->q + (g->first + j) * w->q_stride * size, kept(g->keys, table, t, w->stride, is_bf16),
                          scores + (j - from) * w->heads * room + t, w->heads, w->width, room, is_bf16);
        }
    for (long j = from; j < to; j++)
        for (long h = 0; h < w->heads; h++)
            soften(scores + ((j - from) * w->heads + h) * room, counts[j], w->bias ? w->bias + (h + 1) * w->bias_stride : 0);
    memset(sums, 0, (to - from) * inner * sizeof(float));
    for (long t0 = 0; t0 < longest; t0 += KEYS)
        for (long j = from; j < to; j++) {
            const int32_t *table = table_row(g, j);
            for (long t = t0; t < least(t0 + KEYS, counts[j]); t++)
                add_value(sums + (j - from) * inner, kept(g->values, table, t, w->stride, is_bf16),
                          scores + (j - from) * w->heads * room + t, w->heads, w->width, room, is_bf16);
        }
    for (long j = from; j < to; j++)
        for (long c = 0; c < inner; c += LANES)
            put(w->out + (g->first + j) * w->out_stride * size, c, _mm512_loadu_ps(sums + (j - from) * inner + c), is_bf16);
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
    if (scores && sums)
        for (const Group *g = groups; g < groups + num_groups; g++) {
            if (targets) keep_rows(&w, g, q + inner * size, q + 2 * inner * size, targets, size);
            for (long from = 0; from < g->num; from += QUERIES) {
                long to = least(from + QUERIES, g->num);
                if (is_bf16) attend_group(&w, g, from, to, scores, sums, room, 1);
                else attend_group(&w, g, from, to, scores, sums, room, 0);
            }
        }
    int failed = !scores || !sums;
    free(scores);
    free(sums);
    return failed;
}
