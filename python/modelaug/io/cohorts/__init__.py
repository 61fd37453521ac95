"""Cohorts out of files and folders, and as such."""
