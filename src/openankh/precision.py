"""In which numbers a network computes, as users name it; what results are stored in is a choice of its own."""

from typing import Literal

Precision = Literal["auto", "fp32", "bf16", "fp16", "int8"]
"""`auto` is the type of the weights as they were loaded."""

PRECISIONS: tuple[Precision, ...] = ("auto", "fp32", "bf16", "fp16", "int8")
