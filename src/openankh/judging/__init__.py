"""Judging designs: how far written proteins are those of a natural family, beside controls, in one page."""
