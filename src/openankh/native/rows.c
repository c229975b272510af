/* What a layer does to each token by itself between its matrix products: residual, norm, gate. */
#include "lanes.h"

/* One token: sum = x + y where there is a y; normal = sum at unit mean square, times scale where there is one. */
INLINE void normalise_row(const float *x, const char *y, float *sum, char *normal, const float *scale, long width,
                          float eps, const int is_bf16) {
    V squares = all(0), squares_too = all(0);
    for (long c = 0; c < width; c += LANES) {
        V z = _mm512_loadu_ps(x + c);
        if (y) z = _mm512_add_ps(z, get(y, c, is_bf16));
        if (sum) _mm512_storeu_ps(sum + c, z);
        if (c & LANES) squares_too = _mm512_fmadd_ps(z, z, squares_too);
        else squares = _mm512_fmadd_ps(z, z, squares);
    }
    if (!normal) return;
    V mean = all(_mm512_reduce_add_ps(_mm512_add_ps(squares, squares_too)) / (float)width + eps);
    V factor = _mm512_div_ps(all(1), _mm512_sqrt_ps(mean));
    for (long c = 0; c < width; c += LANES) {
        V z = _mm512_mul_ps(_mm512_loadu_ps((sum ? sum : x) + c), factor);
        put(normal, c, scale ? _mm512_mul_ps(z, _mm512_loadu_ps(scale + c)) : z, is_bf16);
    }
}

/* x and sum (rows, width) are floats; y and normal are bf16 or floats. y, sum, normal and scale may be absent, but sum
   not where there is a y. */
void openankh_normalise(const float *x, const char *y, float *sum, char *normal, const float *scale, long rows,
                        long width, float eps, int is_bf16) {
    for (long r = 0; r < rows; r++) {
        long at = r * width, bytes = at * (is_bf16 ? 2 : 4);
        const char *y_r = y ? y + bytes : 0;
        float *sum_r = sum ? sum + at : 0;
        char *normal_r = normal ? normal + bytes : 0;
        if (is_bf16) normalise_row(x + at, y_r, sum_r, normal_r, scale, width, eps, 1);
        else normalise_row(x + at, y_r, sum_r, normal_r, scale, width, eps, 0);
    }
}

enum { GELU, SILU, RELU };

/* gelu in its tanh form is x times the logistic function of a polynomial, as silu is of x. */
INLINE V activate(V x, const int activation, const int is_bf16) {
    if (activation == RELU) return larger(all(0), x);
    V exponent = activation == SILU ? _mm512_sub_ps(all(0), x) : _mm512_mul_ps(x,
        _mm512_fmadd_ps(_mm512_mul_ps(x, x), all(-0.0713548163f), all(-1.59576912f)));
    V divisor = _mm512_add_ps(all(1), exponential(exponent, is_bf16));
    if (is_bf16) return _mm512_mul_ps(x, _mm512_rcp14_ps(divisor));
    return _mm512_div_ps(x, divisor);
}

INLINE void activate_rows(const char *x, char *out, long rows, long width, int is_gated, const int activation,
                          const int is_bf16) {
    for (long r = 0; r < rows; r++)
        for (long c = 0; c < width; c += LANES) {
            long at = r * width * (is_gated ? 2 : 1) + c;
            V y = activate(get(x, at, is_bf16), activation, is_bf16);
            if (is_gated) y = _mm512_mul_ps(y, get(x, at + width, is_bf16));
            put(out, r * width + c, y, is_bf16);
        }
}

#define ACTIVATE(KIND) \
    if (is_bf16) activate_rows(x, out, rows, width, is_gated, KIND, 1); \
    else activate_rows(x, out, rows, width, is_gated, KIND, 0)

/* out (rows, width) = activation(x), or of gated x (rows, 2 width) the activated first half times the second. */
void openankh_activate(const char *x, char *out, long rows, long width, int is_gated, int activation, int is_bf16) {
    if (activation == GELU) { ACTIVATE(GELU); }
    else if (activation == SILU) { ACTIVATE(SILU); }
    else { ACTIVATE(RELU); }
}
