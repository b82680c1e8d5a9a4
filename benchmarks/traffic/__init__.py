"""The network that each axis of a cut asks for, beside the ranges that articles quote."""
