"""Word vectors made elsewhere: fastText's .vec and .bin, GloVe's text, each also as .gz.

gensim reads fastText's .bin, and composes vectors of words that the file lacks from their subwords.
The text formats are read here, row by row, and only the vocabulary's rows are kept. gensim's own
reader of text keeps every row, 2.4 GB for 2 million words of 300 numbers; it takes 20 times as long
(100,000 such rows on one core: 19.8 s against 0.9 s), names no row that is malformed, and accepts
a row of one number.
"""

from __future__ import annotations

import contextlib
import dataclasses
import gzip
import itertools
import mmap
import os
import shutil
import struct
import tempfile
import zlib
from collections.abc import Iterator, Mapping
from typing import IO, Any

import keras
import numpy as np
import tensorflow as tf

from imcap import filesystem
from imcap.errors import UserError, one_line

_MAGIC = struct.pack("<i", 793712314)  # The first bytes of a fastText model.
# Magic, version and 12 settings, the first of which is the dimension; one more setting; the
# dictionary's numbers of entries, words and labels; its numbers of tokens and of pruned subwords.
_HEADER = struct.Struct("<14i d 3i 2q")
_AFTER_WORD = 10  # Bytes of a dictionary's entry from the end of the word on.
_LONGEST_FIRST_ROW = 1 << 20  # Bytes; a file of other content may have no line's end at all.


@dataclasses.dataclass(frozen=True)
class WordVectors:
    """The vectors of those words of a vocabulary that have one.

    Attributes:
      ids: int32 [covered], the words' token ids, ascending.
      vectors: float32 [covered, size].
      is_composed: bool [covered], whether the vector is made of the word's subwords alone.
    """

    ids: np.ndarray
    vectors: np.ndarray
    is_composed: np.ndarray

    def replace_rows(self, embedding: keras.Variable) -> tf.Tensor:
        """Returns float32 [vocab_size, size] with the rows of the covered words replaced."""
        rows = tf.convert_to_tensor(embedding)
        return tf.tensor_scatter_nd_update(rows, self.ids[:, np.newaxis], self.vectors)


def read(path: str, ids: Mapping[str, int], size: int) -> WordVectors:
    """Reads the vectors of a vocabulary's words.

    Words are compared as they are; where a file has one twice, the first vector counts. Of a .vec
    or GloVe file only these words' vectors are kept in memory; a .bin is loaded whole.

    Args:
      path: local or remote. A fastText model is known by its first bytes, whatever its name.
      ids: token ids by word.
      size: numbers of a vector.

    Raises:
      UserError: the file cannot be read, is malformed (the message names the row), has vectors of
        another size or none of the words; or it is a .bin and gensim is not installed.
    """
    try:
        with filesystem.local_copy(path) as local:
            reader = _read_binary if _is_binary(path, local) else _read_text
            found, composed = reader(path, local, ids, size)
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path} cannot be read: {one_line(error)}") from error
    if not found:
        raise UserError(f"{path} has none of the vocabulary's {len(ids):,} words")
    words = sorted(found, key=lambda word: ids[word])
    return WordVectors(
        ids=np.array([ids[word] for word in words], np.int32),
        vectors=np.stack([found[word] for word in words]),
        is_composed=np.array([word in composed for word in words]),
    )


def _is_binary(path: str, local: str) -> bool:
    with _open(local) as file:
        start = file.read(len(_MAGIC))
    if not start:
        raise UserError(f"{path} is empty")
    if start != _MAGIC and path.removesuffix(".gz").endswith(".bin"):
        raise UserError(f"{path} is no fastText model: its first bytes are not those of one")
    return start == _MAGIC


def _open(path: str) -> gzip.GzipFile | IO[bytes]:
    return gzip.open(path) if path.endswith(".gz") else open(path, "rb")


def _check_size(path: str, found: int, size: int) -> None:
    if found != size:
        raise UserError(
            f"{path} has vectors of {found} numbers, but config.model.embedding_size={size}: "
            f"give --config.model.embedding_size={found}, or other vectors"
        )


# --- text ---------------------------------------------------------------------------------------


def _read_text(
    path: str, local: str, ids: Mapping[str, int], size: int
) -> tuple[dict[str, np.ndarray], frozenset[str]]:
    """Returns the words' vectors, and that none is composed of subwords."""
    wanted = {word.encode(): word for word in ids}
    found: dict[str, np.ndarray] = {}
    count = 0
    with _open(local) as file:
        first = file.readline(_LONGEST_FIRST_ROW)
        declared, dimension = _read_sizes(path, first)
        _check_size(path, dimension, size)
        rows = enumerate(itertools.chain([first], file), start=1)
        for number, row in itertools.islice(rows, 0 if declared is None else 1, None):
            row = row.rstrip()  # fastText ends rows with a space.
            if not row:
                continue
            word, _, numbers = row.partition(b" ")
            if numbers.count(b" ") != size - 1:
                _check_word_with_spaces(f"{path}, row {number}", row, size)
            elif word in wanted:
                found.setdefault(wanted[word], _parse(f"{path}, row {number}", numbers))
            count += 1
    if declared is not None and count < declared:
        raise UserError(f"{path} is cut off: it declares {declared:,} words and has {count:,}")
    return found, frozenset()


def _read_sizes(path: str, first: bytes) -> tuple[int | None, int]:
    """Returns the number of words, None if there is no header (GloVe), and a vector's numbers."""
    fields = first.split()
    if len(fields) == 2 and all(field.isdigit() for field in fields):
        return int(fields[0]), int(fields[1])
    if len(fields) < 2 or not all(map(_is_number, fields[1:])):
        raise UserError(
            f"{path}, row 1: neither a word with its numbers (GloVe) nor the numbers of words and "
            "of a vector's numbers (fastText)"
        )
    return None, len(fields) - 1


def _check_word_with_spaces(where: str, row: bytes, size: int) -> None:
    """Accepts words such as `. . .`, which glove.840B has and no vocabulary; refuses the rest."""
    fields = row.split(b" ")
    if len(fields) <= size + 1 or _is_number(fields[1]):
        raise UserError(f"{where}: a word and {len(fields) - 1} numbers instead of {size}")


def _is_number(field: bytes) -> bool:
    try:
        float(field)
    except ValueError:
        return False
    return True


def _parse(where: str, numbers: bytes) -> np.ndarray:
    """Returns float32 [size]."""
    try:
        vector = np.array(numbers.split(b" "), np.float32)
    except ValueError as error:
        raise UserError(f"{where}: {error}") from error
    return _finite(where, vector)


def _finite(where: str, vector: np.ndarray) -> np.ndarray:
    if not np.isfinite(vector).all():
        raise UserError(f"{where}: a number is not finite")
    return vector


# --- fastText's .bin ----------------------------------------------------------------------------


def _read_binary(
    path: str, local: str, ids: Mapping[str, int], size: int
) -> tuple[dict[str, np.ndarray], frozenset[str]]:
    """Returns the words' vectors, and which of the words are composed of subwords."""
    with _uncompressed(local) as plain:
        _check_dictionary(path, plain, size)
        vectors = _load(path, plain)
    found = {}
    for word in ids:
        if word in vectors:
            vector = _finite(f"{path}: {word}", vectors.get_vector(word))
            if vector.any():  # Of zeros where a word is too short to have subwords.
                found[word] = vector
    return found, frozenset(found.keys() - vectors.key_to_index.keys())


@contextlib.contextmanager
def _uncompressed(path: str) -> Iterator[str]:
    """Gives the path of the file's uncompressed content: gensim reads .gz number by number."""
    if not path.endswith(".gz"):
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        plain = os.path.join(folder, "model.bin")
        with gzip.open(path) as source, open(plain, "wb") as target:
            shutil.copyfileobj(source, target)
        yield plain


def _check_dictionary(path: str, plain: str, size: int) -> None:
    """Raises UserError for another dimension, and for a dictionary that is cut off: gensim would
    read on for ever."""
    with (
        open(plain, "rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content,
    ):
        position = _HEADER.size
        if len(content) < position:
            raise UserError(f"{path} is cut off")
        header = _HEADER.unpack_from(content)
        _check_size(path, header[2], size)
        num_entries = header[15]
        for _ in range(num_entries):
            end = content.find(b"\0", position)
            if end < 0:
                raise UserError(f"{path} is cut off")
            position = end + _AFTER_WORD


def _load(path: str, plain: str) -> Any:
    """Returns gensim's FastTextKeyedVectors."""
    try:
        from gensim.models.fasttext import load_facebook_vectors
    except ImportError as error:
        raise UserError(f"{path} is read by gensim: pip install 'imcap[vectors]'") from error
    try:
        return load_facebook_vectors(plain)
    except Exception as error:  # gensim checks little: anything can come of corrupted content.
        raise UserError(
            f"{path} is corrupted, or no fastText model that gensim reads ({one_line(error)})"
        ) from error
