"""Data to work with: generated phantoms."""

from modelaug.datasets import phantoms

__all__ = ["phantoms"]
