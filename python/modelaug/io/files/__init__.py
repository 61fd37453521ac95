"""Files in general: locks of folders, reading with checks, writing under a temporary name, provenance."""
