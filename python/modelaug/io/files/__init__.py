"""Files as such: what is in a folder, locks, reading with checks, writing under a temporary name."""
