"""Damage to one small file of every kind that the package reads, in processes that are watched."""
