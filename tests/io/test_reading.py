"""Which exceptions of a reader become ModelFileError, and in which words."""

from __future__ import annotations

import json
import os
import pickle
import tokenize
from pathlib import Path
from typing import Any

import pytest

from modelaug import ModelFileError
from modelaug.io.files.provenance import file_digest
from modelaug.io.files.reading import (
    check_file,
    check_format,
    parse_json,
    read_bytes,
    read_json,
    read_own_json,
    read_text,
    reading,
    refusing,
)
from tests.examples import one_line


@pytest.mark.parametrize(
    "error",
    [
        ValueError("odd\nvalue"),
        KeyError("name"),
        IndexError(),
        RecursionError("deep"),
        OverflowError("large"),
        ZeroDivisionError(),
        tokenize.TokenError("EOF in multi-line statement", (2, 0)),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"),
        OSError(5, "Input/output error"),
        AssertionError(),
        StopIteration(),
        UserWarning("x" * 10**6),
        MemoryError(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_whatever_a_parser_raises_becomes_one_line(tmp_path: Path, error: Exception) -> None:
    (tmp_path / "a.x").touch()
    with pytest.raises(ModelFileError) as caught, reading(tmp_path / "a.x", "an x"):
        raise error
    message = one_line(caught.value)
    assert message.startswith(f"{tmp_path / 'a.x'} cannot be read as an x (")
    assert len(message) < 1100
    assert caught.value.__cause__ is error


@pytest.mark.parametrize("error", [ModelFileError("b.x is broken; copy it"), ImportError("no torch")])
def test_what_says_more_is_left_as_it_is(tmp_path: Path, error: Exception) -> None:
    (tmp_path / "a.x").touch()
    with pytest.raises(type(error)) as caught, reading(tmp_path / "a.x", "an x"):
        raise error
    assert caught.value is error


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(3), GeneratorExit()])
def test_the_end_of_a_process_is_no_fault_of_a_file(error: BaseException) -> None:
    with pytest.raises(type(error)), refusing("a.x", "is no x", "copy it"):
        raise error


def test_a_missing_key_is_told_as_such() -> None:
    with (
        pytest.raises(ModelFileError, match=r"^a\.x is no x \(it lacks 'grid'\); copy it$"),
        refusing("a.x", "is no x", "copy it"),
    ):
        raise KeyError("grid")


@pytest.mark.parametrize("text", ["a\nb", "a\r\nb", "a\u2028b", "a\x1b[31mb", "a\x00b"])
def test_messages_are_one_line_of_print(text: str) -> None:
    assert str(ModelFileError(text)).isprintable()
    assert one_line(ModelFileError(text)).startswith("a")


def test_of_long_messages_beginning_and_end_stay() -> None:
    message = str(ModelFileError("a.x holds " + "y" * 10**6 + "; copy it again"))
    assert len(message) < 1100
    assert message.startswith("a.x holds yyy")
    assert message.endswith("yyy; copy it again")
    assert str(pickle.loads(pickle.dumps(ModelFileError(message)))) == message


@pytest.mark.skipif(os.name != "posix", reason="devices of POSIX")
@pytest.mark.parametrize("read", [check_file, read_bytes, read_text, read_json, file_digest])
def test_only_files_are_opened(tmp_path: Path, read: Any) -> None:
    (tmp_path / "zero").symlink_to("/dev/zero")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for name, said in (
        ("zero", "a device or a pipe"),
        ("pipe", "a device or a pipe"),
        ("", "a folder"),
        ("none", "does not exist"),
        ("loop", "cannot be read"),
        ("nul\0", "cannot be read"),
        ("long" * 1000, "cannot be read"),
    ):
        with pytest.raises(ModelFileError, match=said) as caught:
            read(tmp_path / name)
        one_line(caught.value)


def test_a_file_that_is_too_long_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"12345")
    assert read_bytes(tmp_path / "a.txt", "a note", most=5) == b"12345"
    with pytest.raises(ModelFileError, match=r"a\.txt has 5 bytes, too many to be a note"):
        read_bytes(tmp_path / "a.txt", "a note", most=4)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"\xff", b"[" * 10**5, b"[" * 70 + b"]" * 70, b"9" * 5000, b'{"a": 1,}']
)
def test_what_is_no_json_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(ModelFileError, match=r"a\.json cannot be read as") as caught:
        read_json(tmp_path / "a.json")
    one_line(caught.value)


@pytest.mark.parametrize("value", [1, None, "a", "\u00fc\U0001f600", [], {}, [[1], {"a": [2]}], {"a": {"b": [{}]}}])
def test_json_comes_back(value: Any) -> None:
    assert parse_json(json.dumps(value)) == value


def test_depth_is_bounded() -> None:
    assert parse_json("[" * 64 + "]" * 64)
    for text in ("[" * 65 + "]" * 65, '{"a":' * 65 + "1" + "}" * 65):
        with pytest.raises(ValueError, match="nested more than 64 deep"):
            parse_json(text)


def test_format_and_version_are_decided_in_one_place(tmp_path: Path) -> None:
    values = {"format": "f", "version": 2, "x": 1}
    (tmp_path / "a.json").write_text(json.dumps(values))
    assert read_own_json(tmp_path / "a.json", format="f", version=2) == values
    for other, said in (
        ([], "is not of the format 'f'"),
        (values | {"format": "g"}, "is not of the format 'f'"),
        (values | {"version": 1}, "has format version 1, not 2; write it again"),
        (values | {"version": 3}, "has format version 3, not 2; update modelaug"),
        (values | {"version": True}, "has format version True"),
        (values | {"version": "2"}, "has format version '2'"),
        ({"format": "f"}, "has format version None"),
    ):
        with pytest.raises(ModelFileError, match=said):
            check_format("a.json", other, format="f", version=2)
    with pytest.raises(ModelFileError, match=r"^a\.json holds no f; pass another$"):
        check_format("a.json", {}, format="f", version=2, otherwise="holds no f; pass another")
