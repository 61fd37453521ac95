"""Which files belong to which subject: by their names, or by patterns."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from modelaug.io.geometry import stem, suffix
from modelaug.io.images import IMAGE_SUFFIXES
from modelaug.io.landmarks import LANDMARK_SUFFIXES
from modelaug.io.reading import ModelFileError

__all__ = ["SubjectFiles", "match_folder", "match_patterns"]

_LABELS: Final = re.compile(r"(?P<name>.+)_(labels?|seg|gt|mask)", re.IGNORECASE)
_LANDMARKS: Final = re.compile(r"(?P<name>.+)_landmarks", re.IGNORECASE)
_LABEL_SUFFIXES: Final = tuple(each for each in IMAGE_SUFFIXES if each not in (".jpg", ".jpeg"))
_PLACE: Final = "{name}"
_KINDS: Final = ("images", "labels", "landmarks")


@dataclass(frozen=True)
class SubjectFiles:
    """The files of one subject.

    Attributes
    ----------
    name
        Of the subject.
    image, labels, landmarks
        Its files; the latter two may be missing.
    """

    name: str
    image: Path
    labels: Path | None = None
    landmarks: Path | None = None


def match_folder(folder: Path, subjects: Sequence[str] | None = None) -> list[SubjectFiles]:
    """Return the files of the subjects in a folder, in the order of their names or in that of `subjects`.

    ``NAME.nii.gz`` or another image is that of subject NAME, as is a folder NAME with ``.dcm`` files. ``NAME_labels``,
    ``NAME_label``, ``NAME_seg``, ``NAME_gt`` or ``NAME_mask`` with the ending of an image are its labels, ``NAME.csv``
    or ``NAME_landmarks.csv`` or another file of landmarks its landmarks; as ``.npy``, only the latter. Where there are
    folders ``images``, ``labels`` or ``landmarks``, these are looked for there, also as plain ``NAME``.

    Raises
    ------
    ModelFileError
        If there is no image, a subject has two files of a kind, or lacks one that others have.
    """
    own = {each: (folder / each).is_dir() for each in _KINDS}
    place = folder / "images" if own["images"] else folder
    images: list[tuple[str, Path]] = []
    labels = _files(folder / "labels", _LABEL_SUFFIXES)
    landmarks = _files(folder / "landmarks", LANDMARK_SUFFIXES)
    for path in _files(place, IMAGE_SUFFIXES):
        if not own["landmarks"] and suffix(path) == ".npy" and _LANDMARKS.fullmatch(stem(path)):
            landmarks.append(path)
        elif not own["labels"] and suffix(path) in _LABEL_SUFFIXES and _LABELS.fullmatch(stem(path)):
            labels.append(path)
        else:
            images.append((stem(path), path))
    images += [(path.name, path) for path in _series(place)]
    if not own["landmarks"]:
        landmarks += _files(place, [each for each in LANDMARK_SUFFIXES if each not in IMAGE_SUFFIXES])
    if not images:
        raise ModelFileError(
            f"{place} holds no images ({', '.join(IMAGE_SUFFIXES)}); pass another folder, or say where they are in a "
            "cohort.toml"
        )
    of_images = _by_name(images, "images")
    names = sorted(of_images) if subjects is None else _known(subjects, of_images, place)
    partners = {}
    for kind, pattern, files in (("labels", _LABELS, labels), ("landmarks", _LANDMARKS, landmarks)):
        found = [(_name(pattern, path, of_images), path) for path in files]
        fitting = _by_name([(name, path) for name, path in found if name in of_images], kind)
        lacking = [name for name in names if name not in fitting]
        if lacking and (len(lacking) < len(names) or (found and own[kind])):
            alone = sorted(path.name for name, path in found if name not in of_images)
            hint = f" ({alone[0]} belongs to no image)" if alone else ""
            raise ModelFileError(
                f"subject {lacking[0]!r} in {folder} has no {kind}{hint}; name the file after its image, or list the "
                "subjects to use in a cohort.toml"
            )
        partners[kind] = fitting
    return [
        SubjectFiles(name, of_images[name], partners["labels"].get(name), partners["landmarks"].get(name))
        for name in names
    ]


def _files(folder: Path, suffixes: Iterable[str]) -> list[Path]:
    """Return the files of a folder with one of the suffixes, hidden ones left out; none where there is no folder."""
    if not folder.is_dir():
        return []
    allowed = set(suffixes)
    return sorted(
        path for path in folder.iterdir() if suffix(path) in allowed and path.name[0] != "." and path.is_file()
    )


def _series(folder: Path) -> list[Path]:
    """Return the folders in a folder that hold DICOM files."""
    inside = (path for path in folder.iterdir() if path.is_dir() and path.name not in _KINDS) if folder.is_dir() else ()
    return sorted(path for path in inside if _files(path, (".dcm",)))


def _name(pattern: re.Pattern[str], path: Path, images: Container[str]) -> str:
    """Return the name of the subject whose labels or landmarks are in a file."""
    match = pattern.fullmatch(stem(path))
    return match["name"] if match and stem(path) not in images else stem(path)


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


def _known(subjects: Sequence[str], images: Container[str], folder: Path) -> list[str]:
    missing = [name for name in subjects if name not in images]
    if missing:
        raise ModelFileError(f"subject {missing[0]!r} has no image in {folder}; check the list of subjects")
    return list(subjects)


def match_patterns(
    folder: Path,
    images: str,
    *,
    labels: str | None = None,
    landmarks: str | None = None,
    subjects: Sequence[str] | None = None,
) -> list[SubjectFiles]:
    """Return the files of subjects whose paths follow patterns, in the order of their names or in that of `subjects`.

    Parameters
    ----------
    folder
        To which the patterns are relative.
    images, labels, landmarks
        Paths with ``{name}`` in place of the subject's name, which has no slash.
    subjects
        Names; by default those of all images, other than files of labels, that there are.

    Raises
    ------
    ModelFileError
        If there is no image, or a subject lacks a file.
    """
    if subjects is None:
        others = set(_expand(folder, labels).values()) if labels is not None else set()
        found = {name: path for name, path in _expand(folder, images).items() if path not in others}
        if not found:
            raise ModelFileError(f"no file in {folder} is like images = {images!r}; check the pattern")
        subjects = sorted(found)
    matched = []
    for name in subjects:
        paths = {}
        for kind, pattern in (("image", images), ("labels", labels), ("landmarks", landmarks)):
            path = None if pattern is None else folder / pattern.replace(_PLACE, name)
            if path is not None and not path.exists():
                raise ModelFileError(
                    f"subject {name!r} has no {kind}: {path} does not exist; add it, or list the subjects to use"
                )
            paths[kind] = path
        image = paths["image"]
        assert image is not None
        matched.append(SubjectFiles(name, image, paths["labels"], paths["landmarks"]))
    return matched


def _expand(folder: Path, pattern: str) -> dict[str, Path]:
    """Return what there is that is like a pattern, by what is in place of the name."""
    root = "" if os.path.isabs(pattern) else os.path.join(str(folder), "")
    parts = pattern.split(_PLACE)
    first, *rest = (re.escape(part) for part in parts)
    expression = re.compile(f"{re.escape(root)}{first}(?P<name>[^/]+){'(?P=name)'.join(rest)}", re.DOTALL)
    candidates = glob.glob(glob.escape(root) + "*".join(map(glob.escape, parts)))
    matches = (expression.fullmatch(candidate) for candidate in candidates)
    return {match["name"]: Path(match[0]) for match in matches if match}
