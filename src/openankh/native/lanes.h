/* Sixteen floats at a time, as AVX-512 holds them, and what the kernels compute with them. */
#ifndef LANES_H
#define LANES_H

#include <immintrin.h>
#include <stdint.h>

#define INLINE static inline __attribute__((always_inline))

typedef __m512 V;
enum { LANES = 16 };

INLINE long least(long a, long b) { return a < b ? a : b; }

INLINE V all(float x) { return _mm512_set1_ps(x); }

/* The larger, or the second where it is not a number: damage must not vanish. */
INLINE V larger(V limit, V x) { return _mm512_max_ps(limit, x); }

INLINE V smaller(V limit, V x) { return _mm512_min_ps(limit, x); }

/* e^x between e^-87 and e^88, so that nothing becomes denormal or infinite: to 1e-7, or where that is more than bf16
   holds to 3e-6. */
INLINE V exponential(V x, const int is_rough) {
    x = smaller(all(88), larger(all(-87), x));
    V scaled = _mm512_mul_ps(x, all(1.44269504f)), rest, y;
    V whole = _mm512_roundscale_ps(scaled, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    if (is_rough) { /* a polynomial for 2^rest */
        rest = _mm512_sub_ps(scaled, whole);
        y = _mm512_fmadd_ps(all(9.5701017e-3f), rest, all(5.59178603e-2f));
        y = _mm512_fmadd_ps(y, rest, all(2.40247448e-1f));
        y = _mm512_fmadd_ps(y, rest, all(6.93121815e-1f));
    } else { /* one for e^rest; ln 2 in two parts, or large x would lose digits */
        rest = _mm512_fnmadd_ps(whole, all(0.693359375f), x);
        rest = _mm512_fnmadd_ps(whole, all(-2.12194440e-4f), rest);
        y = _mm512_fmadd_ps(all(1.9875691500e-4f), rest, all(1.3981999507e-3f));
        y = _mm512_fmadd_ps(y, rest, all(8.3334519073e-3f));
        y = _mm512_fmadd_ps(y, rest, all(4.1665795894e-2f));
        y = _mm512_fmadd_ps(y, rest, all(1.6666665459e-1f));
        y = _mm512_fmadd_ps(y, rest, all(5.0000001201e-1f));
        y = _mm512_fmadd_ps(y, rest, all(1));
    }
    return _mm512_scalef_ps(_mm512_fmadd_ps(y, rest, all(1)), whole);
}

/* Sixteen numbers of an array of bf16 or float, from index i. */
INLINE V get(const void *from, long i, const int is_bf16) {
    if (!is_bf16) return _mm512_loadu_ps((const float *)from + i);
    __m256i half = _mm256_loadu_si256((const __m256i *)((const uint16_t *)from + i));
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16));
}

INLINE void put(void *to, long i, V x, const int is_bf16) {
#ifdef __AVX512BF16__
    if (is_bf16) {
        _mm256_storeu_si256((__m256i *)((uint16_t *)to + i), (__m256i)_mm512_cvtneps_pbh(x));
        return;
    }
#endif
    _mm512_storeu_ps((float *)to + i, x);
}

#endif
