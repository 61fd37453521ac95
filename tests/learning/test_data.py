"""PairDataset and PairStream: the source's own numbers, in any process, and threads that end."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from modelaug import PairSynthesizer
from modelaug.synthesis import Pair
from tests.examples import heart_model

pytest.importorskip("torch")

import torch
from torch.utils.data import ConcatDataset, DataLoader

from modelaug.learning import PairDataset, PairStream
from tests.learning.toys import Batched, Interrupted, Translations

NAMES = {"image1", "image2", "flow", "weight", "landmarks1", "landmarks2", "labels1"}


def check_pair(item: dict[str, torch.Tensor], pair: Pair) -> None:
    assert item.keys() == NAMES
    for name, array in (
        ("image1", pair.fixed),
        ("image2", pair.moving),
        ("flow", pair.flow),
        ("weight", pair.weight),
        ("landmarks1", pair.landmarks_fixed),
        ("landmarks2", pair.landmarks_moving),
        ("labels1", pair.labels_fixed),
    ):
        np.testing.assert_array_equal(item[name].numpy(), array, strict=name != "labels1")
    assert item["labels1"].dtype == torch.int64


def workers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("modelaug-pairs")]


def test_dataset_is_the_source() -> None:
    source = Translations((8, 9))
    dataset = PairDataset(source, 5)
    assert len(dataset) == 5
    for i in range(5):
        check_pair(dataset[i], source.draw(i))
    dataset.set_epoch(3)
    check_pair(dataset[2], source.draw(17))
    check_pair(PairDataset(source, 5, epoch=3)[2], source.draw(17))


def test_dataset_ends() -> None:
    dataset = PairDataset(Translations((8, 9)), 5)
    assert len(list(dataset)) == 5  # iterated by index until IndexError
    with pytest.raises(IndexError, match="index is -1; pass one between 0 and 4"):
        dataset[-1]


def test_dataset_leaves_a_read_only_source_alone() -> None:
    pair = Translations((8, 9)).draw(0)
    pair.fixed.setflags(write=False)

    class Cached:
        def draw(self, index: int) -> Pair:
            return pair

    PairDataset(Cached(), 1)[0]["image1"].zero_()
    assert pair.fixed.any()


@pytest.mark.parametrize("method", ["fork", "spawn"])
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_datasets_in_worker_processes(method: str) -> None:
    """Of a source that says its pairs in closed form, and of one that synthesizes them: the same bits."""
    sources = Translations((8, 9)), PairSynthesizer(heart_model(), seed=3)
    datasets = [PairDataset(source, 6, epoch=1) for source in sources]
    loader = DataLoader(ConcatDataset(datasets), batch_size=3, num_workers=2, multiprocessing_context=method)
    batches = list(loader)
    assert [len(batch["flow"]) for batch in batches] == [3, 3, 3, 3]
    for k, source in enumerate(sources):
        for i in range(6):
            batch = batches[2 * k + i // 3]
            pair = source.draw(6 + i)
            check_pair({name: batch[name][i % 3] for name in NAMES}, pair)
            assert k == 0 or np.array_equal(batch["labels2"][i % 3].numpy(), pair.labels_moving)


@pytest.mark.parametrize("source", [Translations((8, 8)), Batched()])
def test_stream_is_the_source(source: Translations) -> None:
    stream = PairStream(source, 3, first=4, batches=5, threads=2)
    for _ in range(2):  # every iteration starts anew
        batches = list(stream)
        assert [len(batch["flow"]) for batch in batches] == [3] * 5
        for i in range(15):
            check_pair({name: tensor[i % 3] for name, tensor in batches[i // 3].items()}, source.draw(4 + i))
    assert workers() == []
    if isinstance(source, Batched):
        assert source.requests[:2] == [((4, 5, 6), 2), ((7, 8, 9), 2)]


def test_what_a_stream_yields_is_the_memory_it_was_drawn_into(monkeypatch: pytest.MonkeyPatch) -> None:
    source = PairSynthesizer(heart_model(), seed=2)
    drawn: list[Pair] = []
    batch = source.batch
    monkeypatch.setattr(source, "batch", lambda *a, **k: drawn.append(batch(*a, **k)) or drawn[-1])
    tensors = next(iter(PairStream(source, 3, batches=1)))
    for name, attribute in {"image1": "fixed", "image2": "moving", "flow": "flow", "weight": "weight"}.items():
        array = getattr(drawn[0], attribute)
        assert tensors[name].data_ptr() == array.ctypes.data
        assert tensors[name].shape == array.shape
        assert np.array_equal(tensors[name][1].numpy(), getattr(source.draw(1), attribute))
    assert tensors["labels1"].dtype == torch.int64
    assert np.array_equal(tensors["labels1"][2].numpy(), source.draw(2).labels_fixed)


def test_streams_continue_each_other() -> None:
    source = Translations((8, 8))
    whole = list(PairStream(source, 2, batches=4))
    rest = list(PairStream(source, 2, first=2 * 2, batches=2))
    for expected, batch in zip(whole[2:], rest, strict=True):
        assert all(torch.equal(batch[name], expected[name]) for name in NAMES)


def test_streams_of_two_processes_share_the_pairs() -> None:
    source = Batched()
    streams = [PairStream(source, 2, first=4 + 2 * r, stride=4, batches=2, threads=1, queue=0) for r in range(2)]
    for _ in zip(*streams, strict=True):
        pass
    assert [indices for indices, _ in source.requests] == [(4, 5), (6, 7), (8, 9), (10, 11)]


def test_stream_draws_ahead_but_not_too_far() -> None:
    source = Batched()
    iterator = iter(PairStream(source, 1, queue=3))
    next(iterator)
    # The first batch's place is free again, so a fourth is drawn, and then no more.
    deadline = time.monotonic() + 30
    while len(source.requests) < 4 and time.monotonic() < deadline:
        time.sleep(0.005)
    time.sleep(0.05)
    assert len(source.requests) == 4
    del iterator
    assert workers() == []


def test_stream_without_a_queue_draws_when_it_is_asked() -> None:
    source = Batched()
    iterator = iter(PairStream(source, 2, first=3, batches=3, threads=1, queue=0))
    assert source.requests == []
    for k in range(3):
        batch = next(iterator)
        assert source.requests == [((3 + 2 * i, 4 + 2 * i), 1) for i in range(k + 1)]
        assert workers() == []
        for i in range(2):
            check_pair({name: tensor[i] for name, tensor in batch.items()}, source.draw(3 + 2 * k + i))
    with pytest.raises(StopIteration):
        next(iterator)


def test_nothing_is_drawn_before_it_is_asked_for() -> None:
    source = Batched()
    iterator = iter(PairStream(source, 1))
    assert workers() == []
    assert source.requests == []
    next(iterator)
    assert len(workers()) == 1


def test_stream_ends_its_thread_on_early_exit() -> None:
    for k, _ in enumerate(PairStream(Translations((8, 8)), 2)):
        if k == 2:
            break
    assert workers() == []

    def fail() -> None:
        for _ in PairStream(Translations((8, 8)), 2):
            raise ArithmeticError

    with pytest.raises(ArithmeticError) as caught:
        fail()
    del caught
    assert workers() == []


def test_iterations_side_by_side() -> None:
    stream = PairStream(Translations((8, 8)), 1, batches=3)
    for one, two in zip(stream, stream, strict=True):
        assert all(torch.equal(one[name], two[name]) for name in NAMES)


@pytest.mark.parametrize("queue", [0, 2])
def test_stream_raises_what_the_source_raises(queue: int) -> None:
    def fail() -> None:
        raise OSError("the disk is gone")

    iterator = iter(PairStream(Interrupted(5, fail), 2, queue=queue))
    next(iterator)
    next(iterator)
    with pytest.raises(OSError, match="the disk is gone"):
        next(iterator)
    with pytest.raises(StopIteration):
        next(iterator)
    assert workers() == []


@pytest.mark.parametrize("queue", [0, 2])
def test_stream_does_not_end_quietly_if_the_source_raises_stop_iteration(queue: int) -> None:
    def fail() -> None:
        raise StopIteration

    with pytest.raises(RuntimeError, match="source raised StopIteration"):
        list(PairStream(Interrupted(5, fail), 2, queue=queue))


def test_python_exits_while_a_stream_is_open() -> None:
    script = (
        "from modelaug.learning import PairStream\n"
        "from tests.learning.toys import Translations\n"
        "iterator = iter(PairStream(Translations(), 4))\n"
        "next(iterator)\n"
        "print('done')\n"
    )
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True, cwd=root
    )
    assert done.stdout == "done\n"
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda s: PairDataset(object(), 3), TypeError, r"source is object, which has no draw\(index\)"),
        (lambda s: PairStream(object(), 3), TypeError, r"source is object, which has no draw\(index\)"),
        (lambda s: PairDataset(s, 0), ValueError, "length is 0; pass an integer at least 1"),
        (lambda s: PairDataset(s, 2).set_epoch(-1), ValueError, "epoch is -1"),
        (lambda s: PairStream(s, 0), ValueError, "batch_size is 0"),
        (lambda s: PairStream(s, 2, first=-1), ValueError, "first is -1"),
        (lambda s: PairStream(s, 2, stride=-1), ValueError, "stride is -1"),
        (lambda s: PairStream(s, 2, batches=-1), ValueError, "batches is -1"),
        (lambda s: PairStream(s, 2, threads=0), ValueError, "threads is 0"),
        (lambda s: PairStream(s, 2, queue=-1), ValueError, "queue is -1"),
    ],
)
def test_bad_arguments(make: object, error: type[Exception], message: str) -> None:
    assert callable(make)
    with pytest.raises(error, match=message):
        make(Translations())
