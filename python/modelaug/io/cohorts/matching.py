"""Assignment of files to subjects, by names or by patterns. No file is left out silently."""

from __future__ import annotations

import codecs
import glob
import logging
import os
import re
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

from modelaug.io.files.paths import stem, suffix
from modelaug.io.files.reading import ModelFileError, refuse_if
from modelaug.io.formats.dicom import dicom_files
from modelaug.io.formats.dicom_planes import is_dicom
from modelaug.io.images import IMAGE_SUFFIXES
from modelaug.io.landmarks import LANDMARK_SUFFIXES, holds_landmarks

_LOG: Final = logging.getLogger("modelaug.io")

# Names of segmentations in 3D Slicer, ITK-SNAP, nnU-Net, MONAI Label and BIDS; also two: anna_Segmentation.seg.nrrd.
_LABELS: Final = re.compile(
    r"(?P<name>.+)[ ._-](labels?|label[ ._-]?maps?|d?seg|segmentations?|gt|ground[ ._-]?truth|masks?|annotations?)",
    re.I,
)
_LANDMARKS: Final = re.compile(r"(?P<name>.+)[ ._-]landmarks?", re.I)
_LABEL_SUFFIXES: Final = tuple(each for each in IMAGE_SUFFIXES if each not in (".jpg", ".jpeg"))
_READ: Final = (*IMAGE_SUFFIXES, *LANDMARK_SUFFIXES)
_PLACE: Final = "{name}"

_FOLDERS: Final = {"images": ("images", "imagesTr"), "labels": ("labels", "labelsTr"), "landmarks": ("landmarks",)}
_PARTNERS: Final = (*_FOLDERS["labels"], *_FOLDERS["landmarks"])
_FINISHED: Final = "final"
"""MONAI Label's folder, within the folder of labels, of those that a person has approved."""
_CHANNELS: Final = "imagesTr"
"""nnU-Net's folder, in which the images of NAME are called NAME_0000, NAME_0001, ..."""
_FIRST_CHANNEL: Final = "0000"
_CHANNEL: Final = re.compile(r"(?P<name>.+)_(?P<number>\d{4})")

_UNREAD: Final = (
    *(".hdr", ".img", ".mgz", ".mgh", ".mnc", ".gipl", ".vtk", ".vti", ".par", ".rec", ".ima"),
    *(".dicom", ".bmp", ".gif", ".webp", ".jp2", ".j2k", ".heic", ".tga", ".ppm", ".pgm", ".mat", ".h5", ".hdf5"),
)
"""Endings of images in formats that are not read."""
_NOTES: Final = (".txt", ".md", ".rst", ".pdf", ".doc", ".docx", ".log", ".json", ".toml", ".py", ".ipynb", ".html", "")
"""Endings of notes, which are mentioned only if they are named like a subject, or lie among data."""
_KNOWN_NOTES: Final = re.compile(
    r"readme|licen[cs]e|copying|copyright|notice|authors|contributors|contributing|citation|changes|changelog|history|"
    r"version|makefile|dataset|dataset_description",
    re.I,
)
_PROBED: Final = 4096
"""Bytes of a file that tell whether it is text."""
_HEADERS: Final = (".mhd", ".nhdr", ".hdr")
_VALUES: Final = (".raw", ".zraw", ".img", ".gz")
_JUNK: Final = ("thumbs.db", "desktop.ini")
_MOST_LISTED: Final = 5


class SubjectFiles(NamedTuple):
    """The files of one subject.

    Attributes
    ----------
    name
        The subject's name.
    image, labels, landmarks
        Its files; the latter two may be missing.
    """

    name: str
    image: Path
    labels: Path | None = None
    landmarks: Path | None = None


@dataclass(frozen=True)
class _Found:
    """The content of a folder: data files, or folders of DICOM, with their names, and all other files.

    Attributes
    ----------
    place
        The folder of the images.
    own
        Whether labels, or landmarks, have a folder of their own.
    images, labels, landmarks
        Names and paths; names of labels and landmarks may go on after the subject's.
    remaining
        All other files that are not hidden.
    """

    place: Path
    own: Mapping[str, bool]
    images: list[tuple[str, Path]] = field(default_factory=list)
    labels: list[tuple[str, Path]] = field(default_factory=list)
    landmarks: list[tuple[str, Path]] = field(default_factory=list)
    remaining: list[Path] = field(default_factory=list)


def match_folder(folder: Path, subjects: Sequence[str] | None = None) -> list[SubjectFiles]:
    """Return the files of the subjects in a folder, by their names, or for `subjects` in their order.

    ``NAME.nii.gz`` or another image is that of subject NAME, as is a folder NAME with DICOM files. ``NAME_labels``,
    ``NAME_seg``, ``NAME_mask`` or another word for labels with the ending of an image are its labels, ``NAME.csv`` or
    ``NAME_landmarks.csv`` or another file of landmarks its landmarks; as ``.npy``, only the latter. Folders ``images``,
    ``labels`` or ``landmarks`` hold these files where they exist, also as plain ``NAME``.

    Without `subjects`, every file that is left out is named: data in an error, other files in one line of the log
    ``modelaug.io``.

    Raises
    ------
    ModelFileError
        If there is no image, a subject has two files of a kind, or lacks one that others have; if labels or landmarks
        belong to no image, or an image is of a format that is not read.
    """
    found = _list_files(folder)
    if not found.images:
        hints = [f"; {each.name} is of a format that is not read" for each in found.remaining if _is_data(each)]
        hints += [f"; {path.name} is called like labels" for _, path in found.labels]
        raise ModelFileError(
            f"{found.place} holds no images ({', '.join(IMAGE_SUFFIXES)}){(hints or [''])[0]}; pass another folder, or "
            "say where they are in a cohort.toml"
        )
    of_images = _by_name(found.images, "images")
    unknown = next((name for name in subjects or () if name not in of_images), None)
    refuse_if(unknown is not None, f"subject {unknown!r} has no image in {found.place}; check the list of subjects")
    names = sorted(of_images) if subjects is None else list(subjects)
    partners: dict[str, dict[str, Path]] = {}
    unmatched: list[tuple[str, Path]] = []
    for kind, words, files in (("labels", _LABELS, found.labels), ("landmarks", _LANDMARKS, found.landmarks)):
        named = [(_subject(words, called, of_images), path) for called, path in files]
        fitting = _by_name([(name, path) for name, path in named if name in of_images], kind)
        alone = sorted((path.name, name, path) for name, path in named if name not in of_images)
        lacking = [name for name in names if name not in fitting]
        if lacking and (len(lacking) < len(names) or (files and found.own[kind])):
            hint = f" ({alone[0][0]} belongs to no image)" if alone else ""
            raise ModelFileError(
                f"subject {lacking[0]!r} in {folder} has no {kind}{hint}; name the file after its image, or list the "
                "subjects to use in a cohort.toml"
            )
        partners[kind] = fitting
        unmatched += [(name, path) for _, name, path in alone]
    _check_misplaced(found.remaining, names)
    if subjects is None:
        _check_unmatched(unmatched, found)
        others = {*found.remaining, *(path for _, path in unmatched)}
        _warn_of(folder, sorted(path for path in others if not _is_ignorable(path, names, found)))
    return [
        SubjectFiles(name, of_images[name], partners["labels"].get(name), partners["landmarks"].get(name))
        for name in names
    ]


def _list_files(folder: Path) -> _Found:
    """List and sort the files in a folder, and in its folders of images, labels and landmarks."""
    places = {
        kind: next((folder / name for name in names if (folder / name).is_dir()), None)
        for kind, names in _FOLDERS.items()
    }
    found = _Found(places["images"] or folder, {kind: place is not None for kind, place in places.items()})
    if found.own["images"]:
        found.remaining.extend(path for path in _entries(folder) if path not in places.values())
    for kind, files, suffixes in (
        ("labels", found.labels, _LABEL_SUFFIXES),
        ("landmarks", found.landmarks, LANDMARK_SUFFIXES),
    ):
        place = places[kind]
        finished = () if place is None else _entries(place / _FINISHED)
        for path in (*(() if place is None else _entries(place)), *finished):
            if (called := _called(path, suffixes)) is not None:
                files.append((called, path))
            elif not (finished and path.name == _FINISHED):
                found.remaining.append(path)
    _sort_images(found, [path for path in _entries(found.place) if path not in places.values()])
    return found


def _sort_images(found: _Found, paths: Sequence[Path]) -> None:
    """Sort the files in the folder of the images into images, labels, landmarks and others."""
    pictures = []
    for path in paths:
        if (called := _called(path, IMAGE_SUFFIXES)) is not None:
            pictures.append((called, path))
        elif suffix(path) in LANDMARK_SUFFIXES and not found.own["landmarks"]:
            found.landmarks.append((stem(path), path))
        else:
            found.remaining.append(path)
    every = {called for called, _ in pictures}
    labelled = {called for called, _ in found.labels}  # in a folder of their own, whose names may end in any word
    for called, path in pictures:
        before = _stripped(_LABELS, called)
        beside = not every.isdisjoint(before)
        if not found.own["landmarks"] and suffix(path) == ".npy" and _LANDMARKS.fullmatch(called):
            found.landmarks.append((called, path))
        elif not before or called in labelled or (found.own["labels"] and not beside):
            found.images.append((called, path))
        elif path.is_dir() or suffix(path) in _LABEL_SUFFIXES:
            found.labels.append((called, path))
        elif beside:
            found.remaining.append(path)
        else:
            found.images.append((called, path))
    if found.place.name == _CHANNELS:
        _strip_channels(found)


def _strip_channels(found: _Found) -> None:
    """Remove the numbers of nnU-Net's channels from names; other numbers of four digits are parts of names."""
    partners = {name for called, _ in found.labels for name in (called, *_stripped(_LABELS, called))}
    partners |= {name for called, _ in found.landmarks for name in (called, *_stripped(_LANDMARKS, called))}
    numbers: dict[str, set[str]] = {}
    whole = set()  # names before a number that is their own
    for match in (_CHANNEL.fullmatch(called) for called, _ in found.images):
        if match:
            numbers.setdefault(match["name"], set()).add(match["number"])
            if match[0] in partners:
                whole.add(match["name"])
    whole |= {
        name for name, each in numbers.items() if name not in partners and len(each) > 1 and _FIRST_CHANNEL not in each
    }
    for i, (called, path) in enumerate(found.images):
        match = _CHANNEL.fullmatch(called)
        if match and match["name"] not in whole:
            found.images[i] = (match["name"], path)


def _entries(folder: Path) -> list[Path]:
    """List a folder without hidden and system files; empty where there is no folder."""
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.name[0] != "." and path.name.lower() not in _JUNK)


def _called(path: Path, suffixes: Container[str]) -> str | None:
    """Return the name of a file with one of the suffixes, or of DICOM files or their folder; None for other files."""
    dicom = ".dcm" in suffixes
    if path.is_dir():
        return path.name if dicom and dicom_files(path) else None
    return stem(path) if suffix(path) in suffixes or (dicom and suffix(path) not in _READ and is_dicom(path)) else None


def _stripped(words: re.Pattern[str], called: str) -> list[str]:
    """Return a name without its last word, without the last two, and so on, as far as they match."""
    names = []
    while match := words.fullmatch(called):
        called = match["name"]
        names.append(called)
    return names


def _subject(words: re.Pattern[str], called: str, images: Container[str]) -> str:
    """Return the name of the subject whose labels or landmarks have this name."""
    names = (called, *_stripped(words, called))
    return next((name for name in names if name in images), names[-1])


def _check_misplaced(remaining: Iterable[Path], names: Sequence[str]) -> None:
    """Refuse data of a subject in a folder or format where they are not read."""
    for path in remaining:
        if path.is_dir() or suffix(path) not in _READ:
            continue
        called = (stem(path), *_stripped(_LABELS, stem(path)), *_stripped(_LANDMARKS, stem(path)))
        name = next((each for each in called if each in names), None)
        if name is not None and (suffix(path) != ".csv" or holds_landmarks(path)):
            raise ModelFileError(
                f"{path} is called like subject {name!r} but is not read there or in this format; put it where the "
                "other files are, in their format, or remove it"
            )


def _check_unmatched(unmatched: Iterable[tuple[str, Path]], found: _Found) -> None:
    """Refuse data without a subject."""
    remedy = "remove it, or list the subjects to use in a cohort.toml"
    for name, path in unmatched:
        if suffix(path) != ".csv" or holds_landmarks(path):  # a table may be of anything
            unread = next((each for each in found.remaining if name in (each.name, stem(each))), None)
            hint = "" if unread is None else f" ({unread.name} is none that is read)"
            raise ModelFileError(
                f"{path} belongs to no image, {found.place} has none of {name!r}{hint}; add it, {remedy}"
            )
    read = {stem(path) for _, path in found.images}
    for path in found.remaining:
        beside = found.own["images"] and path.parent == found.place.parent
        if _is_data(path) and not beside and stem(path) not in read:  # unlike the voxels of a header in another file
            raise ModelFileError(f"{path} is of a format that is not read; save it as .nii.gz, .nrrd or .png, {remedy}")


def _is_data(path: Path) -> bool:
    """Return whether a file is an image of a format that is not read."""
    return path.is_file() and suffix(path) in _UNREAD and suffix(path) not in _READ


def _is_ignorable(path: Path, names: Sequence[str], found: _Found) -> bool:
    """Return whether a file need not be mentioned: notes, and the voxels that belong to a header."""
    if path.is_dir():
        return False
    headers = (stem(each) for _, each in (*found.images, *found.labels) if suffix(each) in _HEADERS)
    if suffix(path) in _VALUES and any(path.name.startswith(f"{each}.") for each in headers):
        return True
    if suffix(path) not in _NOTES or _is_called_like(stem(path), names):
        return False
    if _KNOWN_NOTES.fullmatch(stem(path)):
        return True
    among_partners = path.parent != found.place and path.parent.name in (*_PARTNERS, _FINISHED)
    return not among_partners and (suffix(path) != "" or _is_text(path))


def _is_called_like(called: str, names: Iterable[str]) -> bool:
    """Return whether a name is a subject's, possibly with another word after it."""
    return any(called.startswith(name) and called[len(name) : len(name) + 1] in ("", *" ._-") for name in names)


def _is_text(path: Path) -> bool:
    """Return whether a path is a readable file that begins with plain text."""
    if not path.is_file():
        return False
    try:
        with open(path, "rb") as file:
            head = file.read(_PROBED)
        # An incremental decoder allows a character that is cut off at the end.
        return "\0" not in codecs.getincrementaldecoder("utf-8")().decode(head)
    except (OSError, UnicodeDecodeError):
        return False


def _warn_of(folder: Path, paths: Sequence[Path]) -> None:
    """Log the files that are not read."""
    if paths:
        more = f" and {len(paths) - _MOST_LISTED} more" if len(paths) > _MOST_LISTED else ""
        listed = ", ".join(os.path.relpath(path, folder) for path in paths[:_MOST_LISTED])
        _LOG.warning("%s: not read: %s%s", folder, listed, more)


def _by_name(found: Sequence[tuple[str, Path]], kind: str) -> dict[str, Path]:
    by_name: dict[str, Path] = {}
    for name, path in found:
        if name in by_name:
            raise ModelFileError(
                f"subject {name!r} has two files of {kind}, {by_name[name]} and {path}; keep one of them, or say in a "
                "cohort.toml which"
            )
        by_name[name] = path
    return by_name


def match_patterns(
    folder: Path, patterns: Mapping[str, str | None], subjects: Sequence[str] | None = None
) -> list[SubjectFiles]:
    """Return the files of subjects whose paths follow patterns, by their names, or for `subjects` in their order.

    Parameters
    ----------
    folder
        The folder to which the patterns are relative.
    patterns
        Paths with ``{name}`` in place of the subject's name, which has no slash, of ``image``, ``labels`` and
        ``landmarks``; the latter two may be None.
    subjects
        Names; by default those of all images. A file that matches several patterns belongs to the one in which its name
        is shortest.

    Raises
    ------
    ModelFileError
        If there is no image, or a subject lacks a file; if, without `subjects`, a file belongs to no image.
    """
    used = {kind: pattern for kind, pattern in patterns.items() if pattern is not None}
    matched = []
    for name in _names_of(folder, used) if subjects is None else subjects:
        paths = {kind: folder / pattern.replace(_PLACE, name) for kind, pattern in used.items()}
        for kind, path in paths.items():
            missing = f"subject {name!r} has no {kind}: {path} does not exist; add it, or list the subjects to use"
            refuse_if(not os.path.exists(path), missing)  # Path.exists raises for names that are too long
        matched.append(SubjectFiles(name, **paths))
    return matched


def _names_of(folder: Path, patterns: Mapping[str, str]) -> list[str]:
    """Return the names of all images that match the patterns; refuse labels and landmarks without an image."""
    shortest: dict[Path, tuple[int, str, str]] = {}
    for kind in ("labels", "landmarks", "image"):
        for name, path in _expand(folder, patterns[kind]).items() if kind in patterns else ():
            shortest[path] = min(
                shortest.get(path, (len(name) + 1, "", "")), (len(name), kind, name), key=lambda e: e[0]
            )
    names = sorted(name for _, kind, name in shortest.values() if kind == "image")
    refuse_if(not names, f"no file in {folder} is like images = {patterns['image']!r}; check the pattern")
    for path, (_, kind, name) in sorted(shortest.items()):
        if name not in names and (suffix(path) != ".csv" or holds_landmarks(path)):
            raise ModelFileError(
                f"{path} is like {kind} = {patterns[kind]!r} but subject {name!r} has no image; add it, or list the "
                "subjects to use"
            )
    start, _, rest = patterns["image"].partition(_PLACE)
    if "/" in rest:
        folders = _expand(folder, start + _PLACE + rest.partition("/")[0])
        _warn_of(folder, sorted(path for name, path in folders.items() if name not in names and path.is_dir()))
    return names


def _expand(folder: Path, pattern: str) -> dict[str, Path]:
    """Return the paths that match a pattern, by the name in them."""
    root = "" if os.path.isabs(pattern) else os.path.join(str(folder), "")
    parts = pattern.split(_PLACE)
    first, *rest = (re.escape(part) for part in parts)
    expression = re.compile(f"{re.escape(root)}{first}(?P<name>[^/]+){'(?P=name)'.join(rest)}", re.DOTALL)
    candidates = glob.glob(glob.escape(root) + "*".join(map(glob.escape, parts)))
    matches = (expression.fullmatch(candidate) for candidate in candidates)
    return {match["name"]: Path(match[0]) for match in matches if match}
