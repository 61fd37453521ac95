"""Formats of images: pictures, TIFF, NIfTI, MetaImage, NRRD and DICOM."""
