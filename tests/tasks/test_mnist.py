"""Sequential MNIST: every image once an epoch, read in order; its files, whole and damaged."""

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from sgrnn.errors import InputError
from sgrnn.tasks import SequentialMNIST, read_idx


def images(number: int) -> NDArray[np.uint8]:
    """Each known by its first pixel."""
    drawn = np.random.default_rng(0).integers(0, 256, (number, 28, 28), dtype=np.uint8)
    drawn[:, 0, 0] = np.arange(number)
    return drawn


def make(number: int = 7, batch_size: int = 2, **options: Any) -> SequentialMNIST:
    return SequentialMNIST(images(number), np.arange(number) % 10, batch_size, **options)


def test_an_image_is_read_from_top_to_bottom_and_named_at_the_end() -> None:
    for by, shape in (("pixel", (784, 2, 1)), ("row", (28, 2, 28)), ("image", (1, 2, 784))):
        task = make(by=by)
        episode = task.draw()
        assert episode.inputs.shape == shape
        assert episode.steps == task.steps
        pixels = (episode.inputs * 255).round().to(torch.uint8).transpose(0, 1).reshape(2, 28, 28)
        for row in range(2):
            number = int(pixels[row, 0, 0])
            assert np.array_equal(pixels[row].numpy(), images(7)[number])
            assert episode.targets[-1, row].tolist() == [float(digit == number) for digit in range(10)] + [1]
        assert not episode.targets[:-1].any()
        assert float(episode.inputs.min()) >= 0
        assert float(episode.inputs.max()) <= 1


def test_an_epoch_shows_no_image_twice_and_the_next_has_another_order() -> None:
    task = make(101, 25, by="row")
    assert task.episodes_per_epoch == 4
    orders = [[number for _ in range(4) for number in _first_pixels(task)] for _ in range(3)]
    for order in orders:
        assert len(set(order)) == 100
        assert set(order) <= set(range(101))
    assert orders[0] != orders[1] != orders[2]
    assert len({number for order in orders for number in order}) == 101  # what is left over changes


def _first_pixels(task: SequentialMNIST) -> list[int]:
    return (task.draw().inputs[0, :, 0] * 255).round().int().tolist()


def test_without_shuffling_images_come_as_they_are_given() -> None:
    task = make(7, 3, by="row", shuffle=False)
    assert [_first_pixels(task) for _ in range(3)] == [[0, 1, 2], [3, 4, 5], [0, 1, 2]]


def test_arrays_that_must_not_be_written_or_lie_otherwise_in_memory_are_taken() -> None:
    locked, labels = images(7), np.arange(7)
    locked.flags.writeable = labels.flags.writeable = False
    turned = np.asfortranarray(images(7))
    backwards = images(7)[::-1].copy()[::-1]
    expected = make(by="row", shuffle=False).draw()
    for array in (locked, turned, backwards):
        found = SequentialMNIST(array, labels, 2, by="row", shuffle=False).draw()
        assert torch.equal(found.inputs, expected.inputs)
        assert torch.equal(found.targets, expected.targets)


UNFIT: list[tuple[dict[str, Any], str]] = [
    ({"images": np.zeros((3, 28, 28))}, r"images must be \(n, 28, 28\) uint8, got \(3, 28, 28\) float64"),
    ({"images": np.zeros((3, 784), np.uint8)}, r"images must be \(n, 28, 28\) uint8, got \(3, 784\) uint8"),
    ({"labels": [1, 2]}, r"labels must be \(3,\) integers like images, got \(2,\) int64"),
    ({"labels": np.zeros(2, int)}, r"labels must be \(3,\) integers like images, got \(2,\) int64"),
    ({"labels": np.zeros(3)}, r"labels must be \(3,\) integers like images, got \(3,\) float64"),
    ({"labels": np.array([1, 10, 0])}, "labels must be from 0 to 9, got 0 to 10"),
    ({"labels": np.array([1, -1, 0])}, "labels must be from 0 to 9, got -1 to 1"),
    ({"by": "column"}, "by must be pixel, row or image, got 'column'"),
    ({"batch_size": 4}, "number of images must be at least 4, got 3"),
]


def test_arrays_that_do_not_fit_are_refused() -> None:
    good: dict[str, Any] = {"images": np.zeros((3, 28, 28), np.uint8), "labels": np.zeros(3, int), "batch_size": 2}
    for options, message in UNFIT:
        with pytest.raises(ValueError, match=f"^{message}$"):
            SequentialMNIST(**good | options)


def test_the_published_files(mnist_folder: Path) -> None:
    for split, number, first_labels, zeros, mean in (
        ("t10k", 10_000, [7, 2, 1, 0, 4], 980, 0.1325),
        ("train", 60_000, [5, 0, 4, 1, 9], 5923, 0.1307),
    ):
        digits = read_idx(mnist_folder / "mnist" / f"{split}-images-idx3-ubyte.gz")
        labels = read_idx(mnist_folder / "mnist" / f"{split}-labels-idx1-ubyte.gz")
        assert (digits.shape, digits.dtype) == ((number, 28, 28), np.uint8)
        assert (labels.shape, labels.dtype) == ((number,), np.uint8)
        assert labels[:5].tolist() == first_labels
        assert int((labels == 0).sum()) == zeros
        assert float(digits.mean(dtype=np.float64)) / 255 == pytest.approx(mean, abs=5e-5)
        episode = SequentialMNIST(digits, labels, 5, shuffle=False).draw()
        assert episode.targets[-1, :, :-1].argmax(dim=-1).tolist() == first_labels
        assert float(episode.inputs[:, 0].sum()) == pytest.approx(float(digits[0].sum()) / 255)


def idx(shape: tuple[int, ...], content: bytes, magic: int | None = None) -> bytes:
    magic = 0x0800 + len(shape) if magic is None else magic
    return b"".join(number.to_bytes(4, "big") for number in (magic, *shape)) + content


def test_files_are_read_packed_or_not(tmp_path: Path) -> None:
    drawn = images(3)
    whole = idx(drawn.shape, drawn.tobytes())
    for name, content in (("plain", whole), ("packed.gz", gzip.compress(whole)), ("misnamed.gz", whole)):
        (tmp_path / name).write_bytes(content)
        found = read_idx(tmp_path / name)
        assert np.array_equal(found, drawn)
        assert found.flags.writeable
    (tmp_path / "labels").write_bytes(idx((4,), bytes([3, 1, 4, 1])))
    assert read_idx(tmp_path / "labels").tolist() == [3, 1, 4, 1]


LABELS = idx((3,), bytes([1, 2, 3]))


DAMAGED = [
    (b"", "is no IDX file of MNIST: expected it to begin with 2051 or 2049, found 0 bytes"),
    (b"\0\0\x08", "is no IDX file of MNIST: expected it to begin with 2051 or 2049, found 3 bytes"),
    (
        idx((3,), b"abc", 0x0D01),
        "is no IDX file of MNIST: expected it to begin with 2051 or 2049, found the magic number 3329",
    ),
    (
        b"<html>not found</html>",
        "is no IDX file of MNIST: expected it to begin with 2051 or 2049, found the magic number 1013478509",
    ),
    (LABELS[:6], "is damaged: expected a header of 8 bytes, found 6; fetch it again"),
    (LABELS[:-1], "is damaged: expected 3 bytes after the header for 3 labels, found 2; fetch it again"),
    (LABELS + b"\0", "is damaged: expected 3 bytes after the header for 3 labels, found 4; fetch it again"),
    (
        idx((3, 28, 28), bytes(784)),
        "is damaged: expected 2,352 bytes after the header for 3 images, found 784; fetch it again",
    ),
    (idx((1, 32, 32), bytes(1024)), "must hold images of 28 x 28 pixels, found 32 x 32"),
    (
        gzip.compress(LABELS)[:-9],
        "is not a whole gzip file: Compressed file ended before the end-of-stream marker was reached; fetch it again",
    ),
]


def test_a_file_that_is_no_such_file_is_named_with_what_was_expected(tmp_path: Path) -> None:
    path = tmp_path / "digits"
    for content, message in DAMAGED:
        path.write_bytes(content)
        with pytest.raises(InputError) as caught:
            read_idx(path)
        assert str(caught.value) == f"{path} {message}"


def test_damage_inside_a_gzip_file_is_found_and_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    whole = bytearray(gzip.compress(idx((1, 28, 28), images(1).tobytes())))
    for place in (10, len(whole) // 2, len(whole) - 6):
        damaged = bytearray(whole)
        damaged[place] ^= 0xFF
        (tmp_path / "digits.gz").write_bytes(damaged)
        with pytest.raises(InputError, match=r"digits\.gz is not a whole gzip file: .*; fetch it again$"):
            read_idx(tmp_path / "digits.gz")
    with pytest.raises(InputError, match=r"nowhere does not exist; expected an IDX file of MNIST: check the path$"):
        read_idx(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"cannot be read: Is a directory; expected an IDX file of MNIST$"):
        read_idx(tmp_path)
