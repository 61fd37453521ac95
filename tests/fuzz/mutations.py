"""Damage to the bytes of a file: by bytes, by lines, and within what is packed or structured.

`damaged` looks at the content alone. What is packed (gzip, zip, PNG) is unpacked, damaged and packed again, so that the
damage gets past checksums; JSON, headers of ``.npy`` and of safetensors, and tables are damaged as what they are.
"""

from __future__ import annotations

import copy
import gzip
import io
import json
import re
import struct
import zipfile
import zlib
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np

__all__ = ["damaged"]

Rng = np.random.Generator
Change = Callable[[bytes, Rng, Sequence[bytes]], bytes]

_LONGEST: Final = 1 << 20
"""Bytes of a damaged file; damage within damage must not grow without end."""

_HEAD: Final = 512
"""Bytes in which most formats have their header, where half of the damage is done."""

_NUMBER: Final = re.compile(rb"[-+]?\d+\.?\d*(?:[eE][-+]?\d+)?")
_WORD: Final = re.compile(rb"[A-Za-z_]{3,}")
_NUMBERS: Final = (
    *b"0 1 -1 2 3 7 255 256 65535 65536 2147483647 2147483648 -2147483649 4294967295 4294967296 99999999999".split(),
    *b"9223372036854775807 9223372036854775808 18446744073709551616 0.5 1e-320 1e-9 1e9 1e38 1e300 1e308".split(),
    *b"-1e308 1e999 nan inf -inf NaN Infinity 1_000 0x10 1,5 --3 1e".split(),
    *(b"", b"9" * 400, b"9" * 5000, b"0" * 300 + b"1"),
)
_INSERTED: Final = (
    b"\x00",
    b"\xff",
    b"\xef\xbb\xbf",
    b"\r",
    b"\n\n",
    b"'",
    b'"',
    b'"""',
    b",",
    b";",
    b"\t",
    b":",
    b"=",
    b"#",
    b"[",
    b"{",
    b"(",
    b"]",
    b"../",
    b"/dev/zero",
    b"%d",
    b"\xc3\x28",
    b"\xe2\x80\xa8",
    b"[" * 100_000,
    b"(" * 300,
    b"-" * 3000,
    b"A" * 70_000,
)
_DEEP: Final[Any] = json.loads("[" * 200 + "]" * 200)
_VALUES: Final[tuple[Any, ...]] = (
    *(None, True, False, "", "a", "0", "\u0000", "a\nb", "x" * 3000, [], {}, [[]], [None], {"a": 1}, _DEEP),
    *(0, 1, -1, 2, 3, 255, 65536, 2**31 - 1, 2**31, -(2**31) - 1, 2**32, 2**63 - 1, 2**63, 2**64, 10**30, 10**400),
    *(0.5, 1e-320, 1e38, 1e300, -1e300, float("nan"), float("inf"), -0.0, [0, 1, 2], [1e300, 1.0], list(range(1000))),
)
_DTYPES: Final = (
    "<f8 >f8 <f4 >f4 <f2 <f16 <c8 <c16 |b1 |u1 |i1 <u2 >u2 <i4 <u4 <i8 <u8 |O |V8 |S3 |S0 <U5 <U0 <M8[s] <m8[ns] zz"
)


def damaged(data: bytes, rng: Rng, donors: Sequence[bytes]) -> bytes:
    """Return bytes with some damage.

    Parameters
    ----------
    data
        The content of a valid file.
    rng
        Which damage it is.
    donors
        Contents of other files, of which pieces may be taken.
    """
    inner = _inner(data)
    for _ in range(int(rng.choice((1, 1, 1, 2, 4)))):
        change = _pick(rng, inner) if inner and rng.random() < 0.65 else _pick(rng, _BYTES)
        try:
            data = change(data, rng, donors)[:_LONGEST]
        except Exception:  # earlier damage made it something else, over which any parser may stumble
            data = _flipped(data, rng, donors)
    return data


def _inner(data: bytes) -> list[Change]:
    """Return the changes that know what such bytes are."""
    if data.startswith(b"\x1f\x8b"):
        return [_gzip]
    if data.startswith(b"PK\x03\x04"):
        return [_zip]
    if data.startswith(b"\x93NUMPY"):
        return [_npy_header, _npy_text, _npy_again]
    if data.startswith(b"\x89PNG"):
        return [_png]
    if data[8:9] == b"{" and struct.unpack("<Q", data[:8])[0] < len(data):
        return [_safetensors]
    if data[:1] in (b"{", b"[") and _is_json(data):
        return [_json, _json, _number, _line]
    if data.startswith((b"NRRD", b"ObjectType", b"NDims")):
        return [_head_text]
    if b"\x00" not in data:
        return [_number, _line, _word, _inserted]
    return []


def _pick(rng: Rng, choices: Sequence[Any]) -> Any:
    return choices[int(rng.integers(len(choices)))]


def _at(data: bytes, rng: Rng) -> int:
    """Return a position, half of the times in the head."""
    reach = min(len(data), _HEAD) if rng.random() < 0.5 else len(data)
    return int(rng.integers(max(1, reach)))


# Bytes


def _flipped(data: bytes, rng: Rng, donors: Sequence[bytes]) -> bytes:
    changed = bytearray(data or b"\x00")
    for _ in range(int(rng.choice((1, 1, 3, 16)))):
        changed[_at(data, rng)] ^= 1 << int(rng.integers(8))
    return bytes(changed)


def _overwritten(data: bytes, rng: Rng, donors: Sequence[bytes]) -> bytes:
    kind = str(_pick(rng, ("b", "B", "h", "H", "i", "I", "q", "Q", "f", "d")))
    if kind in "fd":
        value: Any = float(_pick(rng, (0.0, -1.0, 1e-30, 1e30, np.nan, np.inf, -np.inf, 0.5)))
    else:
        bits = 8 * struct.calcsize(kind)
        low, high = (0, 2**bits - 1) if kind.isupper() else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
        value = int(_pick(rng, (0, 1, low, low + 1, high, high - 1, high // 2, 2, 3, 16, 127)))
    stored = struct.pack(str(_pick(rng, "<>")) + kind, value)
    at = _at(data, rng)
    if rng.random() < 0.7:
        at -= at % len(stored)
    return data[:at] + stored + data[at + len(stored) :]


def _truncated(data: bytes, rng: Rng, donors: Sequence[bytes]) -> bytes:
    return data[: _at(data, rng)] if rng.random() < 0.7 else data[: len(data) - int(rng.integers(1, 20))]


def _extended(data: bytes, rng: Rng, donors: Sequence[bytes]) -> bytes:
    more = _pick(rng, (b"\x00" * 1000, b"\xff" * 7, bytes(rng.integers(0, 256, 100, dtype=np.uint8)), data))
    return bytes(data + more)


def _spliced(data: bytes, rng: Rng, donors: Sequence[bytes]) -> bytes:
    other = _pick(rng, donors) if donors else data
    return data[: _at(data, rng)] + bytes(other[_at(other, rng) :])


def _repeated(data: bytes, rng: Rng, donors: Sequence[bytes]) -> bytes:
    start = _at(data, rng)
    block = data[start : start + int(rng.integers(1, 65))]
    return data[:start] + block * int(rng.choice((2, 3, 50, 1000))) + data[start + len(block) :]


def _deleted(data: bytes, rng: Rng, donors: Sequence[bytes]) -> bytes:
    start = _at(data, rng)
    return data[:start] + data[start + int(rng.integers(1, 65)) :]


def _blanked(data: bytes, rng: Rng, donors: Sequence[bytes]) -> bytes:
    start, length = _at(data, rng), int(rng.integers(1, 65))
    fill = _pick(rng, (b"\x00", b"\xff", b" ", b"\x7f", b"\x80"))
    return data[:start] + bytes(fill * length) + data[start + length :]


_BYTES: Final[tuple[Change, ...]] = (
    _flipped,
    _flipped,
    _overwritten,
    _overwritten,
    _overwritten,
    _truncated,
    _extended,
    _spliced,
    _repeated,
    _deleted,
    _blanked,
)


# Text


def _number(data: bytes, rng: Rng, donors: Sequence[bytes]) -> bytes:
    found = list(_NUMBER.finditer(data))
    match = found[int(rng.integers(len(found)))]
    other = _pick(rng, found).group() if rng.random() < 0.2 else _pick(rng, _NUMBERS)
    return data[: match.start()] + bytes(other) + data[match.end() :]


def _word(data: bytes, rng: Rng, donors: Sequence[bytes]) -> bytes:
    found = list(_WORD.finditer(data))
    match = found[int(rng.integers(len(found)))]
    other = _pick(rng, (b"", match.group().swapcase(), match.group() * 2, _pick(rng, found).group()))
    return data[: match.start()] + bytes(other) + data[match.end() :]


def _inserted(data: bytes, rng: Rng, donors: Sequence[bytes]) -> bytes:
    at = _at(data, rng)
    return data[:at] + bytes(_pick(rng, _INSERTED)) + data[at:]


def _line(data: bytes, rng: Rng, donors: Sequence[bytes]) -> bytes:
    lines = data.split(b"\n")
    i, j = int(rng.integers(len(lines))), int(rng.integers(len(lines)))
    what = int(rng.integers(5))
    if what == 0:
        lines[i : i + 1] = [lines[i]] * int(rng.choice((2, 3, 2000)))
    elif what == 1:
        del lines[i]
    elif what == 2:
        lines[i], lines[j] = lines[j], lines[i]
    elif what == 3:
        lines[i] = lines[i][: int(rng.integers(len(lines[i]) + 1))]
    else:
        donor = bytes(_pick(rng, donors)) if donors else data
        lines.insert(i, _pick(rng, donor.split(b"\n"))[:500])
    return b"\n".join(lines)


_TEXT: Final[tuple[Change, ...]] = (_number, _number, _number, _word, _line, _inserted)


def _head_text(data: bytes, rng: Rng, donors: Sequence[bytes]) -> bytes:
    """Damage the lines before attached data."""
    ends = [match.end() for match in (re.search(rb"\n\n", data), re.search(rb"ElementDataFile[^\n]*\n", data)) if match]
    end = min(ends) if ends else len(data)
    return bytes(_pick(rng, _TEXT)(data[:end], rng, donors)) + data[end:]


# JSON


def _is_json(data: bytes) -> bool:
    try:
        json.loads(data)
    except (ValueError, RecursionError):
        return False
    return True


def _json(data: bytes, rng: Rng, donors: Sequence[bytes]) -> bytes:
    return json.dumps(_changed(json.loads(data), rng)).encode()


def _changed(value: Any, rng: Rng) -> Any:
    """Return what JSON holds with one value, key or entry changed."""
    value = copy.deepcopy(value)
    places: list[tuple[Any, Any]] = []
    rest = [value]
    while rest:
        parent = rest.pop()
        members = parent.items() if isinstance(parent, dict) else enumerate(parent) if isinstance(parent, list) else ()
        for key, member in members:
            places.append((parent, key))
            rest.append(member)
    if not places or rng.random() < 0.03:
        return copy.deepcopy(_pick(rng, _VALUES))
    parent, key = places[int(rng.integers(len(places)))]
    what = int(rng.integers(10))
    if what == 0:
        del parent[key]
    elif what == 1 and isinstance(parent, dict):
        parent[str(_pick(rng, ("extra", "", key + "s", "__class__", "name")))] = parent.pop(key)
    elif what == 2:
        other, from_key = places[int(rng.integers(len(places)))]
        parent[key] = copy.deepcopy(other[from_key]) if key in parent or isinstance(parent, list) else None
    elif what == 3 and isinstance(parent, list):
        parent.extend([copy.deepcopy(parent[key])] * int(rng.choice((1, 500))))
    else:
        parent[key] = copy.deepcopy(_pick(rng, _VALUES))
    return value


# What is packed


def _gzip(data: bytes, rng: Rng, donors: Sequence[bytes]) -> bytes:
    return gzip.compress(damaged(gzip.decompress(data), rng, donors), 1, mtime=0)


def _zip(data: bytes, rng: Rng, donors: Sequence[bytes]) -> bytes:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = [(name, archive.read(name)) for name in archive.namelist()]
    k = int(rng.integers(len(members)))
    name, content = members[k]
    what = int(rng.integers(12))
    if what == 0:
        del members[k]
    elif what == 1:
        odd = (
            "a.npy",
            "../a.npy",
            "",
            "/etc/passwd.npy",
            name.removesuffix(".npy"),
            name + ".npy",
            "a" * 300,
            "\u00e4",
        )
        members[k] = (str(_pick(rng, odd)), content)
    elif what == 2:
        members[k] = (name, _pick(rng, members)[1])
    elif what == 3:
        members.append((f"extra{rng.integers(9)}.npy", content))
    elif what == 4:
        members.append((name, damaged(content, rng, donors)))  # twice
    else:
        members[k] = (name, damaged(content, rng, donors))
    method = int(rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2)))
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for member, written in members:
            info = zipfile.ZipInfo(member or "empty")
            info.compress_type = method
            if len(members) == len({each for each, _ in members}):
                archive.writestr(info, written)
                continue
            archive.NameToInfo.pop(info.filename, None)  # or it warns of the name that it has
            archive.writestr(info, written)
    return file.getvalue()


def _png(data: bytes, rng: Rng, donors: Sequence[bytes]) -> bytes:
    chunks, at = [], 8
    while at + 12 <= len(data):
        length = int(struct.unpack(">I", data[at : at + 4])[0])
        chunks.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + length]))
        at += 12 + length
    k = int(rng.integers(len(chunks)))
    name, content = chunks[k]
    what = int(rng.integers(6))
    if what == 0:
        del chunks[k]
    elif what == 1:
        chunks.insert(int(rng.integers(len(chunks))), chunks[k])
    elif name == b"IDAT" and what < 5:
        chunks[k] = (name, zlib.compress(_pick(rng, _BYTES)(zlib.decompress(content), rng, donors)))
    else:
        chunks[k] = (name, _pick(rng, _BYTES)(content, rng, donors))
    packed = [struct.pack(">I", len(c)) + n + c + struct.pack(">I", zlib.crc32(n + c)) for n, c in chunks]
    return data[:8] + b"".join(packed)


def _npy_parts(data: bytes) -> tuple[bytes, bytes]:
    """Return the header's text and the values of a ``.npy``."""
    if data[6] == 1:
        start, length = 10, struct.unpack("<H", data[8:10])[0]
    else:
        start, length = 12, struct.unpack("<I", data[8:12])[0]
    return data[start : start + length], data[start + length :]


def _npy_header(data: bytes, rng: Rng, donors: Sequence[bytes]) -> bytes:
    header, values = _npy_parts(data)
    what = int(rng.integers(4))
    if what == 0:
        dtype = str(_pick(rng, _DTYPES.split()))
        header = re.sub(rb"'descr': '[^']*'", b"'descr': '" + dtype.encode() + b"'", header)
    elif what == 1:
        header = header.replace(b"False", b"True")
    else:
        header = bytes(_pick(rng, _TEXT)(header, rng, donors))
    header = header[:60_000]
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + values


def _npy_text(data: bytes, rng: Rng, donors: Sequence[bytes]) -> bytes:
    """Damage the JSON in an array that is one string."""
    array = np.load(io.BytesIO(data), allow_pickle=False)
    if array.dtype.kind != "U" or array.ndim:
        return _npy_again(data, rng, donors)
    text = str(array).encode()
    change = _json if _is_json(text) and rng.random() < 0.8 else _pick(rng, _TEXT)
    return _npy(np.array(change(text, rng, donors).decode("utf-8", "replace")))


def _npy_again(data: bytes, rng: Rng, donors: Sequence[bytes]) -> bytes:
    """Write an array with other values, another type or another shape, as numpy would."""
    array = np.load(io.BytesIO(data), allow_pickle=False)
    what = int(rng.integers(7))
    if what == 0:
        array = array.T
    elif what == 1:
        array = array[None] if rng.random() < 0.5 else array.reshape(-1)
    elif what == 2:
        array = array[: int(rng.integers(len(array) + 1))] if array.ndim else array
    elif what == 3:
        array = np.repeat(np.atleast_1d(array), 2, axis=0)
    elif what == 4 and array.dtype.kind in "fiub":
        with np.errstate(all="ignore"):
            array = array.astype(str(_pick(rng, (">f8", "f4", "f2", "g", "c16", "u1", ">i4", "u8", "?", "U4", "S2"))))
    elif array.dtype.kind in "fiu" and array.size:
        array = array.copy()
        extremes = (0, 1, np.nan, np.inf, -np.inf, 1e300, -1e300, 1e38, 1e-320, -1)
        whole = (0, 1, np.iinfo(array.dtype).max, np.iinfo(array.dtype).min) if array.dtype.kind in "iu" else extremes
        places = slice(None) if rng.random() < 0.3 else int(rng.integers(array.size))
        with np.errstate(all="ignore"):
            array.flat[places] = _pick(rng, whole)
    return _npy(array)


def _npy(array: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=False)
    return file.getvalue()


def _safetensors(data: bytes, rng: Rng, donors: Sequence[bytes]) -> bytes:
    length = struct.unpack("<Q", data[:8])[0]
    header, values = data[8 : 8 + length], data[8 + length :]
    change = _json if rng.random() < 0.7 else _pick(rng, _TEXT)
    header = bytes(change(header, rng, donors))
    return struct.pack("<Q", len(header)) + header + values
