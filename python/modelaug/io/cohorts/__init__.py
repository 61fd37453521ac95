"""Cohorts as single files and as folders of images, labels and landmarks."""
