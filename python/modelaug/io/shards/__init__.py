"""Pairs as files, in shards: written, described by manifests, read again for training."""
