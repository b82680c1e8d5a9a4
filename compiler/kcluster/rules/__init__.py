"""Families of rules. They read spec, plan and physics, and compute nothing of their own."""
